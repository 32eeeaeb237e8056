//! Looks at directories as a task sees them.
//!
//! A task may have another root, another working directory, other mounts; `/proc/TID/root` and its
//! neighbours lead into them. Only directories are opened, as places (`O_PATH`), never a file or a
//! device, and no magic link is followed: `/proc/self` of the task is not ours.
//!
//! What is learnt may be out of date at once. That is enough here: it decides whether a secret file
//! is meant, not whether its secret may be had, which every process of the tree may.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, fstat};

use super::path::{Directory, Folder};

/// Whether a directory that a path of the task leads to is the one that the folder needs.
pub(super) fn is_meant(tid: i32, start: i32, directory: Directory<'_>, folder: &Folder) -> bool {
    compare(tid, start, directory, folder).unwrap_or(false)
}

fn compare(tid: i32, start: i32, directory: Directory<'_>, folder: &Folder) -> Result<bool, Errno> {
    let (path, wanted) = match directory {
        Directory::Folder(path) => (path, folder.path()),
        Directory::Parent(path) => (path, folder.parent()),
    };
    let root = place(&format!("/proc/{tid}/root"))?;
    let wanted = inside(&root, wanted)?;
    let found = if path.starts_with(b"/") {
        inside(&root, path)?
    } else {
        let start = match start {
            AT_CWD => place(&format!("/proc/{tid}/cwd"))?,
            number => place(&format!("/proc/{tid}/fd/{number}"))?,
        };
        let path = if path.is_empty() { b"." } else { path };
        let how = how().resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&start, Path::new(OsStr::from_bytes(path)), how)?
    };
    let (wanted, found) = (fstat(&wanted)?, fstat(&found)?);
    Ok((wanted.st_dev, wanted.st_ino) == (found.st_dev, found.st_ino))
}

/// "The working directory", where a call takes a descriptor.
pub(super) const AT_CWD: i32 = libc::AT_FDCWD;

fn place(path: &str) -> Result<OwnedFd, Errno> {
    open(path, flags(), Mode::empty())
}

/// Follows a path as if that directory were the root.
fn inside(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    openat2(root, Path::new(OsStr::from_bytes(path)), how().resolve(resolve))
}

fn how() -> OpenHow {
    OpenHow::new().flags(flags())
}

fn flags() -> OFlag {
    OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    fn own() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn a_directory_is_known_through_links_and_from_anywhere() {
        let scratch = tempfile::tempdir().unwrap();
        let base = scratch.path().canonicalize().unwrap();
        std::fs::create_dir(base.join("run")).unwrap();
        std::os::unix::fs::symlink("run", base.join("link")).unwrap();
        let text = |path: &str| base.join(path).into_os_string().as_bytes().to_vec();
        let folder = Folder::parse(&text("run/cloudtaser")).unwrap();
        let here = open(&base, flags(), Mode::empty()).unwrap();
        let meant =
            |start: i32, directory: Directory<'_>| is_meant(own(), start, directory, &folder);
        assert!(meant(AT_CWD, Directory::Parent(&text("run"))));
        assert!(meant(AT_CWD, Directory::Parent(&text("link"))));
        assert!(meant(AT_CWD, Directory::Parent(&text("run/../link"))));
        assert!(meant(here.as_raw_fd(), Directory::Parent(b"link")));
        assert!(!meant(here.as_raw_fd(), Directory::Parent(b"")));
        assert!(!meant(AT_CWD, Directory::Parent(b"/")));
        assert!(!meant(AT_CWD, Directory::Folder(&text("run"))), "the folder is not there");
        std::fs::create_dir(base.join("run/cloudtaser")).unwrap();
        assert!(meant(AT_CWD, Directory::Folder(&text("link/cloudtaser"))));
        assert!(!meant(AT_CWD, Directory::Folder(&text("run"))));
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_meant() {
        let folder = Folder::parse(b"/run/cloudtaser").unwrap();
        assert!(!is_meant(i32::MAX, AT_CWD, Directory::Parent(b"/run"), &folder));
        assert!(!is_meant(own(), 9_999, Directory::Parent(b"x"), &folder));
        assert!(!is_meant(own(), AT_CWD, Directory::Parent(b"/proc/self/root/run"), &folder));
    }
}
