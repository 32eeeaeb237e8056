//! The wrapper's whole heap, in pages that the kernel removes from its own map.
//!
//! Everything that touches plaintext on its way (HTTP bodies, TLS buffers, JSON, tokens) allocates,
//! so sealing the heap seals all of it without a rule that each author must remember. What is
//! freed, and the old place of what moved, is zeroed before it can be handed out again, in sealed
//! and in ordinary memory alike.
//!
//! Where the kernel refuses sealed memory the heap goes on in ordinary memory, locked and left out
//! of dumps where that is allowed, and [`state`] says so: what to make of it is the caller's choice.
//!
//! Not covered: stacks (see [`crate::harden::wipe_stack`]) and registers. Sealed pages are shared
//! mappings, so a forked child sees and writes the *same* heap: between `fork` and `exec` it must
//! not allocate nor free. A page that cannot be provided at first touch raises SIGBUS or the kernel's
//! out-of-memory killer, as any page does.
//!
//! Invariant: all metadata is reached only under the lock; no path here allocates, panics or
//! blocks on anything but that lock.

mod arena;

#[cfg(test)]
mod tests;

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};

use talc::DefaultBinning;
use talc::base::Talc;

use arena::Arena;

pub use arena::{HeapState, state};

/// How often a waiter looks at the lock before it gives its time slice away.
///
/// The lock is held for well under a microsecond; longer means that the holder was preempted.
const SPINS_BEFORE_YIELD: u32 = 64;

/// A global allocator over sealed memory, to be the only one of a program.
///
/// ```
/// #[global_allocator]
/// static HEAP: cloudtaser_sys::heap::SealedHeap = cloudtaser_sys::heap::SealedHeap::new();
/// ```
pub struct SealedHeap {
    locked: AtomicBool,
    talc: UnsafeCell<Talc<Arena, DefaultBinning>>,
}

// SAFETY: `talc` is reached only through `Guard`, of which `locked` admits one at a time.
unsafe impl Sync for SealedHeap {}

impl SealedHeap {
    /// A heap that takes its first pages at the first allocation.
    #[must_use]
    pub const fn new() -> Self {
        Self { locked: AtomicBool::new(false), talc: UnsafeCell::new(Talc::new(Arena::new())) }
    }

    fn lock(&self) -> Guard<'_> {
        let mut spins = 0_u32;
        while self
            .locked
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            spins = spins.saturating_add(1);
            if spins < SPINS_BEFORE_YIELD {
                std::hint::spin_loop();
            } else {
                // SAFETY: sched_yield takes no argument and touches no memory.
                unsafe { libc::sched_yield() };
            }
        }
        Guard { heap: self }
    }
}

impl Default for SealedHeap {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SealedHeap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedHeap").finish_non_exhaustive()
    }
}

// SAFETY: blocks come from `Talc`, which upholds the contract of an allocator; the lock makes its
// calls exclusive; nothing here unwinds.
unsafe impl GlobalAlloc for SealedHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.lock().allocate(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives up a block of `layout.size()` bytes, so nobody else reads it.
        unsafe { wipe(block, layout.size()) };
        // SAFETY: the caller got `block` from this heap with this layout.
        unsafe { self.lock().release(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if let Some(freed) = layout.size().checked_sub(new_size).filter(|&freed| freed > 0) {
            let tail = block.wrapping_add(new_size);
            // SAFETY: `new_size < layout.size()`, so the tail lies in the block and is given up.
            unsafe { wipe(tail, freed) };
        }
        // SAFETY: the caller got `block` from this heap with this layout, and `new_size` is not 0.
        if unsafe { self.lock().resize(block, layout, new_size) } {
            return block;
        }
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else {
            return ptr::null_mut();
        };
        // The lock is free during the copy: both blocks belong to this call alone.
        let Some(moved) = self.lock().allocate(new_layout) else { return ptr::null_mut() };
        // SAFETY: shrinking never moves, so the new block is at least as large as the old one, and
        // two live blocks do not overlap.
        unsafe { ptr::copy_nonoverlapping(block, moved.as_ptr(), layout.size()) };
        // SAFETY: `block` came from this heap with this layout and is not used again.
        unsafe { self.dealloc(block, layout) };
        moved.as_ptr()
    }
}

/// The right to touch the allocator's metadata.
struct Guard<'a> {
    heap: &'a SealedHeap,
}

impl Guard<'_> {
    fn talc(&mut self) -> &mut Talc<Arena, DefaultBinning> {
        // SAFETY: a guard exists only while `locked` is ours, and `&mut self` is its only user.
        unsafe { &mut *self.heap.talc.get() }
    }

    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        if layout.size() == 0 {
            return None;
        }
        // SAFETY: the size was just seen not to be zero.
        unsafe { self.talc().allocate(layout) }
    }

    /// # Safety
    /// `block` came from this heap with `layout`, and is not used afterwards.
    unsafe fn release(&mut self, block: *mut u8, layout: Layout) {
        // SAFETY: promised by the caller in the same words.
        unsafe { self.talc().deallocate(block, layout) };
    }

    /// Grows or shrinks without moving, or says that it cannot.
    ///
    /// # Safety
    /// `block` came from this heap with `layout`; `new_size` is not zero.
    unsafe fn resize(&mut self, block: *mut u8, layout: Layout, new_size: usize) -> bool {
        // SAFETY: promised by the caller in the same words.
        unsafe { self.talc().try_realloc_in_place(block, layout, new_size) }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.heap.locked.store(false, Ordering::Release);
    }
}

/// Zeroes memory in a way that the optimiser may not leave out.
///
/// # Safety
/// `len` bytes from `start` are writable and nobody else reads or writes them meanwhile.
unsafe fn wipe(start: *mut u8, len: usize) {
    // SAFETY: promised by the caller.
    unsafe { ptr::write_bytes(start, 0, len) };
    // SECURITY: stores to memory that is about to be freed are dead to the optimiser; after this
    // it has to assume that somebody reads them.
    zeroize::optimization_barrier(&start);
}
