//! Pages that the kernel removes from its own map (`memfd_secret(2)`, Linux 5.14).
//!
//! A [`SecretFile`] is the descriptor, a [`SecretMapping`] is one readable and writable view of it.
//! No other process reads such a page through `/proc/PID/mem`, `process_vm_readv`, a core dump or
//! the swap device. Code that runs inside a process that maps it does: that is not the subject here.
//!
//! Invariants: descriptors are closed on exec; a mapping is zeroed before it is unmapped; nothing
//! falls back to ordinary memory. Every process that maps the file sees the same bytes, since the
//! kernel refuses private mappings of it.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::slice;

use nix::errno::Errno;
use zeroize::Zeroize;

/// Why secret memory could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretMemoryError {
    /// The kernel has no `memfd_secret`, was booted with `secretmem.enable=0`, or a seccomp
    /// profile hides the call.
    #[error("kernel offers no secret memory")]
    Unsupported,
    /// The limit on locked memory is used up.
    #[error("no locked memory left for secrets: raise RLIMIT_MEMLOCK or grant CAP_IPC_LOCK")]
    Limit,
    /// The file could not be made or sized.
    #[error("memfd_secret failed")]
    Create(#[source] Errno),
    /// The file could not be mapped.
    #[error("mapping secret memory failed")]
    Map(#[source] Errno),
}

/// A file of secret pages, closed on exec.
#[derive(Debug)]
pub struct SecretFile {
    fd: OwnedFd,
    len: usize,
}

impl SecretFile {
    /// Makes a file that holds at least `len` bytes, all zero.
    ///
    /// # Errors
    /// [`SecretMemoryError::Unsupported`] or [`SecretMemoryError::Create`]; no pages are taken yet,
    /// so the limit on locked memory shows when the file is mapped.
    pub fn create(len: usize) -> Result<Self, SecretMemoryError> {
        let too_large = SecretMemoryError::Create(Errno::EFBIG);
        let Some(len) = len.max(1).checked_next_multiple_of(page_size()) else {
            return Err(too_large);
        };
        let Ok(size) = libc::off_t::try_from(len) else {
            return Err(too_large);
        };
        // SAFETY: memfd_secret takes one integer by value and touches no memory of ours.
        let result = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
        let fd = Errno::result(result).map_err(|errno| match errno {
            Errno::ENOSYS => SecretMemoryError::Unsupported,
            errno => SecretMemoryError::Create(errno),
        })?;
        let fd = i32::try_from(fd).or(Err(SecretMemoryError::Create(Errno::EBADF)))?;
        // SAFETY: the kernel just returned this descriptor and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        nix::unistd::ftruncate(&fd, size).map_err(SecretMemoryError::Create)?;
        Ok(Self { fd, len })
    }

    /// Maps the whole file, readable and writable.
    ///
    /// # Errors
    /// [`SecretMemoryError::Limit`] when the locked pages are used up.
    pub fn map(&self) -> Result<SecretMapping, SecretMemoryError> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let fd = self.fd.as_raw_fd();
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing of ours.
        let address =
            unsafe { libc::mmap(ptr::null_mut(), self.len, protection, libc::MAP_SHARED, fd, 0) };
        if address == libc::MAP_FAILED {
            return Err(match Errno::last() {
                Errno::EAGAIN | Errno::ENOMEM => SecretMemoryError::Limit,
                errno => SecretMemoryError::Map(errno),
            });
        }
        let start = NonNull::new(address.cast()).ok_or(SecretMemoryError::Map(Errno::ENOMEM))?;
        Ok(SecretMapping { start, len: self.len })
    }

    /// Size in bytes, a whole number of pages.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a file of secret pages is never empty")]
    pub const fn len(&self) -> usize {
        self.len
    }
}

impl AsFd for SecretFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// One view of a [`SecretFile`], zeroed when it is dropped.
pub struct SecretMapping {
    start: NonNull<u8>,
    len: usize,
}

