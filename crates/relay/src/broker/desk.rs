//! Who this broker stands for at the moment: nobody, before a cluster is enrolled, and then the
//! holder of its key and of its certificate, which change under open connections.

use std::sync::{Arc, PoisonError, RwLock};

use cloudtaser_tls::raw::KeyPair;

use crate::{client::Client, proto::credential::Certificate};

/// The place.
#[derive(Debug, Default)]
pub struct Desk(RwLock<Option<Arc<Clerk>>>);

/// Who can vouch for keys in the cluster's name.
#[derive(Debug)]
pub struct Clerk {
    /// How the bridge is found.
    pub client: Arc<Client>,
    /// The cluster's key.
    pub key: KeyPair,
}

impl Desk {
    /// One that somebody is at.
    #[must_use]
    pub fn of(client: Arc<Client>, key: KeyPair) -> Self {
        let desk = Self::default();
        desk.seat(Clerk { client, key });
        desk
    }

    /// From now on this one vouches.
    pub fn seat(&self, clerk: Clerk) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(clerk));
    }

    /// From now on nobody does.
    pub fn leave(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Who is there.
    #[must_use]
    pub fn clerk(&self) -> Option<Arc<Clerk>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// By which the bridge lets the cluster in.
    #[must_use]
    pub fn certificate(&self) -> Option<Certificate> {
        self.clerk().and_then(|clerk| clerk.client.certificate())
    }
}
