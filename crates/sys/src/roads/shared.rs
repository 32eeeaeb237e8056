//! Memory that processes share without a file of their own making. The kernel makes it a file all the
//! same, and shows it to root below `/proc/PID/map_files`.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// A page.
const LEN: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// A page of such memory.
#[derive(Debug)]
pub struct Shared {
    at: NonNull<c_void>,
}

impl Shared {
    /// One that begins with these bytes, as many as there is room for.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn with(bytes: &[u8]) -> Result<Self, Errno> {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the kernel chooses where, so nothing that is there is replaced.
        let at = unsafe { mmap_anonymous(None, LEN, protection, MapFlags::MAP_SHARED) }?;
        let len = bytes.len().min(LEN.get());
        // SAFETY: the page is this owner's alone, writable, and no shorter than what is copied.
        unsafe { at.cast::<u8>().copy_from_nonoverlapping(NonNull::from(bytes).cast(), len) };
        Ok(Self { at })
    }

    /// Where it is, as `/proc/PID/map_files` names it.
    #[must_use]
    pub fn name(&self) -> String {
        let start = self.at.as_ptr().addr();
        format!("{start:x}-{:x}", start.saturating_add(LEN.get()))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: this mapping is the owner's alone, and no reference into it was handed out.
        let _unmapped = unsafe { munmap(self.at, LEN.get()) };
    }
}
