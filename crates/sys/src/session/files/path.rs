//! Which secret file a path names, as far as its text tells.
//!
//! Most paths of an app name none, and are told by their last component alone. A path that spells
//! the folder out is answered from its text; any other (relative, through a link such as
//! `/var/run`) depends on a directory that has to be looked at.
//!
//! Pure: the looking is for `lookup`.

/// The folder in which secret files appear: absolute, without `.`, `..` or empty components.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::session) struct Folder(Vec<u8>);

/// What a path names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::session) enum Meaning<'p> {
    /// Nothing of ours.
    Elsewhere,
    /// This name in the folder, wherever the task is.
    Here(&'p [u8]),
    /// This name in the folder, if that directory is the folder, or the one that it is in.
    If(&'p [u8], Directory<'p>),
}

/// A directory to be looked at, by the path that leads there; empty for where the path begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::session) enum Directory<'p> {
    /// It has to be the folder.
    Folder(&'p [u8]),
    /// It has to be the folder's parent: the folder itself need not exist.
    Parent(&'p [u8]),
}

impl Folder {
    /// Takes a path of at least one component.
    pub(in crate::session) fn parse(path: &[u8]) -> Option<Self> {
        let inner = path.strip_prefix(b"/")?;
        let is_plain = inner
            .split(|byte| *byte == b'/')
            .all(|part| !matches!(part, b"" | b"." | b"..") && !part.contains(&0));
        is_plain.then(|| Self(path.to_vec()))
    }

    /// Its path.
    pub(super) fn path(&self) -> &[u8] {
        &self.0
    }

    /// The path of the directory that it is in.
    pub(super) fn parent(&self) -> &[u8] {
        split(&self.0).0
    }

    /// What a path names, if `is_known` says that its last component is one of our names.
    pub(super) fn meaning<'p>(
        &self,
        path: &'p [u8],
        is_known: impl FnOnce(&[u8]) -> bool,
    ) -> Meaning<'p> {
        let (directory, name) = split(path);
        if matches!(name, b"" | b"." | b"..") || !is_known(name) {
            return Meaning::Elsewhere;
        }
        if directory.starts_with(b"/") && components(directory).eq(components(&self.0)) {
            return Meaning::Here(name);
        }
        let (parent, last) = split(trimmed(directory));
        let own = split(&self.0).1;
        let directory =
            if last == own { Directory::Parent(parent) } else { Directory::Folder(directory) };
        Meaning::If(name, directory)
    }
}

/// The components that count. `..` is one like any other: what it means depends on links.
pub(super) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."))
}

/// The directory of a path, with its slash if that is all there is, and the last component.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        None => (b"", path),
        Some(0) => (b"/", path.get(1..).unwrap_or_default()),
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
    }
}

/// Without slashes and `.` components at the end.
fn trimmed(mut path: &[u8]) -> &[u8] {
    loop {
        path = match path {
            [rest @ .., b'/'] if !rest.is_empty() => rest,
            [rest @ .., b'/', b'.'] if !rest.is_empty() => rest,
            _ => return path,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folder() -> Folder {
        Folder::parse(b"/run/cloudtaser").unwrap()
    }

    fn meaning(path: &str) -> Meaning<'_> {
        folder().meaning(path.as_bytes(), |name| name == b"db")
    }

    #[test]
    fn a_path_that_spells_the_folder_out_is_answered_from_its_text() {
        for path in [
            "/run/cloudtaser/db",
            "//run/cloudtaser/db",
            "/run//cloudtaser///db",
            "/./run/./cloudtaser/./db",
        ] {
            assert_eq!(meaning(path), Meaning::Here(b"db"), "{path}");
        }
    }

    #[test]
    fn other_names_are_elsewhere_whatever_leads_there() {
        for path in
            ["", "/", "db/", "/run/cloudtaser/db/", "/run/cloudtaser/db/.", "/run/cloudtaser/other"]
        {
            assert_eq!(meaning(path), Meaning::Elsewhere, "{path}");
        }
    }

    #[test]
    fn a_folder_that_need_not_exist_is_known_by_its_parent() {
        let parent = |path| Meaning::If(b"db", Directory::Parent(path));
        assert_eq!(meaning("/var/run/cloudtaser/db"), parent(b"/var/run"));
        assert_eq!(meaning("/cloudtaser/db"), parent(b"/"));
        assert_eq!(meaning("cloudtaser/db"), parent(b""));
        assert_eq!(meaning("./cloudtaser//./db"), parent(b"."));
        assert_eq!(meaning("../run/cloudtaser/db"), parent(b"../run"));
        assert_eq!(meaning("/run/x/../cloudtaser/db"), parent(b"/run/x/.."));
    }

    #[test]
    fn any_other_directory_has_to_be_the_folder_itself() {
        let itself = |path| Meaning::If(b"db", Directory::Folder(path));
        assert_eq!(meaning("db"), itself(b""));
        assert_eq!(meaning("./db"), itself(b"."));
        assert_eq!(meaning("/db"), itself(b"/"));
        assert_eq!(meaning("/srv/link/db"), itself(b"/srv/link"));
        assert_eq!(meaning("/run/cloudtaser/x/../db"), itself(b"/run/cloudtaser/x/.."));
    }

    #[test]
    fn a_folder_is_an_absolute_path_without_detours() {
        for path in ["", "/", "run", "/run/", "/run/../x", "/run//x", "/run/./x", "/ru\0n"] {
            assert_eq!(Folder::parse(path.as_bytes()), None, "{path}");
        }
        assert_eq!(folder().parent(), b"/run");
        assert_eq!(Folder::parse(b"/top").unwrap().parent(), b"/");
    }

    proptest! {
        #[test]
        fn the_parts_of_an_answer_lead_back_to_the_path(
            path in "[./]{0,3}(run|cloudtaser|db|x|[./]){0,9}"
        ) {
            super::super::fuzz::path(path.as_bytes());
        }
    }
}
