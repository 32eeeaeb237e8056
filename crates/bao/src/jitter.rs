//! Randomness that spreads clients apart, injected so that schedules can be tested.

use std::{fmt, time::Duration};

/// A source of durations between zero and a limit.
pub trait Jitter: fmt::Debug + Send + Sync {
    /// A duration from zero up to and including the limit.
    fn up_to(&self, limit: Duration) -> Duration;
}

/// Jitter from the system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomJitter;

impl Jitter for RandomJitter {
    fn up_to(&self, limit: Duration) -> Duration {
        let mut bytes = [0; 4];
        // Without random bytes the limit itself is the answer: later than wanted, never a hot loop.
        if cloudtaser_tls::random(&mut bytes).is_err() {
            return limit;
        }
        scale(limit, u32::from_ne_bytes(bytes))
    }
}

/// `limit * part / u32::MAX`.
pub(crate) fn scale(limit: Duration, part: u32) -> Duration {
    let nanos = limit.as_nanos() * u128::from(part) / u128::from(u32::MAX);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_jitter_stays_within_the_limit() {
        for _ in 0..100 {
            assert!(RandomJitter.up_to(Duration::from_millis(5)) <= Duration::from_millis(5));
        }
    }

    #[test]
    fn scaling_reaches_both_ends() {
        let limit = Duration::from_secs(7);
        assert_eq!(scale(limit, 0), Duration::ZERO);
        assert_eq!(scale(limit, u32::MAX), limit);
    }
}
