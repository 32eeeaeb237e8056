//! How long a caller waits, and how another thread ends the waiting.

use std::{
    fmt,
    net::{Shutdown, TcpStream},
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A moment at which waiting ends.
#[derive(Clone, Copy, Debug)]
pub struct Until(Instant);

impl Until {
    /// So long from now.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// What is left; zero when it has passed.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// The same, or so long from now where that comes first.
    #[must_use]
    pub fn or_after(self, time: Duration) -> Self {
        Self(self.0.min(Instant::now() + time))
    }
}

/// A flag that is raised once; whoever waits for a connection or sleeps then stops.
#[derive(Default)]
pub struct Stop {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    raised: bool,
    /// The connection that somebody may be waiting for.
    socket: Option<TcpStream>,
}

impl Stop {
    /// Ends every wait, for good.
    pub fn raise(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.raised = true;
        if let Some(socket) = state.socket.take() {
            // Where it fails the connection is gone already.
            let _gone = socket.shutdown(Shutdown::Both);
        }
        self.wake.notify_all();
    }

    /// Whether it was raised.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).raised
    }

    /// Sleeps, and says whether it was left to sleep.
    pub fn sleep(&self, time: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, _) = self
            .wake
            .wait_timeout_while(state, time, |state| !state.raised)
            .unwrap_or_else(PoisonError::into_inner);
        !state.raised
    }

    /// Has this connection ended with the flag; says whether it was raised already.
    pub(crate) fn watch(&self, socket: &TcpStream) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.socket = socket.try_clone().ok();
        state.raised
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("raised", &self.is_raised()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raised_flag_ends_a_sleep_and_time_that_has_passed_is_none() {
        let stop = Stop::default();
        assert!(stop.sleep(Duration::ZERO));
        stop.raise();
        assert!(!stop.sleep(Duration::from_secs(3600)));
        let until = Until::after(Duration::from_secs(60));
        assert_eq!(until.or_after(Duration::ZERO).left(), Duration::ZERO);
        assert!(until.left() > Duration::from_secs(50));
    }
}
