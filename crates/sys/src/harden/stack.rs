//! Dead stack: what calls that are over have left below the caller.
//!
//! Overwriting a page that never held anything makes it first, which costs more than the writing,
//! and it stays. So the kernel is asked which pages are there, those are overwritten down to the
//! deepest, and then all of them are given back.
//!
//! Why that leaves nothing: of a page that is not in memory the kernel has nothing, or it has it in
//! swap. `mincore(2)` does not tell these two apart, but giving back does away with both. A page
//! that is in memory is never given back as it is, since its frame would go unwiped to the next
//! user. (What a swap device still holds of a page is out of reach either way.) Where the kernel
//! does not answer as expected, everything is overwritten.
//!
//! Invariant: nothing at or above the caller's frame, nor the frames of the system calls made here,
//! is given back.

use std::hint::black_box;
use std::mem::MaybeUninit;

use nix::errno::Errno;

use crate::secretmem::page_size;

/// What one frame of [`overwrite`] clears.
const FRAME_BYTES: usize = 4096;

/// More than any call below `main` needs.
const MOST_STACK_BYTES: usize = 1 << 20;

/// The most pages that [`MOST_STACK_BYTES`] are.
const MOST_PAGES: usize = MOST_STACK_BYTES >> 12;

/// Stack below this function's frame that is in use while it asks the kernel. A system call takes
/// less than 1 KiB; this much is overwritten, never given back.
const IN_USE_BYTES: usize = 16 << 10;

/// Leaves nothing readable in the dead stack below the caller, at least `len` bytes of it.
///
/// Call it from the frame that called what touched the secret: a value that a callee had in a local
/// is then gone. At most 1 MiB; the thread's stack must have room for `len` bytes below the caller.
#[inline(never)]
pub fn wipe_stack(len: usize) {
    let len = len.min(MOST_STACK_BYTES);
    let mark = MaybeUninit::<u8>::uninit();
    let here = black_box(&mark).as_ptr().addr();
    let left = match wipe_what_is_there(here, len) {
        // The frame of that very call.
        Ok(()) => FRAME_BYTES,
        Err(_) => len,
    };
    overwrite(left);
    black_box(&mark);
}

/// # Errors
/// Whatever the kernel answers where it does not do its part: then nothing is promised.
#[inline(never)]
fn wipe_what_is_there(here: usize, len: usize) -> Result<(), Errno> {
    let page = page_size();
    let low = here.saturating_sub(len) / page * page;
    let high = here.saturating_sub(IN_USE_BYTES) / page * page;
    let (low, deepest) = pages(low, high, page)?;
    // One frame more, for those between `here` and the first frame that clears.
    overwrite(here.saturating_sub(deepest).saturating_add(FRAME_BYTES));
    give_back(low, high)
}

/// The lowest page that the stack has at all, and the lowest that is in memory; `high` for none.
fn pages(low: usize, high: usize, page: usize) -> Result<(usize, usize), Errno> {
    let mut there = [0_u8; MOST_PAGES + 1];
    let mut low = low;
    while low < high {
        let count = (high - low) / page;
        if count > there.len() {
            return Err(Errno::EOVERFLOW);
        }
        let start = std::ptr::without_provenance_mut(low);
        // SAFETY: the kernel writes one byte for each page, and there was just seen to be room for
        // as many; the range itself is neither read nor written.
        let result = unsafe { libc::mincore(start, high - low, there.as_mut_ptr()) };
        match Errno::result(result) {
            Ok(_) => {
                let first = there.iter().take(count).position(|byte| byte & 1 == 1);
                return Ok((low, first.map_or(high, |index| low + index * page)));
            }
            // KERNEL: the first thread's stack is mapped no deeper than it was ever used.
            Err(Errno::ENOMEM) => low += page,
            Err(Errno::EAGAIN) => {}
            Err(other) => return Err(other),
        }
    }
    Ok((high, high))
}

/// Makes the pages of dead stack read as zeros, in memory or in swap, and frees them.
fn give_back(low: usize, high: usize) -> Result<(), Errno> {
    if low >= high {
        return Ok(());
    }
    let start = std::ptr::without_provenance_mut(low);
    // SAFETY: the range ends `IN_USE_BYTES` below the frame of `wipe_stack`, so it has no live
    // frame, the one of this call included; the caller promises that it is this thread's stack.
    let result = unsafe { libc::madvise(start, high - low, libc::MADV_DONTNEED) };
    Errno::result(result).map(drop)
}

/// Overwrites at least `len` bytes below the caller.
#[inline(never)]
fn overwrite(len: usize) {
    let mut frame = [MaybeUninit::<u8>::uninit(); FRAME_BYTES];
    // Not `zeroize`, which writes byte by byte.
    frame.fill(MaybeUninit::new(0));
    // SECURITY: the stores are dead to the optimiser; after this it has to assume a reader.
    zeroize::optimization_barrier(&frame);
    let left = len.saturating_sub(FRAME_BYTES);
    if left > 0 {
        overwrite(left);
    }
    // Used after the call, so that the call cannot become a jump that reuses this frame.
    black_box(&mut frame);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So large that what reads the dead frame afterwards does not reach its lower half.
    const FRAME: usize = 32 << 10;

    /// Leaves a pattern in its frame and says where.
    #[inline(never)]
    fn leave_a_pattern() -> usize {
        let mut local = [0_u8; FRAME];
        for (index, byte) in local.iter_mut().enumerate() {
            *byte = black_box(u8::try_from(index % 250).unwrap() | 1);
        }
        black_box(&local).as_ptr().addr()
    }

    fn own_memory(address: usize, len: usize) -> Vec<u8> {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; len];
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        memory.read_exact_at(&mut bytes, address as u64).unwrap();
        bytes
    }

    /// How much of the pattern is there.
    fn found(address: usize) -> usize {
        let bytes = own_memory(address, FRAME / 2);
        // Eight odd bytes in a row are the pattern; a saved register has zeros on top.
        bytes.windows(8).filter(|run| run.iter().all(|byte| byte & 1 == 1)).count()
    }

    #[test]
    fn a_wiped_stack_keeps_no_local_of_a_callee() {
        // First without wiping, to see that there is something to find.
        assert_eq!(found(leave_a_pattern()), FRAME / 2 - 7);
        let address = leave_a_pattern();
        wipe_stack(2 * FRAME);
        assert_eq!(found(address), 0);
    }

    #[test]
    fn pages_that_held_nothing_are_not_made() {
        let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(|| {
            let address = leave_a_pattern();
            let page = page_size();
            let low = address / page * page - (512 << 10);
            let high = address / page * page;
            let before = pages(low, high, page).unwrap();
            wipe_stack(256 << 10);
            (before, pages(low, high, page).unwrap(), found(address))
        });
        let (before, after, found) = thread.unwrap().join().unwrap();
        assert!(before.1 > before.0 + (128 << 10), "most of it was not there: {before:x?}");
        assert!(after.1 >= before.1, "{before:x?} {after:x?}");
        assert_eq!(found, 0);
    }

    #[test]
    fn what_is_there_is_overwritten_and_not_only_given_back() {
        let address = leave_a_pattern();
        overwrite(2 * FRAME);
        assert_eq!(found(address), 0);
    }
}
