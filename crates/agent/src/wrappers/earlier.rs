//! Wrappers that an agent of this node knew before. A pod keeps the wrapper that it was made with, over
//! restarts of its containers and of the node, while the agent is of a later version by then.
//!
//! SECURITY: whoever is root may write here, and may have anything guarded as it is. A statement of
//! the node names the wrapper that asked, whichever it is.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::libc;

use super::{Digest, Named};

/// More versions than pods of one node have; the oldest goes first.
const MOST: usize = 16;
/// A line has some 80 bytes.
const FILE_MAX: u64 = 4096;

/// A wrapper's file: its digest, and its size.
pub(super) type Known = (Digest, u64);

/// Reads them, the newest last. What is no line of ours is passed over.
pub(super) fn read(path: &Path) -> Vec<Known> {
    let mut text = String::new();
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_NOFOLLOW).open(path);
    if file.and_then(|file| file.take(FILE_MAX).read_to_string(&mut text)).is_err() {
        return Vec::new();
    }
    let known = |line: &str| match line.split_once(' ') {
        Some((digest, size)) => match digest.parse() {
            Ok(Named::Digest(digest)) => Some((digest, size.parse().ok()?)),
            _ => None,
        },
        None => None,
    };
    text.lines().filter_map(known).collect()
}

/// Writes them with those of now behind them, unless all are there; returns all.
///
/// # Errors
/// Where the folder does not take it.
pub(super) fn keep(path: &Path, now: &[Known]) -> io::Result<Vec<Known>> {
    let before = read(path);
    let mut all: Vec<Known> = before.iter().filter(|each| !now.contains(each)).copied().collect();
    all.extend_from_slice(now);
    all.drain(..all.len().saturating_sub(MOST));
    if all != before {
        let text: String = all.iter().map(|(digest, size)| format!("{digest} {size}\n")).collect();
        write(path, text.as_bytes())?;
    }
    Ok(all)
}

/// All of it, or nothing.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(byte: u8) -> Known {
        (Digest([byte; 32]), u64::from(byte))
    }

    #[test]
    fn those_of_before_are_kept_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wrappers");
        assert_eq!(keep(&path, &[known(1)]).unwrap(), [known(1)]);
        assert_eq!(keep(&path, &[known(2)]).unwrap(), [known(1), known(2)]);
        // One that is in use again is the newest again.
        assert_eq!(keep(&path, &[known(1)]).unwrap(), [known(2), known(1)]);
        for byte in 3..40 {
            keep(&path, &[known(byte)]).unwrap();
        }
        let all = read(&path);
        assert_eq!((all.len(), all.last()), (MOST, Some(&known(39))));
    }

    #[test]
    fn what_is_no_line_of_ours_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wrappers");
        assert!(read(&path).is_empty());
        let digest = known(7).0;
        fs::write(&path, format!("/bin/sh 5\n{digest}\n{digest} x\nsha256:ab 1\n{digest} 7\n"))
            .unwrap();
        assert_eq!(read(&path), [known(7)]);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read(&link).is_empty());
    }
}
