//! How often a path was released to a pod, where a rule limits that. It outlives the bridge.
//!
//! A file of JSON lines, appended to and synchronised before the answer leaves. A release counts from
//! the moment at which it was decided, so that two sessions of one pod cannot both have the last one;
//! one that then comes to nothing is given back.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{self, Write as _},
    path::Path,
    sync::{Mutex, PoisonError},
};

use cloudtaser_core::release::policy::terms::PER_HOUR_MAX;
use serde::{Deserialize, Serialize};

use super::lines;

/// A pod that was not seen for so long is forgotten, as its logins are.
const FORGET_AFTER_SECONDS: u64 = 90 * 86_400;
const HOUR_SECONDS: u64 = 3600;

/// All counts.
#[derive(Debug)]
pub(super) struct Uses(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    len: u64,
    /// A line may be half there: nothing is written behind it.
    broken: bool,
    counts: BTreeMap<Use, Count>,
}

/// A pod and the hash of a path.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(super) struct Use {
    pub(super) pod: String,
    pub(super) path: String,
}

#[derive(Debug, Default)]
struct Count {
    total: u64,
    /// Times of the last ones, oldest first.
    recent: VecDeque<u64>,
}

/// How often something was released.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Had {
    pub(super) total: u64,
    pub(super) last_hour: u64,
}

/// Whether a release counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Counts {
    No,
    Yes,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    pod: String,
    path: String,
    at: u64,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    times: u64,
}

const fn one() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_one(times: &u64) -> bool {
    *times == 1
}

impl Uses {
    /// Reads what is there and makes it shorter. What a crash left of a last line is cut off: that
    /// release was not answered.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut counts = BTreeMap::<Use, Count>::new();
        let mut newest = 0;
        for Line { pod, path, at, times } in lines::read(path, "a line counts no release")? {
            newest = newest.max(at);
            counts.entry(Use { pod, path }).or_default().add(at, times);
        }
        counts.retain(|_, count| count.last() + FORGET_AFTER_SECONDS > newest);
        let (file, len) = rewrite(path, &counts)?;
        Ok(Self(Mutex::new(Inner { file, len, broken: false, counts })))
    }

    /// Has something decided by how often it was released; what counts is counted at once.
    pub(super) fn decide<T>(
        &self,
        what: &Use,
        now: u64,
        decide: impl FnOnce(Had) -> (T, Counts),
    ) -> T {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let had = inner.counts.get(what).map_or_else(Had::default, |count| count.had(now));
        let (decided, counts) = decide(had);
        if counts == Counts::Yes {
            inner.counts.entry(what.clone()).or_default().add(now, 1);
        }
        decided
    }

    /// Gives back what came to nothing.
    pub(super) fn give_back(&self, what: &Use, at: u64) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = inner.counts.get_mut(what) {
            count.total = count.total.saturating_sub(1);
            if let Some(place) = count.recent.iter().rposition(|time| *time == at) {
                count.recent.remove(place);
            }
        }
    }

    /// Makes releases durable that were counted.
    pub(super) fn keep(&self, released: &[(Use, u64)]) -> io::Result<()> {
        if released.is_empty() {
            return Ok(());
        }
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.broken {
            return Err(io::Error::other("an earlier count could not be taken back"));
        }
        let text: Vec<u8> = released.iter().flat_map(|(what, at)| line(what, *at, 1)).collect();
        let written = inner.file.write_all(&text).and_then(|()| inner.file.sync_data());
        if let Err(error) = written {
            let back = inner.file.set_len(inner.len).and_then(|()| inner.file.sync_all());
            inner.broken = back.is_err();
            return Err(error);
        }
        inner.len += u64::try_from(text.len()).map_err(io::Error::other)?;
        Ok(())
    }
}

impl Count {
    fn add(&mut self, at: u64, times: u64) {
        self.total = self.total.saturating_add(times);
        let most = usize::try_from(PER_HOUR_MAX).unwrap_or(usize::MAX);
        for _ in 0..times.min(PER_HOUR_MAX.into()) {
            if self.recent.len() >= most {
                self.recent.pop_front();
            }
            self.recent.push_back(at);
        }
    }

    /// SECURITY: a time that is still to come was written before the clock went back; it counts.
    fn had(&self, now: u64) -> Had {
        let recent = |at: &&u64| **at > now.saturating_sub(HOUR_SECONDS);
        let last_hour = self.recent.iter().filter(recent).count();
        Had { total: self.total, last_hour: u64::try_from(last_hour).unwrap_or(u64::MAX) }
    }

    fn last(&self) -> u64 {
        self.recent.iter().copied().max().unwrap_or(0)
    }
}

fn line(what: &Use, at: u64, times: u64) -> Vec<u8> {
    lines::line(&Line { pod: what.pod.clone(), path: what.path.clone(), at, times })
}

