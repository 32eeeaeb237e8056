//! The bridge: stands beside OpenBao, dials out, and opens the sessions that nobody on the way can.
//!
//! For each beacon it keeps one control connection and some idle legs. A leg on which a client
//! arrives becomes a session: TLS 1.3 with the hybrid key exchange, both sides known by their keys.
//! Inside, a workload is released what the policy says ([`release`]), or a client that may gets a
//! connection to OpenBao, byte for byte.
//!
//! Invariant: nothing here listens. What comes in comes on connections that this process opened.
//!
//! Reading order: [`config`], `beacon` (one control connection), `leg`, `session`, [`release`],
//! [`admit`]; where clusters enrol: `roster` (who is known), `reception` (who is let in), `enrol`
//! (who wants to be).

pub mod admit;
pub mod config;
pub mod release;

mod beacon;
mod enrol;
mod leg;
mod reception;
mod roster;
mod session;
mod strikes;

use std::{sync::Arc, time::Duration};

use cloudtaser_tls::{Digest, TlsError, raw};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tracing::{info, warn};

use cloudtaser_core::release::PROTOCOL as RELEASE_PROTOCOL;

use self::{
    config::Config,
    release::{ReleaseError, Releaser},
    roster::Roster,
};
use crate::{
    enrol::StoreError,
    panics::vital,
    proto::{
        credential::ENROLLED_PROTOCOL, enrol::PROTOCOL as ENROL_PROTOCOL, session::PROXY_PROTOCOL,
    },
};

const MAX_REFUSALS: usize = 64;

/// What keeps a bridge from starting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// The cryptography does not run here.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// Releases cannot be made.
    #[error("the bridge cannot release")]
    Release(#[from] ReleaseError),
    /// It cannot be read who is enrolled.
    #[error("the enrolment cannot be read")]
    Enrolment(#[from] StoreError),
}

/// What all legs share.
#[derive(Debug)]
struct Shared {
    config: Config,
    digest: Digest,
    inner: Arc<rustls::ServerConfig>,
    /// Who is let in, where clusters enrol; without it, the clients of the configuration.
    roster: Option<Arc<Roster>>,
    /// SECURITY: counted here for all beacons together; what a beacon says does not raise it.
    sessions: Semaphore,
    /// Clients that are told that the bridge is busy; a beacon that sends more of them than this
    /// does not keep to the credit.
    refusals: Semaphore,
    stopping: watch::Sender<bool>,
    releaser: Option<Arc<Releaser>>,
}

/// A bridge that has not dialled yet.
#[derive(Debug)]
pub struct Bridge(Arc<Shared>);

impl Bridge {
    /// Sets up what the sessions need.
    ///
    /// # Errors
    /// [`BridgeError`].
    pub fn new(mut config: Config) -> Result<Self, BridgeError> {
        let enrolment = config.enrolment.as_ref();
        let roster = enrolment.map(|it| Roster::open(&it.folder, it.certificate_hours));
        let roster = roster.transpose()?.map(Arc::new);
        let bridge = config.key.public();
        let releaser = config.release.take().map(|release| Releaser::open(release, bridge));
        let releaser = releaser.transpose()?.map(Arc::new);
        let known = config.clients.iter().map(|client| client.key).collect();
        // Who enrols is not known yet, and a session's key is made for it alone: what is shown
        // inside the session says whose it is, and which protocol follows.
        let (peers, protocols) = match (&roster, &releaser) {
            (Some(_), _) => (raw::Peers::AnyKey, &[ENROLLED_PROTOCOL, ENROL_PROTOCOL][..]),
            (None, Some(_)) => (raw::Peers::Only(known), &[RELEASE_PROTOCOL, PROXY_PROTOCOL][..]),
            (None, None) => (raw::Peers::Only(known), &[PROXY_PROTOCOL][..]),
        };
        let inner = raw::server_config(&config.key, peers, protocols)?;
        Ok(Self(Arc::new(Shared {
            digest: Digest::new()?,
            inner: Arc::new(inner),
            roster,
            sessions: Semaphore::new(config.max_sessions.into()),
            refusals: Semaphore::new(MAX_REFUSALS),
            stopping: watch::Sender::new(false),
            releaser,
            config,
        })))
    }

    /// What decides on releases, where this bridge releases.
    #[must_use]
    pub fn releaser(&self) -> Option<Arc<Releaser>> {
        self.0.releaser.clone()
    }

    /// Serves until told to stop; then beacons are told, and sessions have a while to end.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let Self(shared) = self;
        let mut beacons = JoinSet::new();
        for index in 0..shared.config.beacons.len() {
            beacons.spawn(vital(beacon::serve(index, Arc::clone(&shared))));
        }
        let looking = shared.roster.clone().map(|roster| tokio::spawn(vital(roster.watch())));
        let watching = shared.releaser.clone();
        let watching =
            watching.map(|releaser| tokio::spawn(vital(release::standing::watch(releaser))));
        stop.await;
        shared.stopping.send_replace(true);
        while beacons.join_next().await.is_some() {}
        let patience = Duration::from_secs(shared.config.drain_seconds.into());
        let all = u32::from(shared.config.max_sessions);
        match timeout(patience, shared.sessions.acquire_many(all)).await {
            Ok(_) => info!("all sessions have ended"),
            Err(_late) => warn!("sessions are cut"),
        }
        for task in [looking, watching].into_iter().flatten() {
            task.abort();
        }
    }
}
