//! Where the heap's pages come from: sealed while the kernel and the budget allow, else ordinary.
//!
//! Chunks are mapped as they are needed and kept until the process ends. The descriptor of a sealed
//! chunk is closed at once, so that nobody can take it out of the descriptor table and map it.
//!
//! Invariant: nothing here allocates; the counters are plain atomics, readable at any time.

use std::alloc::Layout;
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use nix::errno::Errno;
use talc::base::Talc;
use talc::base::binning::Binning;
use talc::source::Source;

use crate::facts::refusal;
use crate::secretmem::SecretFile;

/// The first chunk: enough for a program that never speaks TLS.
const FIRST_CHUNK: usize = 512 << 10;

/// Each further chunk. The whole mapping counts as locked memory, touched or not.
const NEXT_CHUNK: usize = 1 << 20;

/// Locked memory left for the pages that hold the secrets of the app itself.
const RESERVE: usize = 256 << 10;

/// Pages and huge allocations are rounded to this, which is a whole number of pages everywhere.
const GRAIN: usize = 64 << 10;

/// Room for the allocator's own bookkeeping in a chunk, its first one included.
const OVERHEAD: usize = 8 << 10;

static SEALED: AtomicUsize = AtomicUsize::new(0);
static ORDINARY: AtomicUsize = AtomicUsize::new(0);
static REFUSED: AtomicI32 = AtomicI32::new(0);

/// What the heap of this process is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HeapState {
    /// Bytes mapped from `memfd_secret`.
    pub sealed_bytes: usize,
    /// Bytes of ordinary memory, because sealed memory was refused.
    pub ordinary_bytes: usize,
    /// Why sealed memory was refused the first time: `ENOSYS` by the kernel, `EPERM` by a seccomp
    /// filter, `EAGAIN` by the limit on locked memory.
    pub refused: Option<Errno>,
}

impl HeapState {
    /// Whether the heap has pages, and all of them are sealed.
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        self.sealed_bytes > 0 && self.ordinary_bytes == 0
    }
}

/// Reads what the heap of this process is made of; all zero where no [`super::SealedHeap`] is used.
#[must_use]
pub fn state() -> HeapState {
    let refused = REFUSED.load(Ordering::Relaxed);
    HeapState {
        sealed_bytes: SEALED.load(Ordering::Relaxed),
        ordinary_bytes: ORDINARY.load(Ordering::Relaxed),
        refused: (refused != 0).then(|| Errno::from_raw(refused)),
    }
}

/// Hands chunks to the allocator.
#[derive(Debug)]
pub(super) struct Arena {
    /// Bytes that may be sealed; read from the kernel at the first chunk.
    budget: Option<usize>,
    /// Bytes sealed by this arena.
    sealed: usize,
}

impl Arena {
    pub(super) const fn new() -> Self {
        Self { budget: None, sealed: 0 }
    }

    /// Maps a chunk that has room for `needed` bytes.
    fn chunk(&mut self, needed: usize) -> Option<(*mut u8, usize)> {
        let budget = *self.budget.get_or_insert_with(sealed_budget);
        let step = if self.sealed == 0 { FIRST_CHUNK } else { NEXT_CHUNK };
        let least = needed.checked_add(OVERHEAD)?.checked_next_multiple_of(GRAIN)?;
        let left = budget.saturating_sub(self.sealed);
        let wanted = step.max(least).min(left.max(least));
        let sealed = if wanted <= left { map_sealed(wanted) } else { Err(Errno::EAGAIN) };
        match sealed {
            Ok(start) => {
                self.sealed = self.sealed.saturating_add(wanted);
                SEALED.fetch_add(wanted, Ordering::Relaxed);
                Some((start, wanted))
            }
            Err(reason) => {
                let _ = REFUSED.compare_exchange(
                    0,
                    reason as i32,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
                let size = step.max(least);
                let start = map_ordinary(size, reason).ok()?;
                ORDINARY.fetch_add(size, Ordering::Relaxed);
                Some((start, size))
            }
        }
    }
}

// SAFETY: `acquire` reaches the allocator only through the reference that it is given, and calls
// nothing that allocates.
unsafe impl Source for Arena {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let needed = layout.size().checked_add(layout.align()).ok_or(())?;
        let (start, size) = talc.source.chunk(needed).ok_or(())?;
        // SAFETY: the chunk was just mapped, is ours alone, and is never unmapped.
        let claimed = unsafe { talc.claim(start, size) };
        claimed.map(drop).ok_or(())
    }
}

/// How much of the heap may be sealed without taking the last locked page from the secrets.
fn sealed_budget() -> usize {
    if may_lock_without_limit() {
        return usize::MAX;
    }
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live rlimit for the kernel to fill.
    if unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } != 0 {
        return 0;
    }
    let limit = usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX);
    limit.saturating_sub(RESERVE) / GRAIN * GRAIN
}

/// Whether `CAP_IPC_LOCK` lifts the limit.
///
/// In a user namespace of its own the capability is there but lifts nothing; the kernel's refusal
/// then comes at the limit itself.
fn may_lock_without_limit() -> bool {
    crate::facts::effective_capabilities()
        .is_ok_and(|caps| caps.has(crate::facts::Capability::IpcLock))
}

fn map_sealed(size: usize) -> Result<*mut u8, Errno> {
    let mapping = SecretFile::create(size).and_then(|file| file.map());
    // Kept for good: the heap's pages are never unmapped.
    let mut mapping = ManuallyDrop::new(mapping.map_err(|error| refusal(&error))?);
    Ok(mapping.as_mut_slice().as_mut_ptr())
}

fn map_ordinary(size: usize, reason: Errno) -> Result<*mut u8, Errno> {
    let (access, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: no address is asked for, so no existing mapping can be replaced.
    let start = unsafe { libc::mmap(ptr::null_mut(), size, access, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    // SAFETY: the range was just mapped and is ours; the advice changes no content.
    unsafe { libc::madvise(start, size, libc::MADV_DONTDUMP) };
    // Under the limit on locked memory, what is left belongs to the pages of the secrets.
    if reason != Errno::EAGAIN {
        // KERNEL: MLOCK_ONFAULT (4.4) keeps untouched pages free.
        // SAFETY: the range was just mapped and is ours; locking changes no content.
        unsafe { libc::syscall(libc::SYS_mlock2, start, size, libc::MLOCK_ONFAULT) };
    }
    Ok(start.cast())
}
