//! What callers do with OpenBao: log in, read, decrypt, renew, revoke.
//!
//! Each function is one operation under one deadline: it builds requests, has them sent, and reads
//! the answers. It keeps no secret of its own; sessions and answers belong to the caller.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cloudtaser_core::{Secret, reference::Source};
use cloudtaser_tls::TlsClient;
use ureq::Agent;

use crate::{
    address::{Address, Plaintext},
    answer::{self, Answer, Lease, Mount, Session},
    deadline::{Deadline, Stop},
    dns::Files,
    driver::{Driver, agent},
    error::{BaoError, Failure, Operation},
    jitter::{Jitter, RandomJitter},
    json::Object,
    kv::{Miss, Search, Step},
    login::{Credential, Login, Method, SecretId},
    request::Request,
    transit::{self, TransitKey},
};

/// How OpenBao is reached.
#[derive(Debug)]
pub struct Settings {
    /// Where.
    pub address: Address,
    /// How to speak TLS; needed where the address is `https`.
    pub tls: Option<TlsClient>,
    /// Where tokens may travel unencrypted.
    pub plaintext: Plaintext,
    /// The namespace of all paths.
    pub namespace: Option<String>,
    /// The longest answer that is taken.
    pub max_body: usize,
    /// How long one try may take; the deadline bounds all of them.
    pub try_timeout: Duration,
    /// How many tries at most; as many as the deadline allows when absent.
    pub max_tries: Option<u32>,
    /// The files of the resolver.
    pub resolver: Files,
    /// What spreads retries.
    pub jitter: Box<dyn Jitter>,
}

impl Settings {
    /// OpenBao's largest entry is 1 MiB by default; a certificate chain or a batch may be larger.
    pub const MAX_BODY: usize = 8 << 20;
    /// Long enough for a slow login, short enough for three tries in a usual deadline.
    pub const TRY_TIMEOUT: Duration = Duration::from_secs(10);

    /// Settings for an address, the rest as usual.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self {
            address,
            tls: None,
            plaintext: Plaintext::default(),
            namespace: None,
            max_body: Self::MAX_BODY,
            try_timeout: Self::TRY_TIMEOUT,
            max_tries: None,
            resolver: Files::default(),
            jitter: Box::new(RandomJitter),
        }
    }
}

/// A client of one OpenBao. It may be used by several threads.
#[derive(Debug)]
pub struct Client {
    driver: Driver,
    mounts: Mutex<Mounts>,
}

/// What is known about mounts: those found, and the first segments that may not be asked about.
#[derive(Debug, Default)]
struct Mounts {
    found: Vec<Mount>,
    refused: BTreeSet<String>,
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
        let driver = Driver {
            verifies: settings.tls.as_ref().is_some_and(TlsClient::verifies),
            agent: agent(settings.tls, settings.resolver),
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

    /// A handle that ends whatever this client waits for.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { stop: Arc::clone(&self.driver.stop), agent: self.driver.agent.clone() }
    }

    /// Logs in.
    ///
    /// # Errors
    /// [`BaoError`].
    pub fn login(&self, login: &Login, deadline: &Deadline) -> Result<Session, BaoError> {
        let operation = login.operation();
        let load = |credential: &Credential| {
            credential.load().map_err(|failure| BaoError::new(operation, None, failure))
        };
        let mut user_name = None;
        let mut body = Object::default();
        match &login.method {
            Method::AppRole { role_id, secret_id } => {
                body = body.text("role_id", load(role_id)?.expose());
                match secret_id {
                    SecretId::None => {}
                    SecretId::Plain(credential) => {
                        body = body.text("secret_id", load(credential)?.expose());
                    }
                    SecretId::Wrapped(credential) => {
                        let secret_id = self.unwrap_secret_id(login, credential, deadline)?;
                        body = body.text("secret_id", secret_id.expose());
                    }
                }
            }
            Method::Cert { role } => {
                if let Some(role) = role {
                    body = body.text("name", role.as_bytes());
                }
            }
            Method::Jwt { role, jwt } => {
                if let Some(role) = role {
                    body = body.text("role", role.as_bytes());
                }
                body = body.text("jwt", load(jwt)?.expose());
            }
            Method::Kubernetes { role, jwt } => {
                body = body.text("role", role.as_bytes()).text("jwt", load(jwt)?.expose());
            }
            Method::UserPass { user, password } => {
                user_name = Some(user.as_str());
                body = body.text("password", load(password)?.expose());
            }
            Method::Token(credential) => return self.adopt(login, credential, deadline),
            Method::WrappedToken(credential) => {
                return self.unwrap(login, credential, deadline, answer::session);
            }
        }
        let request = login.request(user_name, body);
        self.ask(&request, None, deadline, answer::session)
    }

