//! Taking an open file out of another process and reading what it holds.
//!
//! A memory file that stays open in its owner is as good as its pages: whoever has the descriptor
//! maps them.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};

use nix::errno::Errno;
use nix::unistd::Pid;

/// A descriptor that refers to the process itself.
///
/// # Errors
/// `ESRCH` when it is gone, `ENOSYS` before Linux 5.3, `EPERM` by a seccomp filter.
pub fn open_process(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_open takes its arguments by value.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })
}

/// A copy of descriptor `number` of the process.
///
/// # Errors
/// `EPERM` where it may not be traced, `EBADF` where it has no such descriptor.
pub fn take_descriptor(process: BorrowedFd<'_>, number: RawFd) -> Result<Descriptor, Errno> {
    // SAFETY: pidfd_getfd takes its arguments by value.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })
        .map(Descriptor)
}

fn owned(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = RawFd::try_from(Errno::result(result)?).or(Err(Errno::EBADF))?;
    // SAFETY: the kernel just made this descriptor for us, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A descriptor taken from another process.
#[derive(Debug)]
pub struct Descriptor(OwnedFd);

impl Descriptor {
    /// What the file holds, up to `most` bytes, read by mapping it: `memfd_secret` files cannot be
    /// read in any other way.
    ///
    /// # Errors
    /// `ENODEV` and the like where it is no file that can be mapped, `EACCES` where it was opened
    /// for writing only, `ENODATA` where it is empty.
    pub fn contents(&self, most: usize) -> Result<Vec<u8>, Errno> {
        let size = nix::sys::stat::fstat(&self.0)?.st_size;
        let len = usize::try_from(size).unwrap_or(0).min(most);
        if len == 0 {
            return Err(Errno::ENODATA);
        }
        Ok(View::of(self.0.as_fd(), len)?.to_vec())
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A mapping of a file that others may write, so it is copied byte by byte and never borrowed.
struct View {
    start: NonNull<u8>,
    len: usize,
}

impl View {
    fn of(fd: BorrowedFd<'_>, len: usize) -> Result<Self, Errno> {
        let (access, flags) = (libc::PROT_READ, libc::MAP_SHARED);
        // SAFETY: no address is asked for, so no existing mapping can be replaced.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, fd.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        NonNull::new(start.cast()).map(|start| Self { start, len }).ok_or(Errno::EFAULT)
    }

    fn to_vec(&self) -> Vec<u8> {
        let at = |offset| self.start.as_ptr().wrapping_add(offset);
        // SAFETY: `offset < len`, the file was that long a moment ago, and a volatile read allows
        // for other writers. A file cut short meanwhile ends this prober, and nothing else.
        (0..self.len).map(|offset| unsafe { at(offset).read_volatile() }).collect()
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's alone, and no reference into it was ever made.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
