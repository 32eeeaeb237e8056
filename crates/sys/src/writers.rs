//! Whether anybody has a file open for writing, or mapped as such.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;

/// Which signal tells of a broken lease (`fcntl(2)`).
const F_SETSIG: libc::c_int = 10;

/// Asks the kernel, which grants a lease for reading only where nobody can write. It says nothing of
/// who opens the file afterwards. `file` is open for reading alone.
///
/// # Errors
/// `EACCES` for a file of somebody else without `CAP_LEASE`, `EINVAL` where the file system has no
/// leases.
pub fn has_writers(file: &File) -> Result<bool, Errno> {
    let ask = |command: libc::c_int, value: libc::c_int| {
        // SAFETY: these commands take an integer by value.
        Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), command, value) })
    };
    // Who breaks the lease has a signal sent to us; the usual one would end us.
    ask(F_SETSIG, libc::SIGURG)?;
    match ask(libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(_) => ask(libc::F_SETLEASE, libc::F_UNLCK).map(|_| false),
        Err(Errno::EAGAIN) => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_noticed_as_long_as_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let writer = File::create(&path).unwrap();
        let file = File::open(&path).unwrap();
        match has_writers(&file) {
            Err(error) => println!("SKIP: no leases here: {error}"),
            there => {
                assert_eq!(there, Ok(true));
                drop(writer);
                assert_eq!(has_writers(&file), Ok(false));
            }
        }
    }
}
