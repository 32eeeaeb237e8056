//! A signal that a file sends: whoever opens one chooses who gets it, and which one.

use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// Which signal the file sends (`fcntl(2)`).
const F_SETSIG: libc::c_int = 10;

/// Has the kernel send a signal to a process, by a file that becomes readable.
///
/// # Errors
/// Those of making the file. That the signal was refused is not told.
pub fn signal_by_file(process: Pid, signal: Signal) -> Result<(), Errno> {
    let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    let (watched, mut other) = UnixStream::pair().map_err(errno)?;
    for (command, value) in [(libc::F_SETOWN, process.as_raw()), (F_SETSIG, signal as libc::c_int)]
    {
        // SAFETY: these commands take an integer by value.
        Errno::result(unsafe { libc::fcntl(watched.as_raw_fd(), command, value) })?;
    }
    fcntl(&watched, FcntlArg::F_SETFL(OFlag::O_ASYNC))?;
    other.write_all(b"!").map_err(errno)
}
