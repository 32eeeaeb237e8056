//! Between fork and exec.
//!
//! The parent's heap may be a shared mapping, so what a child wrote there the parent would see.
//! Therefore everything is prepared before the fork, and after it the child makes system calls and
//! touches its own stack, nothing else: no allocation, no drop, no lock, no formatting.
//!
//! The child speaks over a socket: the listener's descriptor, or the step that failed and why.
//! The socket closes by itself when the exec succeeds.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::words::Words;

/// What the child was doing when it failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(i32)]
pub(super) enum Step {
    /// Nothing failed: a listener comes with this.
    Listener = 0,
    /// Asking to be traced.
    Trace = 1,
    /// Giving up new privileges.
    NoNewPrivileges = 2,
    /// Installing the filter.
    Filter = 3,
    /// Starting the program.
    Exec = 4,
}

/// All that the child needs, prepared before it exists.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) words: Words,
    /// Whether another supervisor may have to read the words: a child of ours is not dumpable, and
    /// one without privileges is then kept out.
    pub(super) dumpable: bool,
    pub(super) traced: bool,
    pub(super) no_new_privileges: bool,
    pub(super) filter: Vec<libc::sock_filter>,
    pub(super) inherited: Option<RawFd>,
    pub(super) mask: &'a libc::sigset_t,
    pub(super) ignores_children: bool,
}

/// A child under way.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: i32,
    pub(super) socket: OwnedFd,
}

/// What came over the socket.
#[derive(Debug)]
pub(super) enum Message {
    /// The filter is in place.
    Listener(OwnedFd),
    /// A step failed; the child is ending.
    Failed(Step, Errno),
    /// The program runs, or the child is dead.
    Closed,
}

/// Starts a child.
pub(super) fn start(plan: &Plan<'_>) -> Result<Child, Errno> {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let parent = std::process::id();
    let length = libc::c_ushort::try_from(plan.filter.len()).or(Err(Errno::E2BIG))?;
    let program = libc::sock_fprog { len: length, filter: plan.filter.as_ptr().cast_mut() };
    // SAFETY: the child only runs `become_program`, which keeps to what is allowed after a fork of
    // a process that may have more threads, and never returns.
    match Errno::result(unsafe { libc::fork() })? {
        0 => become_program(plan, &program, theirs.as_raw_fd(), parent),
        pid => Ok(Child { pid, socket: ours }),
    }
}

/// Runs in the child; every failure ends it.
fn become_program(plan: &Plan<'_>, filter: &libc::sock_fprog, socket: RawFd, parent: u32) -> ! {
    // SAFETY: prctl with this option takes plain integers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM, 0, 0, 0) };
    // SAFETY: getppid touches no memory.
    if unsafe { libc::getppid() }.cast_unsigned() != parent {
        die();
    }
    if plan.traced {
        // SAFETY: this request takes no argument.
        let result = unsafe { libc::syscall(libc::SYS_ptrace, libc::PTRACE_TRACEME, 0, 0, 0) };
        check(result, Step::Trace, socket);
        // SAFETY: getpid touches no memory.
        let own = unsafe { libc::getpid() };
        // SAFETY: kill takes two integers by value. The stop lets the parent set its options
        // before anything else happens.
        unsafe { libc::kill(own, libc::SIGSTOP) };
    }
    if plan.no_new_privileges {
        // SAFETY: prctl with this option takes plain integers.
        let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        check(result.into(), Step::NoNewPrivileges, socket);
    }
    if !plan.filter.is_empty() {
        let listener = install(filter);
        check(listener, Step::Filter, socket);
        send(socket, Step::Listener, 0, i32::try_from(listener).ok());
    }
    if let Some(inherited) = plan.inherited {
        // SAFETY: clears the flags of a descriptor that the parent keeps open until the exec.
        unsafe { libc::fcntl(inherited, libc::F_SETFD, 0) };
    }
    crate::beginning::restore();
    restore_signals(plan);
    if plan.dumpable {
        // SAFETY: prctl with this option takes plain integers.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
    }
    let (arguments, environment) = (plan.words.arguments(), plan.words.environment());
    // SAFETY: the program and both arrays end as the kernel expects, as do their strings, and the
    // plan owns them.
    let result = unsafe { libc::execve(plan.words.program(), arguments, environment) };
    check(result.into(), Step::Exec, socket);
    die()
}