impl SecretMapping {
    /// The bytes, to write.
    pub const fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is readable and writable for `len` bytes until Drop, and `&mut self`
        // makes this the only view through this owner. Pages handed to another process may change
        // under it, which is why nothing here holds a reference across a call to the kernel.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// The bytes, to read.
    #[must_use]
    pub const fn as_slice(&self) -> &[u8] {
        // SAFETY: as for `as_mut_slice`, shared with other readers of this owner only.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// Unmaps the view and leaves the bytes in the file, for whoever else maps it.
    pub fn leave(self) {
        let this = std::mem::ManuallyDrop::new(self);
        this.unmap();
    }

    /// Overwrites `bytes` at `offset`; `false`, and nothing written, where it does not fit.
    ///
    /// Volatile, since another process may be reading the same page.
    #[must_use]
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        let end = offset.checked_add(bytes.len());
        if end.is_none_or(|end| end > self.len) {
            return false;
        }
        for (index, byte) in bytes.iter().enumerate() {
            // SAFETY: `offset + index < offset + bytes.len() <= len`, checked above.
            let target = unsafe { self.start.add(offset + index) };
            // SAFETY: `target` is inside the mapping, writable until Drop, aligned for a byte.
            unsafe { target.write_volatile(*byte) };
        }
        true
    }

    fn unmap(&self) {
        // SAFETY: `start` and `len` are the mapping made in `map`, owned by this value, which the
        // two callers (`drop`, `leave`) use no more after this.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

impl Drop for SecretMapping {
    fn drop(&mut self) {
        self.as_mut_slice().zeroize();
        self.unmap();
    }
}

impl fmt::Debug for SecretMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretMapping").field("len", &self.len).finish_non_exhaustive()
    }
}

// SAFETY: the mapping belongs to the process, not to the thread that made it, and `&mut self` or
// ownership is needed to write to it.
unsafe impl Send for SecretMapping {}

/// The size of one page.
#[must_use]
pub fn page_size() -> usize {
    // SAFETY: sysconf reads a constant of the system and touches no memory of ours.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(len: usize) -> Option<SecretFile> {
        match SecretFile::create(len) {
            Ok(file) => Some(file),
            Err(error) => {
                println!("SKIP: {error}");
                None
            }
        }
    }

    #[test]
    fn two_mappings_of_one_file_share_their_bytes() {
        let Some(file) = file(1) else { return };
        let mut first = file.map().unwrap();
        let second = file.map().unwrap();
        assert!(first.write(3, b"abc"));
        assert_eq!(&second.as_slice()[3..6], b"abc");
        assert_eq!(second.as_slice().len(), page_size());
    }

    #[test]
    fn a_write_past_the_end_is_refused_whole() {
        let Some(file) = file(1) else { return };
        let mut mapping = file.map().unwrap();
        assert!(!mapping.write(page_size() - 1, b"ab"));
        assert!(!mapping.write(usize::MAX, b"a"));
        assert!(mapping.as_slice().iter().all(|byte| *byte == 0));
    }

    #[test]
    fn dropping_a_mapping_zeroes_the_page_and_leaving_it_does_not() {
        let Some(file) = file(1) else { return };
        let mut first = file.map().unwrap();
        let second = file.map().unwrap();
        assert!(first.write(0, b"kept"));
        first.leave();
        assert_eq!(&second.as_slice()[..4], b"kept");
        let third = file.map().unwrap();
        drop(second);
        assert_eq!(&third.as_slice()[..4], [0; 4]);
    }

    #[test]
    fn the_kernel_reads_no_secret_page_for_another_reader() {
        let Some(file) = file(1) else { return };
        let mut mapping = file.map().unwrap();
        assert!(mapping.write(0, b"hidden"));
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let address = mapping.as_slice().as_ptr() as u64;
        let mut copy = [0; 6];
        let read = std::os::unix::fs::FileExt::read_at(&memory, &mut copy, address);
        assert_eq!(read.unwrap_err().raw_os_error(), Some(libc::EIO));
    }
}
