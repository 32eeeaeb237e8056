//! What must hold for any bytes that a task gives as a path.

use super::path::{Directory, Folder, Meaning, components};

const NAME: &[u8] = b"db";

/// A path that is ours leads, by the parts of the answer, to where it led before; one that is not
/// has another last component.
pub(in crate::session) fn path(path: &[u8]) {
    let Some(folder) = Folder::parse(b"/run/cloudtaser") else { return };
    let joined = |parts: &[&[u8]]| components(&parts.join(&b'/')).map(<[u8]>::to_vec).collect();
    let whole: Vec<Vec<u8>> = joined(&[path]);
    let is_rooted = path.starts_with(b"/");
    let last = path.rsplit(|byte| *byte == b'/').next();
    match folder.meaning(path, |name| name == NAME) {
        Meaning::Elsewhere => assert_ne!(last, Some(NAME), "a file is overlooked"),
        Meaning::Here(name) => {
            assert!(is_rooted, "a relative path is answered from its text");
            assert_eq!(joined(&[b"/run/cloudtaser", name]), whole);
        }
        Meaning::If(name, Directory::Folder(directory)) => {
            assert!(directory.starts_with(b"/") == is_rooted);
            assert_eq!(joined(&[directory, name]), whole);
        }
        Meaning::If(name, Directory::Parent(directory)) => {
            assert!(directory.starts_with(b"/") == is_rooted);
            assert_eq!(joined(&[directory, b"cloudtaser", name]), whole);
        }
    }
}
