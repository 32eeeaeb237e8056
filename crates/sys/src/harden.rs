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
mod stack;

use nix::errno::Errno;

pub use environment::{
    EnvironmentError, placed_variables, scrub_own_environment, take_environment,
};
pub use stack::wipe_stack;

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

    #[test]
    fn an_undumpable_process_says_so_and_its_program_does_not() {
        let output = std::process::Command::new(crate_example("harden")).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, "dumpable false\nafter exec true\n");
    }

    #[test]
    fn the_first_thread_wipes_deeper_than_its_stack_is_mapped() {
        let output =
            std::process::Command::new(crate_example("harden")).arg("stack").output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "wiped\n");
    }

    fn crate_example(name: &str) -> std::path::PathBuf {
        let test = std::env::current_exe().unwrap();
        let path = test.parent().unwrap().parent().unwrap().join("examples").join(name);
        assert!(path.exists(), "cargo build --examples first");
        path
    }
}
