//! Which bridges are here, and by which names. No socket is read or written in this file.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use cloudtaser_tls::raw::PublicKey;

use super::session::Session;
use crate::proto::{frame::SessionId, rendezvous::RendezvousId};

/// All sessions by their names.
#[derive(Debug)]
pub(super) struct Registry {
    max: usize,
    max_per_key: usize,
    names: Mutex<Names>,
    turn: AtomicUsize,
}

#[derive(Debug, Default)]
struct Names {
    by_name: BTreeMap<RendezvousId, Vec<Arc<Session>>>,
    by_session: BTreeMap<SessionId, Registered>,
    by_key: BTreeMap<PublicKey, usize>,
}

#[derive(Debug)]
struct Registered {
    session: Arc<Session>,
    ids: Vec<RendezvousId>,
}

impl Registry {
    pub(super) fn new(max: usize, max_per_key: usize) -> Self {
        Self { max, max_per_key, names: Mutex::default(), turn: AtomicUsize::new(0) }
    }

    /// Takes a session in; how many others proved the same key, or `None` where there are too many.
    pub(super) fn add(&self, session: &Arc<Session>) -> Option<u16> {
        let mut names = lock(&self.names);
        let full = names.by_session.len() >= self.max;
        let others = names.by_key.entry(session.key).or_default();
        if full || *others >= self.max_per_key {
            names.by_key.retain(|_, count| *count > 0);
            return None;
        }
        let before = *others;
        *others += 1;
        let registered = Registered { session: Arc::clone(session), ids: Vec::new() };
        names.by_session.insert(session.id, registered);
        Some(u16::try_from(before).unwrap_or(u16::MAX))
    }

    /// Gives a session these names and no others. They are hashes of the key that it proved.
    pub(super) fn rename(&self, session: &Arc<Session>, ids: &[RendezvousId]) {
        let mut names = lock(&self.names);
        names.forget(session.id);
        let Some(registered) = names.by_session.get_mut(&session.id) else { return };
        registered.ids = ids.to_vec();
        for id in ids {
            names.by_name.entry(*id).or_default().push(Arc::clone(session));
        }
    }

    /// Takes a session out; nothing new is paired with it.
    pub(super) fn remove(&self, session: &Session) {
        let mut names = lock(&self.names);
        names.forget(session.id);
        if names.by_session.remove(&session.id).is_some()
            && let Some(count) = names.by_key.get_mut(&session.key)
        {
            *count -= 1;
            if *count == 0 {
                names.by_key.remove(&session.key);
            }
        }
        drop(names);
        session.close();
    }

    pub(super) fn session(&self, id: SessionId) -> Option<Arc<Session>> {
        lock(&self.names).by_session.get(&id).map(|registered| Arc::clone(&registered.session))
    }

    /// The sessions of a name, each first in turn.
    pub(super) fn of_name(&self, id: &RendezvousId) -> Vec<Arc<Session>> {
        let mut found = lock(&self.names).by_name.get(id).cloned().unwrap_or_default();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let len = found.len().max(1);
        found.rotate_left(turn % len);
        found
    }
}

impl Names {
    fn forget(&mut self, id: SessionId) {
        let Some(registered) = self.by_session.get_mut(&id) else { return };
        for name in std::mem::take(&mut registered.ids) {
            if let Some(sessions) = self.by_name.get_mut(&name) {
                sessions.retain(|session| session.id != id);
                if sessions.is_empty() {
                    self.by_name.remove(&name);
                }
            }
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
