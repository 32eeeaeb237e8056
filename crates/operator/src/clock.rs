//! The time of day: for certificates and Leases. Whether something has timed out is never asked of
//! it, since the clocks of nodes differ.

use std::time::{SystemTime, UNIX_EPOCH};

use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

/// `MicroTime` of the Kubernetes API, which wants exactly six digits.
const MICRO_TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Now, as Leases have it.
pub(crate) fn micro_time() -> String {
    OffsetDateTime::from(now()).format(MICRO_TIME).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "the one clock of this program")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_micro_time_has_the_form_that_the_api_server_parses() {
        let text = micro_time();
        assert_eq!(text.len(), "2026-11-27T05:44:05.123456Z".len(), "{text}");
        assert!(text.ends_with('Z') && text.as_bytes()[19] == b'.', "{text}");
    }
}
