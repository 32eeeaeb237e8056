//! How often somebody may ask.
//!
//! Per cgroup, so that one container does not use up what another one needs (most run as the same
//! uid), and per uid, since whoever may make cgroups has as many as it likes. Pure: the caller
//! brings the time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A launch asks twice. A burst is a test suite or a container that comes up again and again.
const PER_CGROUP: Rate = Rate { burst: 32, every: Duration::from_millis(125) };
/// The pods of a whole node come up at once, mostly as one uid.
const PER_UID: Rate = Rate { burst: 256, every: Duration::from_millis(31) };
/// Sources that are remembered. More at one time are an attack, and get nothing.
const SOURCES: usize = 1024;

/// So many at once, and one more every so often.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u32,
    every: Duration,
}

/// Who asks, as far as the limit goes.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Source {
    Cgroup(String),
    Uid(u32),
}

/// The limits, and what each source has used of them.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    /// When each source will have used up nothing again.
    idle_at: BTreeMap<Source, Instant>,
}

impl Limits {
    /// Whether one more question is heard.
    pub(crate) fn admit(&mut self, uid: u32, cgroup: &str, now: Instant) -> bool {
        self.take(Source::Cgroup(cgroup.to_owned()), PER_CGROUP, now)
            && self.take(Source::Uid(uid), PER_UID, now)
    }

    /// Gives back what a question took from its uid: it was a good one, and what is left must be
    /// for other good ones.
    pub(crate) fn give_back(&mut self, uid: u32) {
        if let Some(at) = self.idle_at.get_mut(&Source::Uid(uid))
            && let Some(earlier) = at.checked_sub(PER_UID.every)
        {
            *at = earlier;
        }
    }

    fn take(&mut self, source: Source, rate: Rate, now: Instant) -> bool {
        if self.idle_at.len() >= SOURCES && !self.idle_at.contains_key(&source) {
            self.idle_at.retain(|_source, at| *at > now);
            if self.idle_at.len() >= SOURCES {
                return false;
            }
        }
        let at = self.idle_at.entry(source).or_insert(now);
        let used = at.saturating_duration_since(now);
        if used > rate.every * (rate.burst - 1) {
            return false;
        }
        *at = now + used + rate.every;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burst(limits: &mut Limits, uid: u32, cgroup: &str, now: Instant) -> usize {
        (0..10_000).take_while(|_| limits.admit(uid, cgroup, now)).count()
    }

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        assert_eq!(burst(&mut limits, 1000, "/a", start), 32);
        assert_eq!(burst(&mut limits, 1000, "/a", start + PER_CGROUP.every), 1);
        assert_eq!(burst(&mut limits, 1000, "/a", start + Duration::from_secs(3600)), 32);
    }

    #[test]
    fn one_container_does_not_use_up_what_another_one_of_its_uid_needs() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        assert_eq!(burst(&mut limits, 1000, "/noisy", start), 32);
        assert_eq!(burst(&mut limits, 1000, "/quiet", start), 32);
    }

    #[test]
    fn many_cgroups_of_one_uid_share_its_limit() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        let each = (0..100).map(|n| burst(&mut limits, 1000, &format!("/{n}"), start));
        assert_eq!(each.sum::<usize>(), 256);
        assert_eq!(burst(&mut limits, 1001, "/other", start), 32);
    }

    #[test]
    fn good_questions_do_not_use_up_their_uid() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        for n in 0..SOURCES / 2 {
            assert!(limits.admit(1000, &format!("/{n}"), start), "{n}");
            limits.give_back(1000);
        }
    }

    #[test]
    fn the_list_of_sources_is_bounded_and_forgets() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        for uid in 0..10_000 {
            let _refused = limits.admit(uid, &format!("/{uid}"), start);
        }
        assert!(limits.idle_at.len() <= SOURCES);
        assert!(!limits.admit(20_000, "/new", start));
        assert!(limits.admit(20_000, "/new", start + Duration::from_secs(60)));
    }
}
