//! The few ptrace requests and wait results that the session needs, each as one safe function.
//!
//! Everything here acts on a task by number and may find it gone (`ESRCH`), which is a value like
//! any other. The kernel checks that the caller traces the task; memory of ours is only touched
//! where a result is filled in.

use std::mem::MaybeUninit;
use std::ptr;

use nix::errno::Errno;

use super::arch::Registers;
use super::report::ExitStatus;

/// Kill the task when the tracer dies, report `exec`, mark stops at system calls.
const OPTIONS: i32 =
    libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_TRACESYSGOOD;

const GETSIGMASK: i64 = 0x420a;
const SETSIGMASK: i64 = 0x420b;
/// Size of the kernel's signal set, which the two requests above want told.
const KERNEL_SIGSET: usize = 8;

/// How a stopped task goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Resume {
    /// Until something happens.
    Free,
    /// One instruction, or one system call where the instruction makes one.
    Step,
    /// To the next entry to or exit from a system call.
    Syscall,
}

/// What `wait` said about a task.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Status {
    /// It ended by itself.
    Exited(i32),
    /// A signal ended it.
    Killed(i32),
    /// Stopped for a new program.
    Exec,
    /// Stopped because we asked, or (with a stop signal) because its whole group stops.
    Halt(i32),
    /// Stopped before a signal is delivered to it; for an untraced child: stopped by that signal.
    Signal(i32),
    /// Stopped at the entry to or exit from a system call.
    Syscall,
    /// Anything else.
    Other,
}

impl Status {
    /// The end of the task, if this is one.
    pub(super) const fn ending(self) -> Option<ExitStatus> {
        match self {
            Self::Exited(code) => Some(ExitStatus::Code(code)),
            Self::Killed(signal) => Some(ExitStatus::Signal(signal)),
            _ => None,
        }
    }

    fn decode(raw: i32) -> Self {
        if libc::WIFEXITED(raw) {
            return Self::Exited(libc::WEXITSTATUS(raw));
        }
        if libc::WIFSIGNALED(raw) {
            return Self::Killed(libc::WTERMSIG(raw));
        }
        if !libc::WIFSTOPPED(raw) {
            return Self::Other;
        }
        let signal = libc::WSTOPSIG(raw);
        match raw >> 16 {
            libc::PTRACE_EVENT_EXEC => Self::Exec,
            libc::PTRACE_EVENT_STOP => Self::Halt(signal),
            0 if signal == libc::SIGTRAP | 0x80 => Self::Syscall,
            0 => Self::Signal(signal),
            _ => Self::Other,
        }
    }
}

/// Which children to wait for, and whether to sleep until there is news.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wait {
    /// Any child or traced task, without sleeping.
    AnyNow,
    /// One task, without sleeping.
    Now(i32),
    /// One task, sleeping until it stops or ends.
    Until(i32),
}

/// Reads the next change of state; `None` where there is none, or no such task.
pub(super) fn wait(which: Wait) -> Option<(i32, Status)> {
    let (pid, options) = match which {
        Wait::AnyNow => (-1, libc::WNOHANG | libc::WUNTRACED),
        Wait::Now(pid) => (pid, libc::WNOHANG),
        Wait::Until(pid) => (pid, 0),
    };
    let mut raw = 0;
    loop {
        // SAFETY: `raw` is a live integer for the kernel to fill.
        let result = unsafe { libc::waitpid(pid, &raw mut raw, options | libc::__WALL) };
        match result {
            1.. => return Some((result, Status::decode(raw))),
            -1 if Errno::last() == Errno::EINTR => {}
            _ => return None,
        }
    }
}

/// Attaches without stopping the task.
pub(super) fn seize(tid: i32) -> Result<(), Errno> {
    request(libc::PTRACE_SEIZE.into(), tid, 0, options())
}

/// Sets the options of a task that made itself traced.
pub(super) fn set_options(tid: i32) -> Result<(), Errno> {
    request(libc::PTRACE_SETOPTIONS.into(), tid, 0, options())
}

/// Asks a seized task to stop as soon as it can.
pub(super) fn interrupt(tid: i32) -> Result<(), Errno> {
    request(libc::PTRACE_INTERRUPT.into(), tid, 0, 0)
}

