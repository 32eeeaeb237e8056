//! How many refused logins of one client have lines of their own.
//!
//! Whoever gets as far as showing a token could otherwise fill the disk, and a full disk releases
//! nothing to anybody. What has no line is counted, and the next line says how many.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const WINDOW: Duration = Duration::from_secs(60);
/// More than a cluster whose configuration is wrong brings about with its restarts.
const LINES_PER_WINDOW: u32 = 120;

/// Counts per client.
#[derive(Debug, Default)]
pub(super) struct Quota(Mutex<BTreeMap<String, Count>>);

#[derive(Debug)]
struct Count {
    since: Instant,
    lines: u32,
    suppressed: u64,
}

impl Quota {
    /// Whether one more refusal has a line; then also how many had none since the last one.
    pub(super) fn take(&self, client: &str, now: Instant) -> Option<u64> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Count { since: now, lines: 0, suppressed: 0 };
        // The names are those of the configuration, or of enrolled clusters: they are few.
        let count = counts.entry(client.to_owned()).or_insert_with(fresh);
        if now.saturating_duration_since(count.since) >= WINDOW {
            (count.since, count.lines) = (now, 0);
        }
        if count.lines >= LINES_PER_WINDOW {
            count.suppressed = count.suppressed.saturating_add(1);
            return None;
        }
        count.lines += 1;
        Some(std::mem::take(&mut count.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_line_is_told_by_the_next_and_others_are_not_meant() {
        let quota = Quota::default();
        let start = Instant::now();
        for _ in 0..LINES_PER_WINDOW {
            assert_eq!(quota.take("one", start), Some(0));
        }
        for _ in 0..7 {
            assert_eq!(quota.take("one", start + WINDOW / 2), None);
        }
        assert_eq!(quota.take("two", start), Some(0));
        assert_eq!(quota.take("one", start + WINDOW), Some(7));
        assert_eq!(quota.take("one", start + WINDOW), Some(0));
    }
}
