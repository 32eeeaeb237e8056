//! Seccomp and ptrace, tried on one short-lived child.
//!
//! The child runs in a copy of this process whose heap may be shared with it, so it makes system
//! calls and nothing else: no allocation, no lock, no unwinding. It dies with its owner, with its
//! parent, and after a second at most if either hangs; it executes no program.

use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};

use super::Probe;

/// How long the child may take for one step. It takes microseconds; only a broken sandbox hangs.
const PATIENCE: Duration = Duration::from_secs(1);

/// A filter of one instruction that lets everything through.
const LET_THROUGH: libc::sock_filter =
    libc::sock_filter { code: RETURN_CONSTANT, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };

/// `BPF_RET | BPF_K`.
const RETURN_CONSTANT: u16 = 0x06;

/// What of seccomp and ptrace works on a child of this process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tracing {
    /// A seccomp filter with a notification listener. `EBUSY`: an outer supervisor has the one
    /// that a process may have. `EINVAL`: the kernel or sandbox has none.
    pub listener: Probe,
    /// The listener could be had only with `no_new_privs` set.
    pub listener_needs_no_new_privileges: bool,
    /// Attaching to a running child that is dumpable, as programs are after `execve`.
    pub seize: Probe,
    /// Attaching to a running child that is not dumpable: needs `CAP_SYS_PTRACE`.
    pub seize_undumpable: Probe,
    /// A child that asks to be traced, and the stop at a system call that placing pages needs.
    pub trace_me: Probe,
}

impl Tracing {
    /// Tries it all on one child.
    #[must_use]
    pub fn probe() -> Self {
        match Child::start() {
            Ok(mut child) => child.probe(),
            Err(reason) => Self::untried(reason),
        }
    }

    const fn untried(reason: Errno) -> Self {
        Self {
            listener: Probe::Untried(reason),
            listener_needs_no_new_privileges: false,
            seize: Probe::Untried(reason),
            seize_undumpable: Probe::Untried(reason),
            trace_me: Probe::Untried(reason),
        }
    }
}

/// What the child says of itself: two error numbers (0 for none) and a flag.
const REPORT_BYTES: usize = 9;

/// The child; killed and reaped when dropped.
struct Child {
    pid: Pid,
    from_child: File,
    to_child: File,
}

impl Child {
    fn start() -> Result<Self, Errno> {
        let (from_child, child_out) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let (child_in, to_child) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let parent = nix::unistd::getpid();
        // SAFETY: the child runs `child_main` alone, which only makes system calls.
        match unsafe { nix::unistd::fork() }? {
            ForkResult::Child => child_main(parent, child_in.as_raw_fd(), child_out.as_raw_fd()),
            ForkResult::Parent { child } => {
                Ok(Self { pid: child, from_child: from_child.into(), to_child: to_child.into() })
            }
        }
    }

    fn probe(&mut self) -> Tracing {
        let mut found = Tracing::untried(Errno::ECANCELED);
        if let Err(reason) = self.fill(&mut found) {
            let end = Tracing::untried(reason);
            let unless_tried = |tried: Probe, end| match tried {
                Probe::Untried(_) => end,
                Probe::Refused(_) | Probe::Works => tried,
            };
            found.listener = unless_tried(found.listener, end.listener);
            found.seize = unless_tried(found.seize, end.seize);
            found.seize_undumpable = unless_tried(found.seize_undumpable, end.seize_undumpable);
            found.trace_me = unless_tried(found.trace_me, end.trace_me);
        }
        found
    }

    /// Goes through the steps of `child_main`.
    fn fill(&mut self, found: &mut Tracing) -> Result<(), Errno> {
        self.receive::<1>()?;
        found.seize = self.attach_and_leave().into();
        self.send()?;
        self.receive::<1>()?;
        found.seize_undumpable = self.attach_and_leave().into();
        self.send()?;
        let [l0, l1, l2, l3, t0, t1, t2, t3, flag] = self.receive::<REPORT_BYTES>()?;
        found.listener = probe_of(i32::from_ne_bytes([l0, l1, l2, l3]));
        found.listener_needs_no_new_privileges = flag != 0;
        found.trace_me = match probe_of(i32::from_ne_bytes([t0, t1, t2, t3])) {
            Probe::Works => self.stop_at_system_call().into(),
            refused => refused,
        };
        Ok(())
    }

    fn attach_and_leave(&self) -> Result<(), Errno> {
        ptrace::seize(self.pid, Options::empty())?;
        ptrace::interrupt(self.pid)?;
        self.wait_for_stop()?;
        ptrace::detach(self.pid, None)
    }

