//! Code that a process runs out of a file: who writes into the file changes it.

use std::ffi::c_void;
use std::fs::File;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// The first page of a file, mapped as code; nothing of it is ever executed or read.
#[derive(Debug)]
pub struct Code {
    at: NonNull<c_void>,
}

/// A page, which is what is mapped of a smaller file as well.
const LEN: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

impl Code {
    /// Maps it as a loader does.
    ///
    /// # Errors
    /// `EPERM` where it is forbidden, `ENODEV` for what cannot be mapped.
    pub fn of(file: &File) -> Result<Self, Errno> {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_EXEC;
        // SAFETY: the kernel chooses where, so nothing that is there is replaced.
        let at = unsafe { mmap(None, LEN, protection, MapFlags::MAP_PRIVATE, file, 0) }?;
        Ok(Self { at })
    }

    /// Where it is.
    #[cfg(test)]
    pub(super) fn address(&self) -> usize {
        self.at.as_ptr() as usize
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        // SAFETY: this mapping is the owner's alone, and no reference into it was handed out.
        let _unmapped = unsafe { munmap(self.at, LEN.get()) };
    }
}
