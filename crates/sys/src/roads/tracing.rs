//! A debugger's road: attach, look, and make the target act.
//!
//! Looking at a sealed page fails as it does for everybody outside. Acting does not: code that runs
//! in the target reads what the target reads. This module shows both.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::injection::Injection;

/// How long the target may take to stop; only one stuck in the kernel takes longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A target that is stopped under our control; it goes on when this is dropped.
///
/// Only the thread that attached may use it.
#[derive(Debug)]
pub struct Attached {
    pid: Pid,
    /// Signals that arrived meanwhile, to be sent again.
    held_back: Vec<Signal>,
    this_thread: PhantomData<*const ()>,
}

impl Attached {
    /// Attaches to the process's first thread and stops it.
    ///
    /// # Errors
    /// `EPERM` where it may not be traced, `ETIMEDOUT` where it does not stop.
    pub fn to(pid: Pid) -> Result<Self, Errno> {
        ptrace::seize(pid, Options::PTRACE_O_TRACESYSGOOD)?;
        let mut attached = Self { pid, held_back: Vec::new(), this_thread: PhantomData };
        ptrace::interrupt(pid)?;
        attached.wait_for_stop()?;
        Ok(attached)
    }

    /// Looks at the word at this address, as a debugger does.
    ///
    /// # Errors
    /// `EIO` where the page is sealed or not there.
    pub fn peek(&self, address: usize) -> Result<[u8; 8], Errno> {
        let word = ptrace::read(self.pid, std::ptr::without_provenance_mut(address))?;
        Ok(word.to_ne_bytes())
    }

    /// Makes the target copy `len` bytes at this address to where they can be looked at, by system
    /// calls run in it: what a debugger does that calls `getenv`.
    ///
    /// # Errors
    /// `EFAULT` where there is nothing, `ENOSYS` where no system call can be run in it, `ESRCH`
    /// when it dies meanwhile.
    pub fn make_it_read(&mut self, address: usize, len: usize) -> Result<Vec<u8>, Errno> {
        Injection::begin(self)?.read(address, len)
    }

    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    pub(super) fn poke(&self, address: usize, word: [u8; 8]) -> Result<(), Errno> {
        let word = libc::c_long::from_ne_bytes(word);
        ptrace::write(self.pid, std::ptr::without_provenance_mut(address), word)
    }

    /// Lets it run to the next entry to or exit from a system call.
    pub(super) fn run_to_call_stop(&mut self) -> Result<(), Errno> {
        loop {
            ptrace::syscall(self.pid, None)?;
            match self.wait_for_stop()? {
                WaitStatus::PtraceSyscall(_) => return Ok(()),
                WaitStatus::Stopped(_, signal) => self.held_back.push(signal),
                _ => {}
            }
        }
    }

    fn wait_for_stop(&mut self) -> Result<WaitStatus, Errno> {
        let deadline = Instant::now().checked_add(PATIENCE).ok_or(Errno::EOVERFLOW)?;
        loop {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
                Ok(WaitStatus::StillAlive) if Instant::now() < deadline => std::thread::yield_now(),
                Ok(WaitStatus::StillAlive) => return Err(Errno::ETIMEDOUT),
                Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => return Err(Errno::ESRCH),
                Err(Errno::EINTR) => {}
                other => return other,
            }
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Both fail only when the target is gone.
        let _ = ptrace::detach(self.pid, None);
        for &signal in &self.held_back {
            let _ = kill(self.pid, signal);
        }
    }
}
