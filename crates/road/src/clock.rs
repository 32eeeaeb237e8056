//! The time of day, for tickets and names.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970; 0 where the clock is before that.
#[expect(
    clippy::disallowed_methods,
    reason = "the one clock of the blocking client; tickets and names take it as a number"
)]
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