/// Installs the filter; gives its listener.
fn install(filter: &libc::sock_fprog) -> libc::c_long {
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // A request that has been taken is not ended by signals, whose handlers would make it `EINTR`.
    // KERNEL: the flag came with 5.19.
    let patient = flags | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let (mode, filter) = (libc::SECCOMP_SET_MODE_FILTER, ptr::from_ref(filter));
    // SAFETY: `filter` describes the program in the plan, alive until the exec.
    let listener = unsafe { libc::syscall(libc::SYS_seccomp, mode, patient, filter) };
    if listener >= 0 || Errno::last_raw() != libc::EINVAL {
        return listener;
    }
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, filter) }
}

fn restore_signals(plan: &Plan<'_>) {
    if plan.ignores_children {
        // SAFETY: SIG_IGN is a valid disposition for SIGCHLD, and the one we found.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    }
    super::signals::change_mask(plan.mask, None);
}

fn check(result: libc::c_long, step: Step, socket: RawFd) {
    if result < 0 {
        send(socket, step, Errno::last_raw(), None);
        die();
    }
}

fn die() -> ! {
    // SAFETY: ends the child without running anything of the parent's.
    unsafe { libc::_exit(127) }
}

/// Room for one descriptor, aligned as the kernel's headers are.
#[repr(C, align(8))]
struct Ancillary([u8; 24]);

fn send(socket: RawFd, step: Step, errno: i32, descriptor: Option<RawFd>) {
    let mut payload = [step as i32, errno];
    let mut ancillary = Ancillary([0; 24]);
    let (mut piece, mut message) = header(&mut payload, &mut ancillary);
    message.msg_iov = &raw mut piece;
    if let Some(descriptor) = descriptor {
        // SAFETY: `message` names `ancillary`, which has room for one header.
        let first = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        // SAFETY: the header lies in `ancillary`, which is aligned for it, and is ours alone.
        let head = unsafe { &mut *first };
        head.cmsg_level = libc::SOL_SOCKET;
        head.cmsg_type = libc::SCM_RIGHTS;
        // SAFETY: computes a length from a length.
        head.cmsg_len = unsafe { libc::CMSG_LEN(4) } as _;
        // SAFETY: the data of the header that was just filled.
        let data = unsafe { libc::CMSG_DATA(first) };
        // SAFETY: `ancillary` has four bytes there: CMSG_SPACE(4) is its size.
        unsafe { data.cast::<RawFd>().write_unaligned(descriptor) };
    } else {
        message.msg_controllen = 0;
    }
    // SAFETY: `message` names live buffers of the lengths that it states.
    unsafe { libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL) };
}

fn header(payload: &mut [i32; 2], ancillary: &mut Ancillary) -> (libc::iovec, libc::msghdr) {
    let piece =
        libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: size_of_val(payload) };
    // SAFETY: a header of zeros names nothing.
    let mut message = unsafe { MaybeUninit::<libc::msghdr>::zeroed().assume_init() };
    message.msg_iovlen = 1;
    message.msg_control = ancillary.0.as_mut_ptr().cast();
    message.msg_controllen = size_of::<Ancillary>() as _;
    (piece, message)
}

impl Child {
    /// Reads what the child says; sleeps until it does.
    pub(super) fn receive(&self) -> Message {
        let mut payload = [0_i32; 2];
        let mut ancillary = Ancillary([0; 24]);
        let (mut piece, mut message) = header(&mut payload, &mut ancillary);
        message.msg_iov = &raw mut piece;
        // SAFETY: `message` names live buffers of the lengths that it states.
        let read = unsafe {
            libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC)
        };
        if usize::try_from(read) != Ok(size_of_val(&payload)) {
            return Message::Closed;
        }
        let [step, errno] = payload;
        let errno = Errno::from_raw(errno);
        match step {
            0 => descriptor(&message).map_or(Message::Closed, Message::Listener),
            1 => Message::Failed(Step::Trace, errno),
            2 => Message::Failed(Step::NoNewPrivileges, errno),
            3 => Message::Failed(Step::Filter, errno),
            _ => Message::Failed(Step::Exec, errno),
        }
    }
}

fn descriptor(message: &libc::msghdr) -> Option<OwnedFd> {
    // SAFETY: `message` was filled by recvmsg and its buffers are alive.
    let first = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: either null, or a header inside the ancillary buffer, which is aligned for it.
    let head = unsafe { first.as_ref() }?;
    if (head.cmsg_level, head.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
        return None;
    }
    // SAFETY: the data of a header that recvmsg wrote.
    let data = unsafe { libc::CMSG_DATA(first) };
    // SAFETY: the kernel wrote one descriptor there; the buffer has no room for two.
    let number = unsafe { data.cast::<RawFd>().read_unaligned() };
    // SAFETY: the kernel just made this descriptor for us and nothing else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