/// Lets a stopped task go on, delivering `signal` where it is not zero.
pub(super) fn resume(tid: i32, how: Resume, signal: i32) -> Result<(), Errno> {
    let number = match how {
        Resume::Free => libc::PTRACE_CONT,
        Resume::Step => libc::PTRACE_SINGLESTEP,
        Resume::Syscall => libc::PTRACE_SYSCALL,
    };
    request(number.into(), tid, 0, usize::try_from(signal).unwrap_or(0))
}

/// Lets go of a stopped task, delivering `signal` where it is not zero.
pub(super) fn detach(tid: i32, signal: i32) -> Result<(), Errno> {
    request(libc::PTRACE_DETACH.into(), tid, 0, usize::try_from(signal).unwrap_or(0))
}

/// Reads the registers of a stopped task.
pub(super) fn registers(tid: i32) -> Result<Registers, Errno> {
    let mut registers = MaybeUninit::<Registers>::zeroed();
    request(libc::PTRACE_GETREGS.into(), tid, 0, registers.as_mut_ptr().expose_provenance())?;
    // SAFETY: zero is a valid value of every field, and the kernel has filled the structure.
    Ok(unsafe { registers.assume_init() })
}

/// Writes the registers of a stopped task.
pub(super) fn set_registers(tid: i32, registers: &Registers) -> Result<(), Errno> {
    request(libc::PTRACE_SETREGS.into(), tid, 0, ptr::from_ref(registers).expose_provenance())
}

/// Reads which signals a stopped task blocks.
pub(super) fn signal_mask(tid: i32) -> Result<u64, Errno> {
    let mut mask = 0_u64;
    request(GETSIGMASK, tid, KERNEL_SIGSET, (&raw mut mask).expose_provenance())?;
    Ok(mask)
}

/// Sets which signals a stopped task blocks; blocked ones wait, none is lost.
pub(super) fn set_signal_mask(tid: i32, mask: u64) -> Result<(), Errno> {
    request(SETSIGMASK, tid, KERNEL_SIGSET, (&raw const mask).expose_provenance())
}

/// Reads the number that goes with the event; for a new program: the task's number before it.
pub(super) fn event_message(tid: i32) -> Result<u64, Errno> {
    let mut message = 0_u64;
    let filled = (&raw mut message).expose_provenance();
    request(libc::PTRACE_GETEVENTMSG.into(), tid, 0, filled)?;
    Ok(message)
}

/// Overwrites one word of a stopped task, whatever the protection of its page.
pub(super) fn poke(tid: i32, address: u64, word: u64) -> Result<(), Errno> {
    let address = usize::try_from(address).or(Err(Errno::EFAULT))?;
    let word = usize::try_from(word).or(Err(Errno::EFAULT))?;
    request(libc::PTRACE_POKEDATA.into(), tid, address, word)
}

fn options() -> usize {
    usize::try_from(OPTIONS).unwrap_or(0)
}

fn request(number: i64, tid: i32, address: usize, data: usize) -> Result<(), Errno> {
    // SAFETY: of the requests made here, those that fill or read memory of ours are given the
    // address of a live value of the size that the kernel's interface states; the others take
    // plain numbers.
    let result = unsafe { libc::syscall(libc::SYS_ptrace, number, tid, address, data) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_results_are_told_apart() {
        assert_eq!(Status::decode(7 << 8), Status::Exited(7));
        assert_eq!(Status::decode(libc::SIGTERM), Status::Killed(libc::SIGTERM));
        let stopped = |signal: i32, event: i32| (event << 16) | (signal << 8) | 0x7f;
        assert_eq!(Status::decode(stopped(libc::SIGTRAP, 4)), Status::Exec);
        assert_eq!(Status::decode(stopped(libc::SIGSTOP, 128)), Status::Halt(libc::SIGSTOP));
        assert_eq!(Status::decode(stopped(libc::SIGTRAP | 0x80, 0)), Status::Syscall);
        assert_eq!(Status::decode(stopped(40, 0)), Status::Signal(40));
        assert_eq!(Status::decode(0xffff), Status::Other);
    }

    #[test]
    fn a_task_that_is_not_there_is_a_value() {
        assert_eq!(seize(i32::MAX), Err(Errno::ESRCH));
        assert_eq!(registers(i32::MAX).err(), Some(Errno::ESRCH));
    }
}
