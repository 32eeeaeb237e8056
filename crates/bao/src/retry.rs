//! When to try again, and how long to wait before it. Pure: no clock, no sleep.
//!
//! | what happened | read | write (login, `>>`) |
//! |---|---|---|
//! | DNS fails or is silent, the name has no address | again | again: nothing was sent |
//! | DNS says that the name does not exist | again, for 3 s | the same |
//! | connection refused or not made in time | again | again: nothing was sent |
//! | answer cut, connection lost, time out after sending | again | fail: it may have been done |
//! | 412, 429, 503 | again | again: OpenBao says that it did nothing |
//! | 500, 502, 504, other 5xx | again | fail: it may have been done |
//! | 400, 403, 404, 405, other 4xx | fail | fail |
//! | certificate or TLS refused, answer too large or not JSON | fail | fail |
//!
//! A login is a write because it makes a token: repeated in the dark, it would leave tokens that
//! nobody revokes. An answer that came and says "not now" is safe to repeat.
//!
//! A name that does not exist is a typing error far more often than a Service that appears a moment
//! later, so its author is told soon. Where it does appear later, whatever starts the wrapper starts
//! it again; and caches keep the "no" for longer than anybody wants to wait for an error.

use std::time::Duration;

use crate::jitter::Jitter;

/// The first waiting time's upper end.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
/// The longest waiting time's upper end.
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);

/// How long a name may not exist before that is believed.
const NO_SUCH_NAME_PATIENCE: Duration = Duration::from_secs(3);

/// Whether doing it twice does harm.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Safety {
    /// It changes nothing, or the second time changes nothing more.
    Repeatable,
    /// Each time makes something new.
    Write,
}

/// What came of one try, as far as trying again goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// An answer with this status, complete.
    Answered(u16),
    /// The server's name does not exist; the request never left.
    NoSuchName,
    /// Nothing will change by itself.
    Permanent,
    /// The request may or may not have been carried out.
    LostAfterSending,
    /// The request never left.
    NotSent,
}

/// Whether another try can help and can do no harm.
pub(crate) const fn worth_repeating(outcome: Outcome, safety: Safety) -> bool {
    match outcome {
        Outcome::Answered(412 | 429 | 503) | Outcome::NoSuchName | Outcome::NotSent => true,
        Outcome::Answered(status) => status >= 500 && matches!(safety, Safety::Repeatable),
        Outcome::LostAfterSending => matches!(safety, Safety::Repeatable),
        Outcome::Permanent => false,
    }
}

/// How much time is left for such an outcome, which has been the last one for so long without a
/// break.
pub(crate) fn patience(outcome: Outcome, lasting: Duration, left: Duration) -> Duration {
    match outcome {
        Outcome::NoSuchName => left.min(NO_SUCH_NAME_PATIENCE.saturating_sub(lasting)),
        _ => left,
    }
}

/// How long to wait after so many tries: full jitter under a doubling limit, and no less than the
/// server asked for.
pub(crate) fn pause(tries: u32, asked: Option<Duration>, jitter: &dyn Jitter) -> Duration {
    let doublings = tries.saturating_sub(1).min(16);
    let limit = FIRST_BACKOFF.saturating_mul(1 << doublings).min(LONGEST_BACKOFF);
    let pause = jitter.up_to(limit);
    match asked {
        Some(asked) => asked.saturating_add(jitter.up_to(FIRST_BACKOFF)),
        None => pause,
    }
}

/// Reads `Retry-After` in seconds. Its date form is not used by OpenBao.
pub(crate) fn retry_after(header: &str) -> Option<Duration> {
    header.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Most;
    impl Jitter for Most {
        fn up_to(&self, limit: Duration) -> Duration {
            limit
        }
    }

    #[test]
    fn refusals_and_missing_paths_are_never_repeated() {
        for status in [400, 401, 403, 404, 405] {
            for safety in [Safety::Repeatable, Safety::Write] {
                assert!(!worth_repeating(Outcome::Answered(status), safety), "{status}");
            }
        }
    }

    #[test]
    fn a_write_is_repeated_only_where_nothing_was_done() {
        let write = |outcome| worth_repeating(outcome, Safety::Write);
        assert!(write(Outcome::NotSent));
        assert!(write(Outcome::Answered(412)) && write(Outcome::Answered(429)));
        assert!(write(Outcome::Answered(503)));
        assert!(!write(Outcome::Answered(500)) && !write(Outcome::Answered(502)));
        assert!(!write(Outcome::LostAfterSending));
    }

    #[test]
    fn a_read_is_repeated_after_whatever_may_pass() {
        let read = |outcome| worth_repeating(outcome, Safety::Repeatable);
        assert!(read(Outcome::LostAfterSending) && read(Outcome::Answered(500)));
        assert!(!read(Outcome::Permanent));
    }

    #[test]
    fn a_name_that_does_not_exist_is_asked_for_three_seconds_only() {
        let seconds = Duration::from_secs;
        let absent = |lasting, left| patience(Outcome::NoSuchName, lasting, left);
        assert!(worth_repeating(Outcome::NoSuchName, Safety::Write));
        assert_eq!(absent(Duration::ZERO, seconds(30)), seconds(3));
        assert_eq!(absent(seconds(2), seconds(30)), seconds(1));
        assert_eq!(absent(seconds(9), seconds(30)), Duration::ZERO);
        assert_eq!(absent(Duration::ZERO, seconds(1)), seconds(1), "the deadline comes first");
        assert_eq!(patience(Outcome::NotSent, seconds(9), seconds(21)), seconds(21));
    }

    #[test]
    fn pauses_double_up_to_two_seconds() {
        let at = |tries| pause(tries, None, &Most);
        assert_eq!(at(1), Duration::from_millis(50));
        assert_eq!(at(2), Duration::from_millis(100));
        assert_eq!(at(7), Duration::from_secs(2));
        assert_eq!(at(u32::MAX), Duration::from_secs(2));
    }

    #[test]
    fn the_servers_wish_is_the_least() {
        let asked = retry_after(" 3 ");
        assert!(pause(1, asked, &Most) >= Duration::from_secs(3));
        assert_eq!(retry_after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }
}
