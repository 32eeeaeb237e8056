//! A file of ordinary memory that this process writes and every other one can only read.
//!
//! A memfd whose one writable view is ours: the seals let nobody map it writable, write to it or
//! change its size any more, whoever holds its descriptor.
//!
//! Invariant: no reference into the view is ever handed out, since others read the same pages.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};

/// The file and our view of it.
#[derive(Debug)]
pub(super) struct Published {
    fd: OwnedFd,
    start: NonNull<u8>,
    len: usize,
}

impl Published {
    /// Makes a file of `len` bytes, all zero, under a name that `/proc/PID/maps` shows.
    pub(super) fn create(name: &CStr, len: usize) -> Result<Self, Errno> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let fd = memfd_create(name, flags)?;
        fchmod(&fd, Mode::S_IRUSR)?;
        nix::unistd::ftruncate(&fd, libc::off_t::try_from(len).or(Err(Errno::EFBIG))?)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED;
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing of ours.
        let address = unsafe {
            libc::mmap(ptr::null_mut(), mapped(len), protection, flags, fd.as_raw_fd(), 0)
        };
        if address == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let start = NonNull::new(address.cast()).ok_or(Errno::ENOMEM)?;
        let file = Self { fd, start, len };
        // SECURITY: from here on nobody else writes, though the descriptor passes through others.
        let seals = SealFlag::F_SEAL_SHRINK
            | SealFlag::F_SEAL_GROW
            | SealFlag::F_SEAL_FUTURE_WRITE
            | SealFlag::F_SEAL_SEAL;
        fcntl(&file.fd, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(file)
    }

    /// Takes its pages now, and keeps them out of swap where the limit on locked memory allows.
    ///
    /// A page that is first wanted by a write would, where memory is short, come as `SIGBUS`.
    pub(super) fn populate(&self) -> Result<(), Errno> {
        if self.len == 0 {
            return Ok(());
        }
        let (start, len) = (self.start.as_ptr().cast(), mapped(self.len));
        // SAFETY: the range is the mapping made in `create`, alive until Drop.
        if unsafe { libc::mlock(start, len) } == 0 {
            return Ok(());
        }
        // SAFETY: as above; populating changes no byte.
        Errno::result(unsafe { libc::madvise(start, len, libc::MADV_POPULATE_WRITE) }).map(drop)
    }

    /// Overwrites bytes; `false`, and nothing written, where they do not fit.
    #[must_use]
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        if offset.checked_add(bytes.len()).is_none_or(|end| end > self.len) {
            return false;
        }
        // SAFETY: `offset` is at most `len`, so the result is inside or one past the mapping.
        let target = unsafe { self.start.add(offset) };
        // SAFETY: `target` is writable for `bytes.len()` bytes by the check above, until Drop; the
        // mapping is no allocation of ours, so it does not overlap `bytes`.
        unsafe { target.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        true
    }

    /// Overwrites all of it with zeros.
    pub(super) fn wipe(&self) {
        // SAFETY: the mapping is writable for `len` bytes until Drop.
        unsafe { self.start.as_ptr().write_bytes(0, self.len) };
        // Others read these pages, so the compiler could not leave the write out; said once more.
        std::hint::black_box(self.start);
    }
}

/// The length of the mapping, which may not be zero.
const fn mapped(len: usize) -> usize {
    if len == 0 { 1 } else { len }
}

impl AsFd for Published {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `create`; no reference into it is ever handed out.
        unsafe { libc::munmap(self.start.as_ptr().cast(), mapped(self.len)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_others_read_and_cannot_change() {
        let file = Published::create(c"test", 8).unwrap();
        file.populate().unwrap();
        assert!(file.write(2, b"abc"));
        let mut copy = [9; 8];
        assert_eq!(nix::sys::uio::pread(&file.fd, &mut copy, 0), Ok(8));
        assert_eq!(copy, *b"\0\0abc\0\0\0");
        assert_eq!(nix::unistd::write(&file.fd, b"x"), Err(Errno::EPERM));
        assert_eq!(nix::unistd::ftruncate(&file.fd, 1), Err(Errno::EPERM));
        // SAFETY: asks for a new mapping at an address of the kernel's choice.
        let mapped = unsafe {
            libc::mmap(
                ptr::null_mut(),
                8,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.fd.as_raw_fd(),
                0,
            )
        };
        assert_eq!(mapped, libc::MAP_FAILED);
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let file = Published::create(c"test", 4).unwrap();
        assert!(!file.write(2, b"abc"));
        assert!(!file.write(usize::MAX, b"a"));
        assert!(file.write(4, b""));
        let mut copy = [9; 4];
        assert_eq!(nix::sys::uio::pread(&file.fd, &mut copy, 0), Ok(4));
        assert_eq!(copy, [0; 4]);
    }

    #[test]
    fn a_wipe_reaches_everyone_who_has_it() {
        let file = Published::create(c"test", 3).unwrap();
        assert!(file.write(0, b"abc"));
        file.wipe();
        let mut copy = [9; 3];
        assert_eq!(nix::sys::uio::pread(&file.fd, &mut copy, 0), Ok(3));
        assert_eq!(copy, [0; 3]);
    }

    #[test]
    fn an_empty_file_is_a_file() {
        let file = Published::create(c"test", 0).unwrap();
        file.populate().unwrap();
        file.wipe();
        assert!(file.write(0, b""));
        assert!(!file.write(0, b"a"));
    }
}
