//! Who is let in, as far as the running bridge knows: what is on the disk, looked at again before
//! every session and a few times in a second, so that a revocation cuts what goes on.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cloudtaser_tls::raw::PublicKey;
use tokio::{sync::watch, task::spawn_blocking, time::sleep};
use tracing::{error, info};

use crate::{
    clock::unix_seconds,
    enrol::{Act, State, Store, StoreError, store::Version},
};

/// How long a revoked session goes on at most, with the time that it takes to read a file.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Who acts, in the audit.
const BY: &str = "bridge";

#[derive(Debug)]
pub(super) struct Roster {
    store: Store,
    known: watch::Sender<Arc<State>>,
    seen: Mutex<Option<Version>>,
    certificate_seconds: u64,
}

impl Roster {
    pub(super) fn open(folder: &Path, certificate_hours: u16) -> Result<Self, StoreError> {
        let store = Store::open(folder)?;
        let seen = store.version()?;
        let known = watch::Sender::new(Arc::new(store.read()?));
        let certificate_seconds = u64::from(certificate_hours) * 3600;
        Ok(Self { store, known, seen: Mutex::new(Some(seen)), certificate_seconds })
    }

    pub(super) const fn certificate_seconds(&self) -> u64 {
        self.certificate_seconds
    }

    /// Looks again and again.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            self.look();
            sleep(LOOK_EVERY).await;
        }
    }

    /// Reads what is on the disk, where it is another than the last time.
    fn look(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let read = match self.store.version() {
            Ok(version) if *seen == Some(version) => return,
            Ok(version) => self.store.read().map(|state| (version, state)),
            Err(error) => Err(error),
        };
        match read {
            Ok((version, state)) => {
                info!(revision = state.revision, "the enrolment has changed");
                *seen = Some(version);
                self.known.send_replace(Arc::new(state));
            }
            // SECURITY: where it cannot be known who was revoked, nobody is let in.
            Err(error) => {
                if seen.take().is_some() {
                    error!(error = crate::log::chain(&error), "nobody is let in");
                    self.known.send_replace(Arc::default());
                }
            }
        }
    }

    /// What the bridge's people call this cluster, where it is let in.
    pub(super) fn name_of(&self, cluster: &PublicKey) -> Option<String> {
        self.look();
        self.known.borrow().approved(cluster).map(|cluster| cluster.name.clone())
    }

    /// Ends when this cluster is let in no longer.
    pub(super) async fn revoked(&self, cluster: &PublicKey) {
        let mut known = self.known.subscribe();
        // An error means that the roster is gone, and with it whoever was on it.
        let _gone = known.wait_for(|state| state.approved(cluster).is_none()).await.map(drop);
    }

    /// Does an act; it is on the disk when this ends.
    pub(super) async fn act<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut State) -> (T, Option<Act>) + Send + 'static,
    ) -> Option<T> {
        let roster = Arc::clone(self);
        let acting = spawn_blocking(move || {
            let done = roster.store.act(BY, unix_seconds(), work);
            roster.look();
            done
        });
        match acting.await {
            Ok(Ok(said)) => Some(said),
            Ok(Err(error)) => {
                error!(error = crate::log::chain(&error), "the enrolment cannot be written");
                None
            }
            Err(_ended) => None,
        }
    }
}
