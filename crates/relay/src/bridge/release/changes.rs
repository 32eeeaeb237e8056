//! What changed in OpenBao, as its own audit log tells it, and whom it concerns.
//!
//! OpenBao writes a line for each request before it answers, with the path in clear and values as
//! HMACs. Whoever reads along learns of each new version at once, without a credential, without a
//! request, and without reading a secret that nobody asked for (`docs/adr/0037`).
//!
//! Nothing here knows a value. What is told is that a path is worth reading again; that reading is
//! decided, recorded and sealed as ever.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cloudtaser_bao::{Jitter as _, RandomJitter};
use cloudtaser_core::release::{message::ITEMS_MAX, policy::canonical};
use serde::Deserialize;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub(super) mod tail;

/// Those who have one secret in common come one after the other, so far apart on average.
const APART: Duration = Duration::from_millis(1);
/// However many they are.
const LONGEST_SPREAD: Duration = Duration::from_secs(5);

/// A line of the audit log, as far as it matters here.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    error: String,
    request: Request,
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    operation: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    namespace: Option<Namespace>,
}

#[derive(Deserialize)]
struct Namespace {
    #[serde(default)]
    path: String,
}

/// What a line says has changed: every name of a secret that this may be. `None` where nothing did,
/// or in another namespace.
fn changed(line: &[u8], namespace: Option<&str>) -> Option<BTreeSet<String>> {
    let Entry { kind, error, request } = serde_json::from_slice(line).ok()?;
    let writes = matches!(&*request.operation, "create" | "update" | "patch" | "delete");
    let here = request.namespace.map(|there| there.path).unwrap_or_default();
    let here = here.trim_matches('/') == namespace.unwrap_or_default().trim_matches('/');
    if kind != "response" || !error.is_empty() || !writes || !here {
        return None;
    }
    let mut names = BTreeSet::from([canonical(&request.path)?]);
    // KV v2 changes what is at a path under other names than it is read by.
    for word in ["delete", "destroy", "metadata", "undelete"] {
        let mut segments = request.path.trim_matches('/').split('/').collect::<Vec<_>>();
        if let Some(at) = segments.iter().skip(1).position(|segment| *segment == word) {
            segments.remove(at + 1);
            names.extend(canonical(&segments.join("/")));
        }
    }
    Some(names)
}

/// Who is to be told of what.
#[derive(Debug, Default)]
pub(super) struct Watchers(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Whether changes are learned of.
    hears: bool,
    next: u64,
    by_name: BTreeMap<String, BTreeMap<u64, Arc<Inbox>>>,
}

/// What one session is to be told.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    watching: bool,
    /// By their names, the paths as they were asked for.
    paths: BTreeMap<String, BTreeSet<String>>,
    changed: BTreeSet<String>,
    over: bool,
    due: Option<Instant>,
}

/// A session's place among the watchers, which it leaves when it is dropped.
#[derive(Debug)]
pub(super) struct Watcher {
    watchers: Arc<Watchers>,
    number: u64,
    inbox: Arc<Inbox>,
}

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a session.
    pub(super) fn join(self: &Arc<Self>) -> Watcher {
        let mut inner = self.lock();
        inner.next = inner.next.wrapping_add(1);
        Watcher { watchers: Arc::clone(self), number: inner.next, inbox: Arc::default() }
    }

    /// Changes are learned of from now on.
    fn hears(&self) {
        self.lock().hears = true;
    }

    /// No change is learned of any more: everybody has to look himself.
    fn deaf(&self) {
        let mut inner = self.lock();
        if std::mem::replace(&mut inner.hears, false) {
            for inbox in inner.by_name.values().flat_map(BTreeMap::values) {
                inbox.over();
            }
            inner.by_name.clear();
        }
    }

    /// Something under these names is worth reading again.
    fn tell(&self, names: &BTreeSet<String>) {
        let inner = self.lock();
        for name in names {
            let Some(all) = inner.by_name.get(name) else { continue };
            let many = u32::try_from(all.len().saturating_sub(1)).unwrap_or(u32::MAX);
            let spread = APART.saturating_mul(many).min(LONGEST_SPREAD);
            for inbox in all.values() {
                inbox.put(name, Instant::now() + RandomJitter.up_to(spread));
            }
        }
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, name: &str, at: Instant) {
        let mut state = self.lock();
        state.changed.insert(name.to_owned());
        state.due = Some(state.due.map_or(at, |due| due.min(at)));
        self.wake.notify_one();
    }

    fn over(&self) {
        let mut state = self.lock();
        state.paths.clear();
        (state.over, state.due) = (true, Some(Instant::now()));
        self.wake.notify_one();
    }

    /// Ends when there is something to be told.
    pub(super) async fn due(&self) {
        loop {
            let due = Some(self.lock()).filter(|state| state.watching).and_then(|state| state.due);
            match due {
                Some(due) => return sleep_until(due).await,
                None => self.wake.notified().await,
            }
        }
    }
}

impl Watcher {
    /// What the session waits on.
    pub(super) fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// Notes that this is about to be read, so that no change is missed from here on; says whether
    /// it was not noted before.
    pub(super) fn note(&self, path: &str) -> bool {
        let Some(name) = canonical(path) else { return false };
        let mut inner = self.watchers.lock();
        let mut state = self.inbox.lock();
        state.changed.remove(&name);
        let full = state.paths.len() >= ITEMS_MAX && !state.paths.contains_key(&name);
        if full || !inner.hears {
            return false;
        }
        let forms = state.paths.entry(name.clone()).or_default();
        let is_new = forms.is_empty();
        // A secret has two spellings.
        if forms.len() < 4 {
            forms.insert(path.to_owned());
        }
        inner.by_name.entry(name).or_default().insert(self.number, Arc::clone(&self.inbox));
        is_new
    }

    /// Of this no notice can be given.
    pub(super) fn forget(&self, path: &str) {
        let Some(name) = canonical(path) else { return };
        let mut inner = self.watchers.lock();
        self.inbox.lock().paths.remove(&name);
        inner.remove(&name, self.number);
    }

    /// Gives notice from now on, of these paths.
    pub(super) fn watch(&self) -> Vec<String> {
        let hears = self.watchers.lock().hears;
        let mut state = self.inbox.lock();
        (state.watching, state.over) = (hears, false);
        // What was noted already is due at once.
        self.inbox.wake.notify_one();
        let paths = state.paths.values().flatten().cloned();
        if hears { paths.take(ITEMS_MAX).collect() } else { Vec::new() }
    }

    /// Takes what is to be told: paths, or none where the watch is over.
    pub(super) fn take(&self) -> Option<Vec<String>> {
        let mut state = self.inbox.lock();
        state.due = None;
        if std::mem::replace(&mut state.over, false) {
            state.watching = false;
            state.changed.clear();
            return Some(Vec::new());
        }
        let changed = std::mem::take(&mut state.changed);
        let paths = changed.iter().filter_map(|name| state.paths.get(name)).flatten();
        let paths = paths.take(ITEMS_MAX).cloned().collect::<Vec<_>>();
        Some(paths).filter(|paths| !paths.is_empty())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut inner = self.watchers.lock();
        for name in std::mem::take(&mut self.inbox.lock().paths).into_keys() {
            inner.remove(&name, self.number);
        }
    }
}

impl Inner {
    fn remove(&mut self, name: &str, number: u64) {
        if let Some(all) = self.by_name.get_mut(name) {
            all.remove(&number);
            if all.is_empty() {
                self.by_name.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests;