    /// Takes a token that somebody else got, and finds out how long it lives.
    ///
    /// A token may be good and yet not be allowed to look at itself: then it is taken without
    /// knowing its end.
    fn adopt(
        &self,
        login: &Login,
        credential: &Credential,
        deadline: &Deadline,
    ) -> Result<Session, BaoError> {
        let token = credential
            .load_token()
            .map_err(|failure| BaoError::new(login.operation(), None, failure))?;
        let path = "auth/token/lookup-self".to_owned();
        let request =
            Request::get(Operation::LookUp, path).in_namespace(login.namespace.as_deref());
        match self.driver.exchange(&request, Some(&token), deadline) {
            Ok(answered) => {
                read(&request, answered.body.expose(), |text| answer::looked_up(text, token))
            }
            Err(error) if error.status() == Some(403) && !is_invalid(&error) => {
                Ok(Session::of_token(token))
            }
            Err(error) => Err(error),
        }
    }

    /// Unwraps a `secret_id`, and demands that it was wrapped where such are made.
    ///
    /// SECURITY: whoever can replace the wrapping token could otherwise put one of their own there.
    fn unwrap_secret_id(
        &self,
        login: &Login,
        credential: &Credential,
        deadline: &Deadline,
    ) -> Result<Secret, BaoError> {
        let failed = |failure| BaoError::new(Operation::Unwrap, None, failure);
        let token = credential.load_token().map_err(failed)?;
        let body = Object::default().text("token", token.expose()).finish();
        let path = "sys/wrapping/lookup".to_owned();
        let request = Request::post(Operation::Unwrap, path, body)
            .repeatable()
            .in_namespace(login.namespace.as_deref());
        let made_at = self.ask(&request, None, deadline, answer::creation_path)?;
        let role = format!("auth/{}/role/", login.mount());
        if !(made_at.contains(&role) && made_at.ends_with("/secret-id")) {
            return Err(failed(Failure::Shape("what was wrapped is no secret_id of this mount")));
        }
        self.unwrap(login, credential, deadline, |text| answer::unwrapped(text, "secret_id"))
    }

    fn unwrap<T>(
        &self,
        login: &Login,
        credential: &Credential,
        deadline: &Deadline,
        take: impl FnOnce(&[u8]) -> Result<T, Failure>,
    ) -> Result<T, BaoError> {
        let failed = |failure| BaoError::new(Operation::Unwrap, None, failure);
        let token = credential.load_token().map_err(failed)?;
        let body = Object::default().finish();
        let request = Request::post(Operation::Unwrap, "sys/wrapping/unwrap".to_owned(), body)
            .in_namespace(login.namespace.as_deref());
        self.ask(&request, Some(&token), deadline, take)
    }

    /// Reads a path, or writes to it where the source says so, and gives what came back.
    ///
    /// # Errors
    /// [`BaoError`].
    pub fn read(
        &self,
        session: &Session,
        source: &Source,
        deadline: &Deadline,
    ) -> Result<Answer, BaoError> {
        let path = source.path.as_str();
        match &source.write {
            Some(body) => {
                let body = Secret::new(body.as_bytes().to_vec());
                let request = Request::post(Operation::Write, path.to_owned(), body);
                self.answer(&request, session, deadline)
            }
            None => self.search(session, path, source.version, deadline),
        }
    }

