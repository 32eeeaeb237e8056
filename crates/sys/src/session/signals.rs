//! The signals of the supervisor: all blocked, read from a descriptor, handed on to the app.
//!
//! The app is in our process group, so what the terminal sends it has had already, and what it
//! sends to its own group comes back to us: neither is sent a second time. `SIGCHLD` and `SIGURG`
//! are news for the supervisor alone. A fault of our own ends us all the
//! same.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;

/// Sent by the kernel, which for job control means: by the terminal.
const SI_KERNEL: i32 = 0x80;
/// Sent with `tgkill`, which cannot be repeated in another's name.
const SI_TKILL: i32 = -6;

/// What the terminal sends to its whole foreground group.
const FROM_TERMINAL: [i32; 7] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGWINCH,
];

/// A signal that came to the supervisor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Incoming {
    pub(super) signal: i32,
    code: i32,
    sender: i32,
    user: u32,
    value: u64,
}

/// Where a signal goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Route {
    /// The app has it already.
    Known,
    /// To the app.
    App,
    /// To nobody else.
    Own,
}

impl Incoming {
    /// Decides where it goes. The leader of a session alone hears that its terminal is gone.
    pub(super) fn route(&self, app: i32, is_session_leader: impl FnOnce() -> bool) -> Route {
        if matches!(self.signal, libc::SIGCHLD | libc::SIGURG) {
            return Route::Own;
        }
        let for_us_alone = self.signal == libc::SIGHUP && is_session_leader();
        let is_group_wide = self.code == SI_KERNEL && FROM_TERMINAL.contains(&self.signal);
        if (is_group_wide && !for_us_alone) || self.sender == app {
            return Route::Known;
        }
        Route::App
    }

    /// Sends it on, with the value that came with it.
    pub(super) fn send_to(&self, app: i32) {
        if self.code >= 0 || self.code == SI_TKILL {
            // SAFETY: kill takes two integers by value; the app is our child and not yet reaped.
            unsafe { libc::kill(app, self.signal) };
            return;
        }
        /// The kernel's `siginfo_t` for a queued signal.
        #[repr(C, align(8))]
        struct Queued {
            signal: i32,
            errno: i32,
            code: i32,
            gap: i32,
            sender: i32,
            user: u32,
            value: u64,
            rest: [u64; 12],
        }
        const { assert!(size_of::<Queued>() == 128) };
        let queued = Queued {
            signal: self.signal,
            errno: 0,
            code: self.code,
            gap: 0,
            sender: self.sender,
            user: self.user,
            value: self.value,
            rest: [0; 12],
        };
        // SAFETY: `queued` is as large as the kernel's siginfo_t and lives until the call returns.
        unsafe {
            libc::syscall(libc::SYS_rt_sigqueueinfo, app, self.signal, ptr::from_ref(&queued))
        };
    }
}

/// Blocks all signals of this thread and reads them from a descriptor.
///
/// Threads that are started afterwards inherit the blocking. Threads that were started before may
/// take a signal away: block first.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
    original: libc::sigset_t,
    ignored_children: bool,
}

