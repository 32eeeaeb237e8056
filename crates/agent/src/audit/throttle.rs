//! How many denials of one source become records, and how many were left out.
//!
//! Pure: time comes in. Nothing is left out uncounted: what a source lost is told in its next
//! record, or in one of its own when the source falls silent.

use std::collections::BTreeMap;
use std::time::Duration;

/// A scan of all processes is denied hundreds of times; the first few say who it is.
const PER_SOURCE: u32 = 20;
/// Root can make groups and users faster than a disk takes records.
const IN_ALL: u32 = 200;
/// The time that both are counted in.
const WINDOW: Duration = Duration::from_secs(1);
/// After this long without a denial a source's count is told and the source forgotten.
const SILENCE: Duration = Duration::from_secs(5);
/// A few hundred kilobytes; further sources share one count.
const SOURCES: usize = 1024;

/// Whose denials are counted together.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Source {
    /// Everything in one group of the unified hierarchy, by its id.
    Cgroup(u64),
    /// Sources beyond those that are told apart.
    Others,
    /// A user, where groups are not known.
    User(u32),
}

impl Source {
    /// Who asked. The root of the hierarchy is where everything is that was not put elsewhere.
    pub(crate) const fn of(cgroup: u64, uid: u32) -> Self {
        if cgroup > 1 { Self::Cgroup(cgroup) } else { Self::User(uid) }
    }
}

#[derive(Debug, Default)]
struct Count {
    since: Duration,
    written: u32,
    suppressed: u64,
    last: Duration,
}

/// The counts of all sources.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    sources: BTreeMap<Source, Count>,
    since: Duration,
    written: u32,
}

impl Throttle {
    /// Whether a denial becomes a record, which then tells how many before it did not.
    pub(crate) fn admit(&mut self, source: Source, now: Duration) -> Option<u64> {
        let is_known = self.sources.contains_key(&source);
        let key = if is_known || self.sources.len() < SOURCES { source } else { Source::Others };
        if now.saturating_sub(self.since) >= WINDOW {
            (self.since, self.written) = (now, 0);
        }
        let count = self.sources.entry(key).or_default();
        count.last = now;
        if now.saturating_sub(count.since) >= WINDOW {
            (count.since, count.written) = (now, 0);
        }
        if count.written >= PER_SOURCE || self.written >= IN_ALL {
            count.suppressed += 1;
            return None;
        }
        count.written += 1;
        self.written += 1;
        Some(std::mem::take(&mut count.suppressed))
    }

    /// Forgets sources that fell silent; those that still had something to tell are returned.
    pub(crate) fn silent(&mut self, now: Duration) -> Vec<(Source, u64)> {
        let mut told = Vec::new();
        self.sources.retain(|source, count| {
            let is_silent = now.saturating_sub(count.last) >= SILENCE;
            if is_silent && count.suppressed > 0 {
                told.push((*source, count.suppressed));
            }
            !is_silent
        });
        told
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_flood_of_one_source_leaves_the_others_their_records() {
        let mut throttle = Throttle::default();
        let now = Duration::from_secs(9);
        let written = (0..500).filter(|_| throttle.admit(Source::Cgroup(7), now).is_some()).count();
        assert_eq!(written, 20);
        assert_eq!(throttle.admit(Source::Cgroup(8), now), Some(0));
        assert_eq!(throttle.admit(Source::Cgroup(7), now + WINDOW), Some(480));
        assert_eq!(throttle.admit(Source::Cgroup(7), now + WINDOW), Some(0), "told once");
    }

    #[test]
    fn who_falls_silent_is_told_of_once() {
        let mut throttle = Throttle::default();
        let now = Duration::from_secs(9);
        for _ in 0..22 {
            throttle.admit(Source::User(0), now);
        }
        assert_eq!(throttle.silent(now + WINDOW), []);
        assert_eq!(throttle.silent(now + SILENCE), [(Source::User(0), 2)]);
        assert_eq!(throttle.silent(now + SILENCE), []);
    }

    #[test]
    fn sources_are_groups_where_there_are_groups() {
        assert_eq!(Source::of(77, 5), Source::Cgroup(77));
        assert_eq!(Source::of(1, 5), Source::User(5));
        assert_eq!(Source::of(0, 5), Source::User(5));
    }

    proptest! {
        #[test]
        fn every_denial_is_written_or_counted(
            denials in prop::collection::vec((0_u64..3000, 0_u64..400), 1..2000),
        ) {
            let mut throttle = Throttle::default();
            let (mut now, mut written, mut told) = (Duration::ZERO, 0, 0);
            for (source, pause) in &denials {
                now += Duration::from_millis(pause / 40);
                if let Some(suppressed) = throttle.admit(Source::of(*source, 0), now) {
                    written += 1;
                    told += suppressed;
                }
                prop_assert!(throttle.sources.len() <= SOURCES + 1);
            }
            let rest = throttle.silent(now + SILENCE);
            told += rest.iter().map(|(_, suppressed)| suppressed).sum::<u64>();
            prop_assert_eq!(written + told, u64::try_from(denials.len()).unwrap());
        }
    }
}