    fn search(
        &self,
        session: &Session,
        path: &str,
        version: Option<u32>,
        deadline: &Deadline,
    ) -> Result<Answer, BaoError> {
        let mut search = {
            let mounts = self.mounts.lock().unwrap_or_else(PoisonError::into_inner);
            let known = mounts.found.iter().filter(|mount| path.starts_with(&mount.path));
            let known = known.max_by_key(|mount| mount.path.len());
            Search::new(path, known, !mounts.refused.contains(first_segment(path)))
        };
        let mut last: Option<BaoError> = None;
        while let Some(step) = search.next() {
            let candidate = match step {
                Step::FindMount => {
                    match self.find_mount(session, path, deadline)? {
                        Some(mount) => search.found(&mount),
                        None => search.without_mount(),
                    }
                    continue;
                }
                Step::Read(candidate) => candidate,
            };
            let request = Request::get(Operation::Read, candidate).version(version);
            let error = match self.answer(&request, session, deadline) {
                Ok(answer) if version.is_some() && answer.version.is_none() => {
                    let failure = Failure::Shape("a version is asked for where there are none");
                    return Err(BaoError::new(Operation::Read, Some(request.place()), failure));
                }
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let miss = match (&*error.failure, error.status()) {
                (Failure::NotFound { .. }, _) => Miss::NotFound,
                (_, Some(403)) => Miss::Forbidden,
                _ => return Err(error),
            };
            // A refusal tells more than an absence: the token may not even see whether it is there.
            let goes_on = search.goes_on(miss);
            let keeps = last.as_ref().is_some_and(|last| last.status() == Some(403));
            if !keeps || miss == Miss::Forbidden {
                last = Some(error);
            }
            if !goes_on {
                break;
            }
        }
        let tried = search.into_tried();
        Err(last.map_or_else(
            || BaoError::new(Operation::Read, None, Failure::Shape("there was nothing to try")),
            |mut error| {
                if let Failure::NotFound { tried: paths, .. } = &mut *error.failure {
                    *paths = tried;
                }
                error
            },
        ))
    }

    /// Where a path is mounted, or `None` where the token may not know.
    fn find_mount(
        &self,
        session: &Session,
        path: &str,
        deadline: &Deadline,
    ) -> Result<Option<Mount>, BaoError> {
        let request = Request::get(Operation::Read, format!("sys/internal/ui/mounts/{path}"));
        match self.ask(&request, Some(session.token()), deadline, answer::mount) {
            Ok(mount) => {
                let mut mounts = self.mounts.lock().unwrap_or_else(PoisonError::into_inner);
                mounts.found.push(mount.clone());
                Ok(Some(mount))
            }
            Err(error) if error.status().is_some_and(|status| status < 500) => {
                let mut mounts = self.mounts.lock().unwrap_or_else(PoisonError::into_inner);
                mounts.refused.insert(first_segment(path).to_owned());
                Ok(None)
            }
            Err(error) => Err(error),
        }
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
        let mut plaintexts = Vec::with_capacity(ciphertexts.len());
        for batch in ciphertexts.chunks(key.batch.max(1)) {
            let request = key.request(batch);
            let take = |text: &[u8]| transit::plaintexts(text, batch.len());
            let mut decrypted = self.ask(&request, Some(session.token()), deadline, take);
            if let Err(error) = &mut decrypted
                && let Failure::Entry { index, .. } = &mut *error.failure
            {
                *index += plaintexts.len();
            }
            plaintexts.extend(decrypted?);
        }
        Ok(plaintexts)
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

    fn answer(
        &self,
        request: &Request,
        session: &Session,
        deadline: &Deadline,
    ) -> Result<Answer, BaoError> {
        let path = request.place().path;
        self.ask(request, Some(session.token()), deadline, |text| answer::parse(text, path))
    }

    fn ask<T>(
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
fn read<T>(
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

fn is_invalid(error: &BaoError) -> bool {
    match &*error.failure {
        Failure::Status { errors, .. } => errors.iter().any(|said| said.contains("invalid token")),
        _ => false,
    }
}

fn first_segment(path: &str) -> &str {
    path.split('/').next().unwrap_or("")
}

/// Answers that were read once, so that whatever is taken from one source is of one moment: a user
/// name and its password, a certificate and its key.
#[derive(Debug, Default)]
pub struct ReadSet {
    answers: BTreeMap<Source, Answer>,
}

impl ReadSet {
    /// An empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { answers: BTreeMap::new() }
    }

    /// The answer of a source, which is asked only the first time.
    ///
    /// # Errors
    /// [`BaoError`]; a failure is not kept.
    pub fn read(
        &mut self,
        client: &Client,
        session: &Session,
        source: &Source,
        deadline: &Deadline,
    ) -> Result<&Answer, BaoError> {
        use std::collections::btree_map::Entry;
        match self.answers.entry(source.clone()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => Ok(new.insert(client.read(session, source, deadline)?)),
        }
    }

    /// The answer of a source that was read before.
    #[must_use]
    pub fn get(&self, source: &Source) -> Option<&Answer> {
        self.answers.get(source)
    }

    /// All answers.
    pub fn answers(&self) -> impl Iterator<Item = (&Source, &Answer)> {
        self.answers.iter()
    }

    /// All leases.
    pub fn leases(&self) -> impl Iterator<Item = (&Source, &Lease)> {
        self.answers.iter().filter_map(|(source, answer)| Some((source, answer.lease.as_ref()?)))
    }
}
