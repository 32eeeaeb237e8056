//! How long the caller is willing to wait, and how to make it stop sooner.
//!
//! The deadline is the caller's, for one operation with all its tries. Stopping is for a program
//! that is told to end while it waits; it wakes sleeping retries at once.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The moment at which an operation gives up.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    started: Instant,
    limit: Duration,
}

impl Deadline {
    /// What is used where nobody says otherwise.
    pub const DEFAULT: Duration = Duration::from_secs(30);

    /// A deadline so far from now.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        Self { started: Instant::now(), limit }
    }

    /// What is left; zero when it has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.limit.saturating_sub(self.started.elapsed())
    }
}

impl Default for Deadline {
    fn default() -> Self {
        Self::after(Self::DEFAULT)
    }
}

/// A flag that is raised once and wakes whoever sleeps on it.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    raised: Mutex<bool>,
    wake: Condvar,
}

impl Stop {
    pub(crate) fn raise(&self) {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_all();
    }

    pub(crate) fn is_raised(&self) -> bool {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps, and says whether it was left to sleep.
    pub(crate) fn sleep(&self, time: Duration) -> bool {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let (raised, _) = self
            .wake
            .wait_timeout_while(raised, time, |raised| !*raised)
            .unwrap_or_else(PoisonError::into_inner);
        !*raised
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_of_nothing_has_nothing_left() {
        assert_eq!(Deadline::after(Duration::ZERO).remaining(), Duration::ZERO);
    }

    #[test]
    fn a_raised_flag_ends_a_sleep() {
        let stop = Stop::default();
        assert!(stop.sleep(Duration::ZERO));
        stop.raise();
        assert!(!stop.sleep(Duration::from_secs(3600)));
    }
}
