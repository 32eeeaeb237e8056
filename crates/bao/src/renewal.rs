//! When to renew a token or a lease, and when renewing has come to its end. Pure: no clock.
//!
//! Two thirds of the time to live is the custom of OpenBao's own clients; the jitter takes up to a
//! tenth off, so that many wrappers started together do not come together.

use std::time::Duration;

use crate::jitter::Jitter;

/// No renewal comes sooner than this, whatever the time to live.
pub const SHORTEST: Duration = Duration::from_secs(1);

/// What was granted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Grant {
    /// How long it lives from now; zero for ever.
    pub ttl: Duration,
    /// Whether it may be renewed.
    pub renewable: bool,
    /// What the first grant gave. Renewals that give much less are close to the maximum.
    pub first_ttl: Duration,
}

/// What to do, and after how long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// It has no end.
    Never,
    /// Renew it.
    Renew(Duration),
    /// Get a new one: log in or read again. It cannot be renewed, or not for long.
    Replace(Duration),
}

/// The next step for a grant.
///
/// A grant below half of the first one has been cut by its maximum time to live: renewing it
/// again only makes the steps smaller, so it is replaced.
#[must_use]
pub fn next(grant: &Grant, jitter: &dyn Jitter) -> Next {
    if grant.ttl.is_zero() {
        return Next::Never;
    }
    let two_thirds = grant.ttl.saturating_mul(2) / 3;
    let after = two_thirds.saturating_sub(jitter.up_to(grant.ttl / 10)).max(SHORTEST);
    if grant.renewable && grant.ttl >= grant.first_ttl / 2 {
        Next::Renew(after)
    } else {
        Next::Replace(after)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug)]
    struct None_;
    impl Jitter for None_ {
        fn up_to(&self, _: Duration) -> Duration {
            Duration::ZERO
        }
    }

    fn grant(ttl: u64, renewable: bool, first: u64) -> Grant {
        let secs = Duration::from_secs;
        Grant { ttl: secs(ttl), renewable, first_ttl: secs(first) }
    }

    #[test]
    fn renewal_comes_at_two_thirds() {
        assert_eq!(next(&grant(90, true, 90), &None_), Next::Renew(Duration::from_secs(60)));
    }

    #[test]
    fn what_has_no_end_needs_nothing() {
        assert_eq!(next(&grant(0, true, 0), &None_), Next::Never);
    }

    #[test]
    fn what_cannot_be_renewed_or_nears_its_maximum_is_replaced() {
        assert_eq!(next(&grant(90, false, 90), &None_), Next::Replace(Duration::from_secs(60)));
        assert_eq!(
            next(&grant(44, true, 90), &None_),
            Next::Replace(Duration::from_millis(29_333) + Duration::from_nanos(333_333))
        );
    }

    proptest! {
        #[test]
        fn it_never_waits_longer_than_two_thirds_or_less_than_a_second(ttl in 1_u64..10_000_000, part: u32) {
            #[derive(Debug)]
            struct Part(u32);
            impl Jitter for Part {
                fn up_to(&self, limit: Duration) -> Duration {
                    crate::jitter::scale(limit, self.0)
                }
            }
            let Next::Renew(after) = next(&grant(ttl, true, ttl), &Part(part)) else {
                return Err(TestCaseError::fail("renewable"));
            };
            prop_assert!(after >= SHORTEST);
            prop_assert!(after <= (Duration::from_secs(ttl) * 2 / 3).max(SHORTEST));
        }
    }
}
