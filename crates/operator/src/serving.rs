//! The certificate in use, which changes under open connections, and whether reviews may come.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// What both sides of the program share.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    key: RwLock<Option<Arc<CertifiedKey>>>,
    ready: AtomicBool,
    stopping: AtomicBool,
}

impl Serving {
    /// Takes a certificate into use: handshakes from now on show it.
    pub(crate) fn show(&self, key: Arc<CertifiedKey>) {
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    /// The API server trusts what is shown. Once true it stays so: what comes afterwards is set
    /// right by the leader, and a replica that nobody asks helps nobody.
    pub(crate) fn set_ready(&self) -> bool {
        !self.ready.swap(true, Ordering::Relaxed)
    }

    /// No new reviews are wanted.
    pub(crate) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether reviews may come.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && !self.stopping.load(Ordering::Relaxed)
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.key.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
