//! What callers do with OpenBao: log in (`authenticate`), read (`read`), and here decrypt, renew and
//! revoke.
//!
//! Each function is one operation under one deadline: it builds requests, has them sent, and reads
//! the answers. It keeps no secret of its own; sessions and answers belong to the caller.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use cloudtaser_core::Secret;
use cloudtaser_tls::TlsClient;
use ureq::Agent;

use crate::{
    answer::{self, Lease, Session},
    deadline::{Deadline, Stop},
    dial::KeyExchanges,
    driver::{Driver, agent},
    error::{BaoError, Failure, Operation},
    json::Object,
    read::Mounts,
    request::Request,
    settings::Settings,
    transit::{self, TransitKey},
};

/// A client of one OpenBao. It may be used by several threads.
#[derive(Debug)]
pub struct Client {
    pub(crate) driver: Driver,
    pub(crate) mounts: Mutex<Mounts>,
}

/// What Transit gave.
#[derive(Debug)]
pub struct Decrypted {
    /// The plaintexts.
    pub texts: Vec<Secret>,
    /// OpenBao's names of the requests, one per batch.
    pub requests: Vec<String>,
}

/// Ends what a client is doing, from another thread.
#[derive(Clone)]
pub struct Stopper {
    stop: Arc<Stop>,
    agent: Agent,
}

impl Stopper {
    /// Ends every wait of the client with [`Failure::Stopped`], for good: the client is of no use
    /// afterwards.
    pub fn stop(&self) {
        self.stop.raise();
        self.agent.clone().shutdown();
    }
}

