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
//! [`admit`].

pub mod admit;
pub mod config;
pub mod release;

mod beacon;
mod leg;
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
};
use crate::proto::session::PROXY_PROTOCOL;

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
}

/// What all legs share.
#[derive(Debug)]
struct Shared {
    config: Config,
    digest: Digest,
    inner: Arc<rustls::ServerConfig>,
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
        let releaser = config.release.take().map(Releaser::open).transpose()?.map(Arc::new);
        let known = config.clients.iter().map(|client| client.key).collect();
        let mut protocols = vec![PROXY_PROTOCOL];
        protocols.extend(releaser.is_some().then_some(RELEASE_PROTOCOL));
        let inner = raw::server_config(&config.key, raw::Peers::Only(known), &protocols)?;
        Ok(Self(Arc::new(Shared {
            digest: Digest::new()?,
            inner: Arc::new(inner),
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
            beacons.spawn(beacon::serve(index, Arc::clone(&shared)));
        }
        stop.await;
        shared.stopping.send_replace(true);
        while beacons.join_next().await.is_some() {}
        let patience = Duration::from_secs(shared.config.drain_seconds.into());
        let all = u32::from(shared.config.max_sessions);
        match timeout(patience, shared.sessions.acquire_many(all)).await {
            Ok(_) => info!("all sessions have ended"),
            Err(_late) => warn!("sessions are cut"),
        }
    }
}
