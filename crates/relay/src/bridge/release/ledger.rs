//! Which pod has logged in, by which key: so that a pod's token is worth nothing to whoever finds it
//! after the wrapper has logged in. It outlives the bridge.
//!
//! A file of JSON lines, appended to and synchronised before anybody is let in. What a crash left
//! of a last line is cut off: that login was not answered.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write as _},
    path::Path,
    sync::{Mutex, PoisonError},
};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::{
    config::{LoginLimits, Unclean},
    lines,
};

/// A pod that was not seen for so long is forgotten. Its tokens have expired long before.
const FORGET_AFTER_SECONDS: u64 = 90 * 86_400;
/// A pod that comes back is written down again once a day.
const SEEN_EVERY_SECONDS: u64 = 86_400;

/// All logins.
#[derive(Debug)]
pub(super) struct Ledger {
    limits: LoginLimits,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    pods: BTreeMap<String, Pod>,
    /// A write that failed half-way: what the file says is not known any more.
    broken: bool,
}

#[derive(Debug, Default)]
struct Pod {
    holders: Vec<String>,
    /// Logins of different keys, from the first on.
    taken: u32,
    seen: u64,
}

/// A place among the logins of a pod.
#[derive(Debug, Eq, PartialEq)]
enum Place {
    Free,
    /// That of an instance that is gone without having left.
    Of(String),
    Own,
}

/// The instances that have a session at this moment.
#[derive(Debug, Default)]
pub(super) struct Present(Mutex<BTreeMap<String, u32>>);

impl Present {
    fn is_there(&self, instance: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(instance)
    }

    /// A session of this instance begins.
    pub(super) fn enter(&self, instance: &[u8; 32]) {
        let mut there = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *there.entry(HEXLOWER.encode(instance)).or_default() += 1;
    }

    /// It ends.
    pub(super) fn exit(&self, instance: &[u8; 32]) {
        let mut there = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let instance = HEXLOWER.encode(instance);
        if let Some(sessions) = there.get_mut(&instance) {
            *sessions = sessions.saturating_sub(1);
            if *sessions == 0 {
                there.remove(&instance);
            }
        }
    }
}

/// A login that is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum LedgerError {
    /// The pod has one already.
    #[error(
        "this pod has logged in already, by a key that is not this launch's: somebody else used its \
         token, or a container was started again without its wrapper having left"
    )]
    Held,
    /// Others have left, and too often.
    #[error(
        "containers of this pod were started again too often (restarts_per_pod): a new pod has a new \
         login"
    )]
    Restarts,
    /// It cannot be written down.
    #[error("the login cannot be written down")]
    Write(#[source] io::Error),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    pod: String,
    instance: String,
    did: Did,
    at: u64,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Did {
    Took,
    Seen,
    Left,
    Undid,
}

/// How a login ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Leaving {
    /// Nothing was released to it: it is as if it had not been.
    Unused,
    /// It counts.
    Used,
}

impl Ledger {
    /// Reads what is there and makes it shorter.
    pub(super) fn open(path: &Path, limits: LoginLimits) -> io::Result<Self> {
        let mut pods = BTreeMap::<String, Pod>::new();
        for line in lines::read::<Line>(path, "a line is none of a ledger's")? {
            pods.entry(line.pod.clone()).or_default().apply(&line);
        }
        let newest = pods.values().map(|pod| pod.seen).max().unwrap_or(0);
        pods.retain(|_, pod| pod.seen + FORGET_AFTER_SECONDS > newest);
        let file = rewrite(path, &pods)?;
        Ok(Self { limits, inner: Mutex::new(Inner { file, pods, broken: false }) })
    }

