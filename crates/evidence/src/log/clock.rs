//! The time of day.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

/// Tells milliseconds since 1970. Tests bring their own.
pub struct Clock(Box<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// A clock of the caller's.
    #[must_use]
    pub fn new(now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Box::new(now))
    }

    /// The machine's clock; 0 where it is before 1970, which every log with a receipt refuses.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one clock of the log; tests bring another")]
    pub fn system() -> Self {
        Self::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        })
    }

    /// What it says.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
