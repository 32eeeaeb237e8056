//! Waiting before the next attempt, so that many who lost the same beacon do not return as one.

use std::time::Duration;
#[cfg(feature = "bridge")]
use std::time::Instant;

const BASE: Duration = Duration::from_millis(250);
const CAP: Duration = Duration::from_secs(30);
/// A connection that held for so long was a good one.
#[cfg(feature = "bridge")]
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// Full jitter: a random time below a bound that doubles.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The time to wait after a connection that began at this moment.
    #[cfg(feature = "bridge")]
    pub(crate) fn after(&mut self, began: Instant) -> Duration {
        if began.elapsed() >= HEALTHY_AFTER {
            self.failures = 0;
        }
        self.next()
    }

    /// The time to wait after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        let bound = BASE.saturating_mul(1 << self.failures.min(16)).min(CAP);
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(fraction())
    }
}

/// A random time between the two.
pub(crate) fn between(min: Duration, max: Duration) -> Duration {
    min + max.saturating_sub(min).mul_f64(fraction())
}

/// A number from 0 to 1. Without random bytes all wait equally long, which still works.
fn fraction() -> f64 {
    let mut bytes = [0x80; 4];
    let _no_random = cloudtaser_tls::random(&mut bytes);
    f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_cap() {
        let mut backoff = Backoff::default();
        for bound in [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            assert!(backoff.next() <= Duration::from_millis(bound));
        }
    }

    #[test]
    fn a_time_between_is_between() {
        let (min, max) = (Duration::from_millis(10), Duration::from_millis(20));
        for _ in 0..100 {
            assert!((min..=max).contains(&between(min, max)));
        }
        assert_eq!(between(max, min), max);
    }
}