    /// Whether an instance may take the login of a pod.
    pub(super) fn check(
        &self,
        pod: &str,
        instance: &[u8; 32],
        present: &Present,
    ) -> Result<(), LedgerError> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        self.judge(inner.pods.get(pod), &HEXLOWER.encode(instance), present).map(drop)
    }

    /// Takes the login of a pod for an instance; `true` where it has it already.
    pub(super) fn take(
        &self,
        pod: &str,
        instance: &[u8; 32],
        present: &Present,
        now: u64,
    ) -> Result<bool, LedgerError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let instance = HEXLOWER.encode(instance);
        let place = self.judge(inner.pods.get(pod), &instance, present)?;
        if let Place::Of(gone) = &place {
            let (pod, instance) = (pod.to_owned(), gone.clone());
            let line = Line { pod, instance, did: Did::Left, at: now };
            inner.write(&line).map_err(LedgerError::Write)?;
        }
        let known = place == Place::Own;
        let seen = inner.pods.get(pod).map_or(0, |pod| pod.seen);
        if known && seen + SEEN_EVERY_SECONDS > now {
            return Ok(true);
        }
        let did = if known { Did::Seen } else { Did::Took };
        let line = Line { pod: pod.to_owned(), instance, did, at: now };
        inner.write(&line).map_err(LedgerError::Write)?;
        Ok(known)
    }

    /// Which place the instance may have, where it may have any.
    fn judge(
        &self,
        pod: Option<&Pod>,
        instance: &String,
        present: &Present,
    ) -> Result<Place, LedgerError> {
        let Some(pod) = pod else { return Ok(Place::Free) };
        if pod.holders.contains(instance) {
            return Ok(Place::Own);
        }
        let place = if u32::try_from(pod.holders.len()).unwrap_or(u32::MAX) < self.limits.at_once {
            Place::Free
        } else {
            let gone = pod.holders.iter().find(|holder| !present.is_there(holder));
            match (self.limits.unclean, gone) {
                (Unclean::Replace, Some(gone)) => Place::Of(gone.clone()),
                _ => return Err(LedgerError::Held),
            }
        };
        if pod.taken >= self.limits.at_once.saturating_add(self.limits.restarts) {
            return Err(LedgerError::Restarts);
        }
        Ok(place)
    }

    /// Gives the login of an instance back; the pod's name, where it had one.
    pub(super) fn leave(
        &self,
        instance: &[u8; 32],
        how: Leaving,
        now: u64,
    ) -> Result<Option<String>, LedgerError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let instance = HEXLOWER.encode(instance);
        let holds = |(_, pod): &(&String, &Pod)| pod.holders.contains(&instance);
        let Some(pod) = inner.pods.iter().find(holds).map(|(name, _)| name.clone()) else {
            return Ok(None);
        };
        let did = match how {
            Leaving::Used => Did::Left,
            Leaving::Unused => Did::Undid,
        };
        let line = Line { pod: pod.clone(), instance, did, at: now };
        inner.write(&line).map_err(LedgerError::Write)?;
        Ok(Some(pod))
    }
}

impl Inner {
    fn write(&mut self, line: &Line) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("an earlier line could not be written: start it again"));
        }
        let written = self.file.write_all(&lines::line(line)).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.broken = true;
            return Err(error);
        }
        self.pods.entry(line.pod.clone()).or_default().apply(line);
        Ok(())
    }
}

impl Pod {
    fn apply(&mut self, line: &Line) {
        self.seen = self.seen.max(line.at);
        match line.did {
            Did::Took => {
                self.taken = self.taken.saturating_add(1);
                self.holders.push(line.instance.clone());
            }
            Did::Seen => {}
            Did::Left | Did::Undid => {
                self.holders.retain(|holder| *holder != line.instance);
                if matches!(line.did, Did::Undid) {
                    self.taken = self.taken.saturating_sub(1);
                }
            }
        }
    }
}