/// Writes what is left.
fn rewrite(path: &Path, counts: &BTreeMap<Use, Count>) -> io::Result<(File, u64)> {
    let mut text = Vec::new();
    for (what, count) in counts {
        let newest = count.last();
        let is_recent = |at: &&u64| **at + HOUR_SECONDS > newest;
        let recent = count.recent.iter().filter(is_recent).collect::<Vec<_>>();
        let older = count.total.saturating_sub(u64::try_from(recent.len()).unwrap_or(u64::MAX));
        if older > 0 {
            text.extend(line(what, newest.saturating_sub(HOUR_SECONDS), older));
        }
        recent.into_iter().for_each(|at| text.extend(line(what, *at, 1)));
    }
    let len = u64::try_from(text.len()).map_err(io::Error::other)?;
    Ok((lines::rewrite(path, &text)?, len))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};

    use super::*;

    fn of(path: &str) -> Use {
        Use { pod: "eu/pod".to_owned(), path: path.to_owned() }
    }

    fn had(uses: &Uses, path: &str, now: u64) -> (u64, u64) {
        uses.decide(&of(path), now, |had| ((had.total, had.last_hour), Counts::No))
    }

    fn release(uses: &Uses, path: &str, now: u64) {
        uses.decide(&of(path), now, |_| ((), Counts::Yes));
        uses.keep(&[(of(path), now)]).unwrap();
    }

    #[test]
    fn counts_outlive_the_bridge_and_hours_pass() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uses.jsonl");
        for round in 0..3 {
            let uses = Uses::open(&path).unwrap();
            assert_eq!(had(&uses, "a", 10_000), (round * 2, round * 2));
            release(&uses, "a", 10_000);
            release(&uses, "a", 10_000);
        }
        let uses = Uses::open(&path).unwrap();
        assert_eq!(had(&uses, "a", 10_000 + HOUR_SECONDS - 1), (6, 6));
        assert_eq!(had(&uses, "a", 10_000 + HOUR_SECONDS), (6, 0));
        assert_eq!(had(&uses, "b", 10_000), (0, 0));
        release(&uses, "a", 20_000);
        let uses = Uses::open(&path).unwrap();
        assert_eq!(had(&uses, "a", 20_000), (7, 1));
        assert_eq!(
            fs::read_to_string(&path).unwrap().lines().count(),
            2,
            "older ones are one line"
        );
        assert_eq!(had(&Uses::open(&path).unwrap(), "a", 20_000), (7, 1));
    }

    #[test]
    fn what_comes_to_nothing_is_given_back_and_what_was_decided_counts_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let uses = Uses::open(&folder.path().join("uses.jsonl")).unwrap();
        uses.decide(&of("a"), 5, |_| ((), Counts::Yes));
        assert_eq!(had(&uses, "a", 5), (1, 1), "another session has it already");
        uses.give_back(&of("a"), 5);
        assert_eq!(had(&uses, "a", 5), (0, 0));
    }

    #[test]
    fn a_clock_that_went_back_frees_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uses.jsonl");
        release(&Uses::open(&path).unwrap(), "a", 1_000_000);
        let day_before = 1_000_000 - 86_400;
        assert_eq!(had(&Uses::open(&path).unwrap(), "a", day_before), (1, 1));
    }

    #[test]
    fn a_torn_last_line_is_cut_and_a_torn_other_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uses.jsonl");
        release(&Uses::open(&path).unwrap(), "a", 100);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], &whole[..whole.len() / 2]].concat()).unwrap();
        assert_eq!(had(&Uses::open(&path).unwrap(), "a", 100), (1, 1));
        fs::write(&path, [&whole[..whole.len() / 2], b"\n", &whole].concat()).unwrap();
        assert!(Uses::open(&path).is_err());
    }

    #[test]
    fn what_was_taken_back_from_the_end_leaves_no_hole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uses.jsonl");
        let uses = Uses::open(&path).unwrap();
        release(&uses, "a", 100);
        {
            // What a write that fails half-way does.
            let mut inner = uses.0.lock().unwrap();
            inner.file.write_all(b"{\"half").unwrap();
            inner.file.set_len(inner.len).unwrap();
        }
        release(&uses, "a", 101);
        assert_eq!(had(&Uses::open(&path).unwrap(), "a", 102), (2, 2));
    }

    #[test]
    fn a_full_disk_is_an_error_and_the_release_still_counts() {
        let Ok(file) = OpenOptions::new().append(true).open("/dev/full") else { return };
        let inner = Inner { file, len: 0, broken: false, counts: BTreeMap::new() };
        let uses = Uses(Mutex::new(inner));
        uses.decide(&of("a"), 5, |_| ((), Counts::Yes));
        assert!(uses.keep(&[(of("a"), 5)]).is_err());
        assert!(uses.keep(&[(of("a"), 6)]).unwrap_err().to_string().contains("earlier"));
        assert_eq!(had(&uses, "a", 5), (1, 1));
    }
}