impl fmt::Debug for Stopper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopper").finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Failure::Plaintext`] or [`Failure::Address`] where tokens could not travel safely.
    pub fn new(settings: Settings) -> Result<Self, BaoError> {
        let refuse = |failure| Err(BaoError::new(Operation::Configure, None, failure));
        if !settings.address.permits(settings.plaintext) {
            return refuse(Failure::Plaintext);
        }
        if settings.address.is_tls() && settings.tls.is_none() {
            return refuse(Failure::Address("it is https, and no TLS was set up"));
        }
        let exchanges = Arc::new(KeyExchanges::default());
        let driver = Driver {
            verifies: settings.tls.as_ref().is_some_and(TlsClient::verifies),
            agent: agent(settings.tls, settings.resolver, Arc::clone(&exchanges)),
            exchanges,
            address: settings.address,
            namespace: settings.namespace.filter(|namespace| !namespace.is_empty()),
            max_body: settings.max_body.max(1),
            try_timeout: settings.try_timeout,
            max_tries: settings.max_tries,
            jitter: settings.jitter,
            stop: Arc::new(Stop::default()),
        };
        Ok(Self { driver, mounts: Mutex::default() })
    }

    /// Whether there was a connection, and every one so far had a hybrid post-quantum key exchange.
    #[must_use]
    pub fn key_exchange_is_hybrid(&self) -> bool {
        self.driver.exchanges.all_hybrid()
    }

    /// A handle that ends whatever this client waits for.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { stop: Arc::clone(&self.driver.stop), agent: self.driver.agent.clone() }
    }

    /// Decrypts ciphertexts of Transit, in their order.
    ///
    /// # Errors
    /// [`BaoError`]; [`Failure::Entry`] names the first that failed, and then none is given.
    pub fn transit_decrypt(
        &self,
        session: &Session,
        key: &TransitKey,
        ciphertexts: &[&str],
        deadline: &Deadline,
    ) -> Result<Vec<Secret>, BaoError> {
        Ok(self.transit_decrypt_named(session, key, ciphertexts, deadline)?.texts)
    }

    /// As [`Self::transit_decrypt`], with OpenBao's names of the requests that it took.
    ///
    /// # Errors
    /// As there.
    pub fn transit_decrypt_named(
        &self,
        session: &Session,
        key: &TransitKey,
        ciphertexts: &[&str],
        deadline: &Deadline,
    ) -> Result<Decrypted, BaoError> {
        let mut plaintexts = Vec::with_capacity(ciphertexts.len());
        let mut requests = Vec::new();
        for batch in ciphertexts.chunks(key.batch.max(1)) {
            let request = key.request(batch);
            let take = |text: &[u8]| {
                requests.extend(answer::request_id(text));
                transit::plaintexts(text, batch.len())
            };
            let mut decrypted = self.ask(&request, Some(session.token()), deadline, take);
            if let Err(error) = &mut decrypted
                && let Failure::Entry { index, .. } = &mut *error.failure
            {
                *index += plaintexts.len();
            }
            plaintexts.extend(decrypted?);
        }
        Ok(Decrypted { texts: plaintexts, requests })
    }

    /// Renews the token, and gives what holds from now on.
    ///
    /// # Errors
    /// [`BaoError`].
    pub fn renew_self(&self, session: &Session, deadline: &Deadline) -> Result<Session, BaoError> {
        let body = Object::default().finish();
        let path = "auth/token/renew-self".to_owned();
        // Renewing twice renews once.
        let request = Request::post(Operation::RenewToken, path, body).repeatable();
        self.ask(&request, Some(session.token()), deadline, answer::session)
    }

    /// Revokes the token, and with it everything that it was given.
    ///
    /// # Errors
    /// [`BaoError`].
    pub fn revoke_self(&self, session: &Session, deadline: &Deadline) -> Result<(), BaoError> {
        let body = Object::default().finish();
        let path = "auth/token/revoke-self".to_owned();
        let request = Request::post(Operation::RevokeToken, path, body).repeatable();
        match self.driver.exchange(&request, Some(session.token()), deadline) {
            // It is gone: perhaps an earlier try did it, whose answer was lost.
            Err(error) if error.tries > 1 && error.status() == Some(403) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Renews a lease, and gives what holds from now on.
    ///
    /// # Errors
    /// [`BaoError`].
    pub fn renew_lease(
        &self,
        session: &Session,
        lease: &Lease,
        deadline: &Deadline,
    ) -> Result<Lease, BaoError> {
        let body = Object::default().text("lease_id", lease.id.as_bytes()).finish();
        let path = "sys/leases/renew".to_owned();
        let request = Request::post(Operation::RenewLease, path, body).repeatable();
        let take = |text: &[u8]| answer::lease(text, &lease.id);
        self.ask(&request, Some(session.token()), deadline, take)
    }

    /// Revokes a lease: what it stood for stops to work.
    ///
    /// # Errors
    /// [`BaoError`].
    pub fn revoke_lease(
        &self,
        session: &Session,
        lease: &Lease,
        deadline: &Deadline,
    ) -> Result<(), BaoError> {
        let body = Object::default().text("lease_id", lease.id.as_bytes()).finish();
        let path = "sys/leases/revoke".to_owned();
        let request = Request::post(Operation::RevokeLease, path, body).repeatable();
        self.driver.exchange(&request, Some(session.token()), deadline).map(drop)
    }

    /// Sends a request and reads its answer.
    pub(crate) fn ask<T>(
        &self,
        request: &Request,
        token: Option<&Secret>,
        deadline: &Deadline,
        take: impl FnOnce(&[u8]) -> Result<T, Failure>,
    ) -> Result<T, BaoError> {
        let answered = self.driver.exchange(request, token, deadline)?;
        read(request, answered.body.expose(), take)
    }
}

/// Reads an answer's text, and says of which request it was where it cannot be read.
pub(crate) fn read<T>(
    request: &Request,
    text: &[u8],
    take: impl FnOnce(&[u8]) -> Result<T, Failure>,
) -> Result<T, BaoError> {
    take(text).map_err(|failure| {
        let failure = match failure {
            Failure::Shape(_) if answer::is_wrapped(text) => {
                Failure::Shape("it is wrapped, as a policy demands; that is not supported here")
            }
            other => other,
        };
        BaoError::new(request.operation, Some(request.place()), failure)
    })
}
