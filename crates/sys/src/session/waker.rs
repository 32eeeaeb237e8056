//! Waking a session from another thread.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Makes [`super::Session::next`] return [`super::Event::Woken`], from any thread.
#[derive(Clone, Debug)]
pub struct Waker {
    event: Arc<EventFd>,
}

impl Waker {
    pub(super) fn create() -> Result<Self, Errno> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { event: Arc::new(event) })
    }

    /// Wakes the session; several calls before it looks count as one.
    pub fn wake(&self) {
        // The only failure is a counter that is full, and then the session is awake already.
        let _ = self.event.write(1);
    }

    /// Whether there was a call since the last time.
    pub(super) fn take(&self) -> bool {
        self.event.read().is_ok()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