    /// The child asked to be traced and stopped itself; it must stop again at its next call.
    fn stop_at_system_call(&self) -> Result<(), Errno> {
        self.wait_for_stop()?;
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(self.pid, options)?;
        ptrace::syscall(self.pid, None)?;
        match self.wait_for_stop()? {
            WaitStatus::PtraceSyscall(_) => Ok(()),
            _ => Err(Errno::EPROTO),
        }
    }

    fn wait_for_stop(&self) -> Result<WaitStatus, Errno> {
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

    fn send(&mut self) -> Result<(), Errno> {
        self.to_child.write_all(&[0]).map_err(errno)
    }

    fn receive<const LEN: usize>(&mut self) -> Result<[u8; LEN], Errno> {
        await_input(self.from_child.as_fd())?;
        let mut bytes = [0; LEN];
        self.from_child.read_exact(&mut bytes).map_err(errno)?;
        Ok(bytes)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(self.pid, Signal::SIGKILL);
        // A traced child may report a stop that was under way before its end.
        loop {
            match waitpid(self.pid, Some(WaitPidFlag::__WALL)) {
                Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => break,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => break,
            }
        }
    }
}

fn probe_of(error: i32) -> Probe {
    if error == 0 { Probe::Works } else { Probe::Refused(Errno::from_raw(error)) }
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EPIPE))
}

fn await_input(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let timeout = PollTimeout::try_from(PATIENCE).or(Err(Errno::EINVAL))?;
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, timeout) {
            Ok(0) => return Err(Errno::ETIMEDOUT),
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(other) => return Err(other),
        }
    }
}

/// All that the child does. Each step waits for the parent, so that it sees a known state.
fn child_main(parent: Pid, input: RawFd, output: RawFd) -> ! {
    die_with(parent);
    set_dumpable(true);
    tell(output, &[0]);
    hear(input);
    set_dumpable(false);
    tell(output, &[0]);
    hear(input);
    set_dumpable(true);
    let (listener, flag) = install_listener();
    // SAFETY: PTRACE_TRACEME ignores its other arguments.
    let traced = Errno::result(unsafe {
        libc::ptrace(
            libc::PTRACE_TRACEME,
            0,
            std::ptr::null_mut::<u8>(),
            std::ptr::null_mut::<u8>(),
        )
    });
    let [l0, l1, l2, l3] = listener.err().map_or(0, |reason| reason as i32).to_ne_bytes();
    let [t0, t1, t2, t3] = traced.err().map_or(0, |reason| reason as i32).to_ne_bytes();
    tell(output, &[l0, l1, l2, l3, t0, t1, t2, t3, u8::from(flag)]);
    if traced.is_ok() {
        // SAFETY: raise takes a number; the stop is what the parent waits for.
        unsafe { libc::raise(libc::SIGSTOP) };
    }
    hear(input);
    leave()
}

/// Asks for a filter as we are, then with `no_new_privs`, and says whether that was needed.
fn install_listener() -> (Result<(), Errno>, bool) {
    match listener() {
        Err(Errno::EACCES) => {
            // SAFETY: PR_SET_NO_NEW_PRIVS takes numbers and touches no memory of ours.
            unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
            (listener(), true)
        }
        other => (other, false),
    }
}

fn listener() -> Result<(), Errno> {
    let mut filter = [LET_THROUGH];
    let program = libc::sock_fprog { len: 1, filter: filter.as_mut_ptr() };
    // SAFETY: `program` names one instruction, and both live until the kernel has copied them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    Errno::result(result).map(drop)
}

fn die_with(parent: Pid) {
    // SAFETY: PR_SET_PDEATHSIG takes numbers and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
    if nix::unistd::getppid() != parent {
        leave();
    }
}

fn set_dumpable(on: bool) {
    // SAFETY: PR_SET_DUMPABLE takes numbers and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(on), 0, 0, 0) };
}

fn tell(output: RawFd, bytes: &[u8]) {
    // SAFETY: `bytes` is live; a pipe takes so few in one piece.
    if unsafe { libc::write(output, bytes.as_ptr().cast(), bytes.len()) } < 0 {
        leave();
    }
}

/// Waits for one byte; the end of the pipe is the end of the child.
fn hear(input: RawFd) {
    let mut byte = 0_u8;
    loop {
        // SAFETY: `byte` is live and one byte long.
        let result = unsafe { libc::read(input, (&raw mut byte).cast(), 1) };
        match result {
            1 => return,
            -1 if Errno::last() == Errno::EINTR => {}
            _ => leave(),
        }
    }
}

fn leave() -> ! {
    // SAFETY: _exit runs no handlers and does not return.
    unsafe { libc::_exit(0) }
}
