//! Finding a program by name, as `execvp(3)` does.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, eaccess};

use super::TargetError;

/// Where glibc and musl both look without a `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/bin:/usr/bin";

/// The first file of that name that may be executed.
///
/// A name with a slash is a path. A directory that holds such a file without the right to execute
/// it is passed over, but remembered: it explains more than "not found".
pub(super) fn find(name: &OsStr, path: Option<&OsStr>, cwd: &Path) -> Result<PathBuf, TargetError> {
    let not_found = || TargetError::NotFound { name: name.into() };
    if name.is_empty() {
        return Err(not_found());
    }
    let directories = path.unwrap_or_else(|| OsStr::new(DEFAULT_PATH)).as_bytes();
    let candidates: Vec<PathBuf> = if name.as_bytes().contains(&b'/') {
        vec![PathBuf::from(name)]
    } else {
        // An empty entry is the current directory.
        let entry = |directory| Path::new(OsStr::from_bytes(directory)).join(name);
        directories.split(|&byte| byte == b':').map(entry).collect()
    };
    let mut refusal = None;
    for candidate in candidates {
        match executable(&cwd.join(&candidate)) {
            Ok(_) => return Ok(candidate),
            Err(reason) if is_absence(&reason) => {}
            Err(reason) => {
                refusal.get_or_insert(TargetError::NotExecutable { path: candidate, reason });
            }
        }
    }
    Err(refusal.unwrap_or_else(not_found))
}

/// The file's metadata, if `execve` would not refuse it out of hand.
pub(super) fn executable(place: &Path) -> io::Result<Metadata> {
    let metadata = fs::metadata(place)?;
    if !metadata.is_file() {
        return Err(io::Error::from_raw_os_error(libc::EACCES));
    }
    // Includes mounts without the right to execute.
    eaccess(place, AccessFlags::X_OK)?;
    Ok(metadata)
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR))
}
