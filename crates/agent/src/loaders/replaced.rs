//! Loaders of the node that are not listed: an update put another file in their place. And what is
//! listed and is no loader any more: an update took it away, and its number is given to another file.
//!
//! SECURITY: such a file is not listed again by itself. Whoever may update a node may also put there
//! what he likes; that a loader is what it was when the programs were loaded, or what an operator
//! signed ([`super::admitted`]), is what the list is worth.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use libbpf_rs::{MapCore as _, MapFlags};

use super::{Contents, LOADERS, on_node, word};
use crate::abi;

/// Paths of the node's loaders that may not load, one for each file.
pub(crate) fn unlisted(contents: &Contents) -> Vec<&'static str> {
    let is_listed = |file: (u64, u64)| {
        let marks = contents.files.lookup(&abi::loader(file.0, file.1), MapFlags::ANY);
        // Where the map cannot be read nothing is claimed.
        marks.is_err() || marks.is_ok_and(|marks| word(marks) & abi::FILE_LOADER != 0)
    };
    let find = |path: &str| {
        let data = on_node(Path::new(path)).ok()?;
        Some((data.ino(), data.dev()))
    };
    among(LOADERS, find, is_listed)
}

/// Takes off the list what no path of a loader leads to, and nobody runs; how many were taken off.
///
/// A listed file is not written, so that a file that got the number of one that is gone could not be
/// either, whatever it is: on ext4 that is the next file but one of the node.
pub(crate) fn forget(contents: &Contents, named: &[PathBuf]) -> usize {
    let paths = LOADERS.iter().map(Path::new).chain(named.iter().map(PathBuf::as_path));
    let key = |data: &fs::Metadata| abi::loader(data.ino(), data.dev()).to_vec();
    let there: BTreeSet<_> = paths.filter_map(|path| Some(key(&on_node(path).ok()?))).collect();
    let is_gone = |file: &Vec<u8>| {
        let marks = word(contents.files.lookup(file, MapFlags::ANY).ok().flatten());
        marks == abi::FILE_LOADER && !there.contains(file)
    };
    let gone: Vec<_> = contents.files.keys().filter(is_gone).collect();
    if gone.is_empty() {
        return 0;
    }
    // Whoever runs it holds the file, so that its number is nobody else's.
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let run: BTreeSet<_> = processes
        .filter_map(|each| Some(key(&fs::metadata(each.path().join("exe")).ok()?)))
        .collect();
    let gone = gone.iter().filter(|file| !run.contains(*file));
    gone.filter(|file| contents.files.delete(file).is_ok()).count()
}

/// Of any paths: many lead to one file by links, and the last name is its own.
fn among(
    paths: &'static [&'static str],
    find: impl Fn(&str) -> Option<(u64, u64)>,
    is_listed: impl Fn((u64, u64)) -> bool,
) -> Vec<&'static str> {
    let found: BTreeMap<_, _> =
        paths.iter().filter_map(|path| Some((find(path)?, *path))).collect();
    let mut unlisted: Vec<_> =
        found.into_iter().filter(|(file, _)| !is_listed(*file)).map(|(_, path)| path).collect();
    unlisted.sort_unstable();
    unlisted
}

/// What `status` says of them; nothing where there are none.
pub(crate) fn words(unlisted: &[&str]) -> Option<String> {
    unlisted.first().map(|first| {
        format!(
            "replaced since the programs were loaded, and refused as a loader: {} (what needs it, \
             such as the start of a container, fails until this node boots or an operator's order \
             lists it: `cloudtaser-agent admit {first} --reason TEXT`)",
            unlisted.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_once_and_those_that_are_not_there_are_passed_over() {
        const PATHS: &[&str] = &["/bin/runc", "/usr/bin/crun", "/usr/bin/runc", "/usr/sbin/runc"];
        let find = |path: &str| match path {
            "/bin/runc" | "/usr/bin/runc" => Some((7, 1)),
            "/usr/sbin/runc" => Some((8, 1)),
            _ => None,
        };
        assert_eq!(among(PATHS, find, |file| file == (8, 1)), ["/usr/bin/runc"]);
        assert_eq!(among(PATHS, find, |_| false), ["/usr/bin/runc", "/usr/sbin/runc"]);
        assert!(among(PATHS, find, |_| true).is_empty());
    }

    #[test]
    fn words_name_the_file_and_what_becomes_of_the_node() {
        assert_eq!(words(&[]), None);
        let words = words(&["/usr/sbin/runc"]).unwrap();
        assert!(words.contains("/usr/sbin/runc") && words.contains("boots"), "{words}");
        assert!(words.contains("admit /usr/sbin/runc"), "{words}");
    }
}
