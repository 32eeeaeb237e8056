//! What this process does to itself before it touches a secret.
//!
//! [`forbid_dumps`] makes `/proc/self` foreign to other users' processes and leaves no core file;
//! it ends by itself at `execve`, so the app that is started gets nothing of it, and no resource
//! limit has to be lowered here and raised again there. [`take_environment`] moves the environment
//! out of the block that `/proc/PID/environ` shows. [`wipe_stack`] clears what dead frames leave,
//! the one place that the sealed heap does not cover.
//!
//! Not covered: the arguments (no secret is ever in one) and what the kernel keeps of an `execve`
//! that is already over.

mod environment;

use std::hint::black_box;
use std::mem::MaybeUninit;

use nix::errno::Errno;
use zeroize::Zeroize;

pub use environment::{
    EnvironmentError, placed_variables, scrub_own_environment, take_environment,
};

/// What one frame of [`wipe_stack`] clears.
const FRAME_BYTES: usize = 4096;

/// More than any call below `main` needs, and far below the smallest stack (musl threads: 128 KiB;
/// ours are made with at least 2 MiB).
const MOST_STACK_BYTES: usize = 1 << 20;

/// Makes this process undumpable: no core file, and no reading through `/proc` or ptrace by
/// processes without `CAP_SYS_PTRACE`, the same user's included.
///
/// KERNEL: with dumpable 0 `do_coredump` refuses before it looks at `RLIMIT_CORE`, so the limit,
/// which the app would inherit, is left alone.
///
/// # Errors
/// Whatever `prctl(2)` answers; a seccomp filter can refuse it.
pub fn forbid_dumps() -> Result<(), Errno> {
    nix::sys::prctl::set_dumpable(false)
}

/// Fills the buffer from the kernel's random number generator.
///
/// # Errors
/// `ENOSYS` or `EPERM` where a sandbox lacks it. A partly filled buffer is never taken for success.
pub fn fill_random(buffer: &mut [u8]) -> Result<(), Errno> {
    let mut rest = buffer;
    while !rest.is_empty() {
        // SAFETY: `rest` is live and writable for its whole length.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match Errno::result(got) {
            Ok(len) => {
                let len = usize::try_from(len).unwrap_or(0);
                rest = rest.get_mut(len..).ok_or(Errno::EIO)?;
            }
            Err(Errno::EINTR) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

/// Overwrites the dead stack below the caller, at least `len` bytes of it.
///
/// Call it from the frame that called what touched the secret: a value that a callee had in a local
/// is then gone. At most 1 MiB, so that no stack overflows.
#[inline(never)]
pub fn wipe_stack(len: usize) {
    let mut frame = [MaybeUninit::<u8>::uninit(); FRAME_BYTES];
    frame.zeroize();
    let left = len.min(MOST_STACK_BYTES).saturating_sub(FRAME_BYTES);
    if left > 0 {
        wipe_stack(left);
    }
    // Used after the call, so that the call cannot become a jump that reuses this frame.
    black_box(&mut frame);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_fill_every_length() {
        for len in [0, 1, 255, 256, 257, 100_000] {
            let mut buffer = vec![0; len];
            fill_random(&mut buffer).unwrap();
            // 64 zero bytes in a row do not happen by chance.
            assert!(buffer.chunks_exact(64).all(|chunk| chunk.iter().any(|&byte| byte != 0)));
        }
        let mut first = [0; 32];
        let mut second = [0; 32];
        fill_random(&mut first).unwrap();
        fill_random(&mut second).unwrap();
        assert_ne!(first, second);
    }

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

    #[test]
    fn a_wiped_stack_keeps_no_local_of_a_callee() {
        let found = |address| {
            let bytes = own_memory(address, FRAME / 2);
            // Eight odd bytes in a row are the pattern; a saved register has zeros on top.
            bytes.windows(8).filter(|run| run.iter().all(|byte| byte & 1 == 1)).count()
        };
        // First without wiping, to see that there is something to find.
        assert_eq!(found(leave_a_pattern()), FRAME / 2 - 7);
        let address = leave_a_pattern();
        wipe_stack(2 * FRAME);
        assert_eq!(found(address), 0);
    }

    #[test]
    fn an_undumpable_process_says_so_and_its_program_does_not() {
        let output = std::process::Command::new(crate_example("harden")).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, "dumpable false\nafter exec true\n");
    }

    fn crate_example(name: &str) -> std::path::PathBuf {
        let test = std::env::current_exe().unwrap();
        let path = test.parent().unwrap().parent().unwrap().join("examples").join(name);
        assert!(path.exists(), "cargo build --examples first");
        path
    }
}
