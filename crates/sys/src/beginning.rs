//! What this process was started with, and what start-up code has changed before `main`.
//!
//! Rust's start-up code ignores `SIGPIPE` and opens `/dev/null` at each standard descriptor that
//! is closed. An app must get both as they were, so they are noted down earlier: by a constructor,
//! which the C library calls before it calls into Rust. It makes system calls and stores one
//! number: no allocation, no lock, nothing that another constructor would have to prepare.
//!
//! Invariant that the forked child relies on: `restore` only makes system calls. Descriptors of
//! our own are never among the three that it may close, since all three are taken when `main`
//! begins.

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

/// One bit for each of descriptors 0, 1 and 2 that was closed.
const CLOSED: u8 = 0b0111;
/// Set where `SIGPIPE` was ignored.
const IGNORED_PIPE: u8 = 0b1000;

/// What was found. Nothing but the constructor writes it. Zero is what most starts find, and what a
/// program without constructors would be given.
static FOUND: AtomicU8 = AtomicU8::new(0);

/// The C library calls every function of this section before `main`: musl and glibc, static and
/// dynamic.
// SAFETY: the section holds pointers to functions that are called with the C calling convention and
// with arguments that this one does not take.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = note_down;

extern "C" fn note_down() {
    let closed = (0..3).filter(|fd| is_closed(*fd)).fold(0, |bits, fd| bits | (1 << fd));
    let ignored = if ignores_pipe() { IGNORED_PIPE } else { 0 };
    FOUND.store((closed & CLOSED) | ignored, Ordering::Relaxed);
}

fn is_closed(fd: i32) -> bool {
    // SAFETY: fcntl with this request takes plain integers; the only failure is a closed descriptor.
    unsafe { libc::fcntl(fd, libc::F_GETFD) == -1 }
}

fn ignores_pipe() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only asks; `action` has room for the answer.
    let asked = unsafe { libc::sigaction(libc::SIGPIPE, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zero is a valid value of every field, and the call above may have filled it.
    let action = unsafe { action.assume_init() };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Executes a program in this process's place, with both as they were. Returns why it could not.
pub fn exec(command: &mut Command) -> io::Error {
    let restoring = || {
        restore();
        Ok(())
    };
    // SAFETY: `restore` only makes system calls, and no process is forked here.
    unsafe { command.pre_exec(restoring) }.exec()
}

/// For a process that is about to execute a program, a forked child as well: makes both as they
/// were.
pub(crate) fn restore() {
    let found = FOUND.load(Ordering::Relaxed);
    let pipe = if found & IGNORED_PIPE == 0 { libc::SIG_DFL } else { libc::SIG_IGN };
    // SAFETY: both are valid dispositions.
    unsafe { libc::signal(libc::SIGPIPE, pipe) };
    for fd in (0..3).filter(|fd| found & (1 << fd) != 0) {
        // SAFETY: closes what start-up code opened; nothing in this process owns it.
        unsafe { libc::close(fd) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_descriptor_is_told_from_an_open_one() {
        assert!(!is_closed(0) && !is_closed(2));
        assert!(is_closed(1 << 20));
    }

    #[test]
    fn the_state_from_before_main_is_not_that_of_now() {
        // Start-up code has ignored the signal since; the test was not started so.
        assert!(ignores_pipe());
        assert_eq!(FOUND.load(Ordering::Relaxed) & IGNORED_PIPE, 0);
    }
}
