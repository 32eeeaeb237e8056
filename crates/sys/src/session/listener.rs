//! The descriptor on which the kernel tells of trapped system calls and takes the answers.
//!
//! Invariant: nothing here sleeps. A task that died in between is `None` or an error.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A task waits in a trapped call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notification {
    /// Names this wait, never reused while the filter lives.
    pub(super) id: u64,
    /// The waiting task; zero where our process namespace cannot name it.
    pub(super) tid: i32,
    /// Which ABI made the call.
    pub(super) audit_arch: u32,
    /// Which call.
    pub(super) number: i32,
    /// Its arguments.
    pub(super) arguments: [u64; 6],
}

/// One seccomp filter's listener.
#[derive(Debug)]
pub(super) struct Listener {
    fd: OwnedFd,
}

impl Listener {
    pub(super) const fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Takes the next notification, if there is one and its task still waits.
    pub(super) fn receive(&self) -> Option<Notification> {
        // The request below sleeps where there is nothing, whatever the descriptor's flags; what
        // an earlier poll saw may have been taken since.
        let mut watched = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        let is_ready = poll(&mut watched, PollTimeout::ZERO) == Ok(1)
            && watched
                .iter()
                .all(|fd| fd.revents().is_some_and(|seen| seen.contains(PollFlags::POLLIN)));
        if !is_ready {
            return None;
        }
        let mut raw = MaybeUninit::<libc::seccomp_notif>::zeroed();
        self.call(libc::SECCOMP_IOCTL_NOTIF_RECV, raw.as_mut_ptr()).ok()?;
        // SAFETY: zero is a valid value of every field, and the kernel has filled the structure.
        let raw = unsafe { raw.assume_init() };
        Some(Notification {
            id: raw.id,
            tid: i32::try_from(raw.pid).unwrap_or(0),
            audit_arch: raw.data.arch,
            number: raw.data.nr,
            arguments: raw.data.args,
        })
    }

    /// Lets the kernel carry the call out. `ENOENT`: the task waits no more.
    pub(super) fn go_on(&self, id: u64) -> Result<(), Errno> {
        let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        self.answer(id, 0, u32::try_from(flags).unwrap_or(1))
    }

    /// Makes the call fail.
    pub(super) fn refuse(&self, id: u64, errno: Errno) -> Result<(), Errno> {
        self.answer(id, -(errno as i32), 0)
    }

    /// Ends the wait as a signal would: the call fails for now, and starts over by itself when the
    /// task, which has been asked to stop, goes on.
    pub(super) fn start_over(&self, id: u64) -> Result<(), Errno> {
        self.answer(id, super::arch::ERESTARTSYS, 0)
    }

    /// Whether the task still waits, which proves that its number has not been reused.
    pub(super) fn still_waits(&self, id: u64) -> bool {
        let mut id = id;
        self.call(libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw mut id).is_ok()
    }

    /// Puts a descriptor, closed on exec, into the waiting task and says its number there.
    pub(super) fn give(&self, id: u64, fd: BorrowedFd<'_>) -> Result<u64, Errno> {
        let number = self.add(id, fd, libc::O_CLOEXEC, 0)?;
        u64::try_from(number).or(Err(Errno::EBADF))
    }

    /// Puts a descriptor into the waiting task, as the result of its call.
    ///
    /// KERNEL: both in one since 5.14, which is also the first with `memfd_secret`.
    pub(super) fn answer_with(
        &self,
        id: u64,
        fd: BorrowedFd<'_>,
        close_on_exec: i32,
    ) -> Result<(), Errno> {
        self.add(id, fd, close_on_exec, libc::SECCOMP_ADDFD_FLAG_SEND).map(drop)
    }

    fn add(
        &self,
        id: u64,
        fd: BorrowedFd<'_>,
        close_on_exec: i32,
        flags: libc::c_ulong,
    ) -> Result<i32, Errno> {
        let mut request = libc::seccomp_notif_addfd {
            id,
            flags: u32::try_from(flags).or(Err(Errno::EINVAL))?,
            srcfd: u32::try_from(fd.as_raw_fd()).or(Err(Errno::EBADF))?,
            newfd: 0,
            newfd_flags: u32::try_from(close_on_exec).or(Err(Errno::EINVAL))?,
        };
        self.call(libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw mut request)
    }

    /// Ends the wait with a result of zero, without carrying the call out.
    pub(super) fn finish(&self, id: u64) -> Result<(), Errno> {
        self.answer(id, 0, 0)
    }

    fn answer(&self, id: u64, error: i32, flags: u32) -> Result<(), Errno> {
        let mut response = libc::seccomp_notif_resp { id, val: 0, error, flags };
        self.call(libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response).map(drop)
    }

    fn call<T>(&self, number: libc::Ioctl, argument: *mut T) -> Result<i32, Errno> {
        // SAFETY: the callers pair each request number with a live structure of the type that the
        // number was computed from; the descriptor is a seccomp listener until Drop.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), number, argument) };
        Errno::result(result)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