/// Writes what is left.
fn rewrite(path: &Path, pods: &BTreeMap<String, Pod>) -> io::Result<File> {
    let mut text = Vec::new();
    for (name, pod) in pods {
        let line = |instance: &str, did| {
            let (pod_name, instance) = (name.clone(), instance.to_owned());
            lines::line(&Line { pod: pod_name, instance, did, at: pod.seen })
        };
        let gone = pod.taken.saturating_sub(u32::try_from(pod.holders.len()).unwrap_or(u32::MAX));
        for _ in 0..gone {
            text.extend(line("gone", Did::Took));
            text.extend(line("gone", Did::Left));
        }
        pod.holders.iter().for_each(|holder| text.extend(line(holder, Did::Took)));
    }
    lines::rewrite(path, &text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LIMITS: LoginLimits = LoginLimits { at_once: 1, restarts: 2, unclean: Unclean::Refuse };

    fn nobody() -> Present {
        Present::default()
    }

    fn open(path: &Path) -> Ledger {
        Ledger::open(path, LIMITS).unwrap()
    }

    #[test]
    fn the_first_key_of_a_pod_holds_its_login_also_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logins.jsonl");
        let (mine, thief) = ([1; 32], [2; 32]);
        let ledger = open(&path);
        assert!(!ledger.take("eu/pod", &mine, &nobody(), 100).unwrap());
        assert!(
            ledger.take("eu/pod", &mine, &nobody(), 101).unwrap(),
            "a connection that was lost"
        );
        for _ in 0..2 {
            let ledger = open(&path);
            assert!(matches!(
                ledger.take("eu/pod", &thief, &nobody(), 102),
                Err(LedgerError::Held)
            ));
            assert!(ledger.take("eu/pod", &mine, &nobody(), 103).unwrap());
            assert!(
                ledger.leave(&thief, Leaving::Used, 104).unwrap().is_none(),
                "it has nothing to give back"
            );
        }
        assert!(!open(&path).take("eu/other", &thief, &nobody(), 105).unwrap());
    }

    #[test]
    fn what_has_left_can_be_replaced_a_few_times() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logins.jsonl");
        for number in 1..=3 {
            let ledger = open(&path);
            assert!(
                !ledger.take("eu/pod", &[number; 32], &nobody(), 100).unwrap(),
                "start {number}"
            );
            assert_eq!(
                ledger.leave(&[number; 32], Leaving::Used, 101).unwrap().as_deref(),
                Some("eu/pod")
            );
        }
        let last = open(&path).take("eu/pod", &[4; 32], &nobody(), 102);
        assert!(matches!(last, Err(LedgerError::Restarts)));
    }

    #[test]
    fn a_login_to_which_nothing_was_released_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logins.jsonl");
        for number in 1..=10 {
            let ledger = open(&path);
            assert!(!ledger.take("eu/pod", &[number; 32], &nobody(), 100).unwrap());
            ledger.leave(&[number; 32], Leaving::Unused, 101).unwrap();
        }
    }

    #[test]
    fn a_torn_last_line_is_cut_and_a_torn_other_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logins.jsonl");
        open(&path).take("eu/pod", &[1; 32], &nobody(), 100).unwrap();
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], &whole[..whole.len() / 2]].concat()).unwrap();
        let ledger = open(&path);
        assert!(matches!(ledger.take("eu/pod", &[2; 32], &nobody(), 101), Err(LedgerError::Held)));
        fs::write(&path, [&whole[..whole.len() / 2], b"\n", &whole].concat()).unwrap();
        assert!(Ledger::open(&path, LIMITS).is_err());
    }

    #[test]
    fn a_pod_is_forgotten_after_a_season() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logins.jsonl");
        let ledger = open(&path);
        ledger.take("eu/old", &[1; 32], &nobody(), 100).unwrap();
        ledger.take("eu/new", &[2; 32], &nobody(), 100 + FORGET_AFTER_SECONDS).unwrap();
        drop(ledger);
        drop(open(&path));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("eu/new") && !text.contains("eu/old"), "{text}");
    }

    #[test]
    fn who_was_killed_is_replaced_where_that_was_said_and_never_who_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logins.jsonl");
        let limits = LoginLimits { unclean: Unclean::Replace, ..LIMITS };
        let ledger = Ledger::open(&path, limits).unwrap();
        let there = Present::default();
        ledger.take("eu/pod", &[1; 32], &there, 100).unwrap();
        there.enter(&[1; 32]);
        there.enter(&[1; 32]);
        there.exit(&[1; 32]);
        let second = |there: &Present| ledger.take("eu/pod", &[2; 32], there, 101);
        assert!(matches!(second(&there), Err(LedgerError::Held)), "it has a session");
        there.exit(&[1; 32]);
        assert!(matches!(second(&there), Ok(false)));
        assert!(ledger.leave(&[1; 32], Leaving::Used, 102).unwrap().is_none(), "it is out");
        // Each counts as a restart, also over one of the bridge.
        let ledger = Ledger::open(&path, limits).unwrap();
        ledger.take("eu/pod", &[3; 32], &there, 103).unwrap();
        let last = ledger.take("eu/pod", &[4; 32], &there, 104);
        assert!(matches!(last, Err(LedgerError::Restarts)));
    }
}