impl Signals {
    /// Blocks the signals.
    ///
    /// # Errors
    /// The errno of `signalfd`, when descriptors are used up.
    pub fn block() -> Result<Self, Errno> {
        let all = everything();
        let mut original = set(libc::sigemptyset);
        change_mask(&all, Some(&mut original));
        // SAFETY: `all` is an initialised set; minus one asks for a new descriptor.
        let fd =
            unsafe { libc::signalfd(-1, &raw const all, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        let fd = Errno::result(fd)?;
        // SAFETY: the kernel just returned this descriptor and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // An ignored SIGCHLD makes the kernel reap children itself, and their codes are lost.
        // SAFETY: SIG_DFL is a valid disposition for SIGCHLD.
        let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
        Ok(Self { fd, original, ignored_children: before == libc::SIG_IGN })
    }

    /// The mask from before, which the app gets.
    pub(super) const fn original(&self) -> &libc::sigset_t {
        &self.original
    }

    /// Whether `SIGCHLD` was ignored before.
    pub(super) const fn ignored_children(&self) -> bool {
        self.ignored_children
    }

    /// Takes the next signal that has come, for an owner that has no session yet.
    ///
    /// The descriptor ([`AsFd`]) is readable when there is one.
    #[must_use]
    pub fn take(&self) -> Option<i32> {
        self.next().map(|incoming| incoming.signal)
    }

    /// Reads one signal.
    pub(super) fn next(&self) -> Option<Incoming> {
        const SIZE: usize = size_of::<libc::signalfd_siginfo>();
        let mut raw = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        // SAFETY: the buffer is as large as one record, which is all that may be written.
        let read = unsafe { libc::read(self.fd.as_raw_fd(), raw.as_mut_ptr().cast(), SIZE) };
        if usize::try_from(read) != Ok(SIZE) {
            return None;
        }
        // SAFETY: zero is a valid value of every field, and the kernel has filled the structure.
        let raw = unsafe { raw.assume_init() };
        Some(Incoming {
            signal: raw.ssi_signo.cast_signed(),
            code: raw.ssi_code,
            sender: raw.ssi_pid.cast_signed(),
            user: raw.ssi_uid,
            value: raw.ssi_ptr,
        })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        change_mask(&self.original, None);
    }
}

/// Blocks every signal in the calling thread.
///
/// For each thread of a process that holds [`Signals`], first thing, and for the thread that holds
/// them after it has started another: musl unblocks its own signals (33, 34) in whoever makes the
/// first thread, and an app of another C library may be sent 34.
pub fn hold_back_signals() {
    change_mask(&everything(), None);
}

/// Every signal, those included that the C library keeps for itself and leaves out of its own
/// `sigfillset`: an app of another C library may use them. A fault of our own is not held up by
/// this: KERNEL: `force_sig_info_to_task` unblocks it and takes the default action.
fn everything() -> libc::sigset_t {
    let mut all = set(libc::sigfillset);
    // SAFETY: a kernel signal set is the first eight bytes of the library's, which is larger.
    unsafe { (&raw mut all).cast::<u64>().write_unaligned(u64::MAX) };
    all
}

/// Sets the mask of this thread, past the C library, which would filter it.
pub(super) fn change_mask(new: &libc::sigset_t, old: Option<&mut libc::sigset_t>) {
    const KERNEL_SET_BYTES: usize = 8;
    let old = old.map_or(ptr::null_mut(), ptr::from_mut);
    let new = ptr::from_ref(new);
    // SAFETY: both sets are live and at least as large as the kernel's, whose size is passed.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, new, old, KERNEL_SET_BYTES)
    };
}

fn set(fill: unsafe extern "C" fn(*mut libc::sigset_t) -> i32) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: `fill` is sigfillset or sigemptyset and is given room for one set.
    unsafe { fill(set.as_mut_ptr()) };
    // SAFETY: filled by the call above; zero would be valid too.
    unsafe { set.assume_init() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: i32 = 100;

    fn incoming(signal: i32, code: i32, sender: i32) -> Incoming {
        Incoming { signal, code, sender, user: 0, value: 0 }
    }

    #[test]
    fn the_terminal_has_told_the_app_itself() {
        for signal in FROM_TERMINAL {
            assert_eq!(incoming(signal, SI_KERNEL, 0).route(APP, || false), Route::Known);
            assert_eq!(incoming(signal, 0, 7).route(APP, || false), Route::App);
        }
        assert_eq!(incoming(libc::SIGTERM, SI_KERNEL, 0).route(APP, || false), Route::App);
    }

    #[test]
    fn a_session_leader_passes_on_that_the_terminal_is_gone() {
        assert_eq!(incoming(libc::SIGHUP, SI_KERNEL, 0).route(APP, || true), Route::App);
        assert_eq!(incoming(libc::SIGINT, SI_KERNEL, 0).route(APP, || true), Route::Known);
    }

    #[test]
    fn what_the_app_sent_does_not_go_back_to_it() {
        assert_eq!(incoming(libc::SIGTERM, 0, APP).route(APP, || false), Route::Known);
    }

    #[test]
    fn news_for_the_supervisor_stay_here() {
        assert_eq!(incoming(libc::SIGCHLD, 1, APP).route(APP, || false), Route::Own);
        assert_eq!(incoming(libc::SIGURG, 0, 7).route(APP, || false), Route::Own);
    }
}
