//! A bridge as the home of secrets: one session for everything, opened again where it is lost.
//!
//! What may be asked twice is asked again while there is time: a bridge that restarts, a beacon that
//! goes, an OpenBao that is sealed. What the bridge refuses for good is told at once.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::BorrowedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use cloudtaser_bao::{
    BaoError, Credential, Deadline, Jitter as _, Lease, RandomJitter,
    dns::{self, Files},
};
use cloudtaser_core::{
    Blame, Secret,
    plan::Transit,
    reference::Source,
    release::{
        self, Answer, Denial, Item, LoggedIn, Operation, Recorded, Renewing, Statement, Why,
        message::ITEMS_MAX,
    },
};
use cloudtaser_road::{AskError, ClientError, Login, Release, Resolve, Stop, Until, Waited};
use cloudtaser_tls::Digest;
use data_encoding::HEXLOWER;

use crate::{
    chain::Chain,
    guard::Attesting,
    home::{Found, Granted},
};

/// The first waiting time's upper end, and the longest.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(3);
/// Longer than OpenBao takes for anything; then a new session is opened.
const OLD_SESSION_PATIENCE: Duration = Duration::from_secs(10);

/// A bridge, and who we are to it.
pub(crate) struct Bridge {
    release: Release,
    role: Option<String>,
    credential: Credential,
    statement: Statement,
    node: Attesting,
    granted: Option<Granted>,
    /// Answers that were asked for together and not taken yet.
    prepared: BTreeMap<Source, Result<Answered, BaoError>>,
    /// A login that is not the one of before has none of its leases.
    lost: bool,
    /// Whether there ever was a login: only then there is a place to give back.
    entered: bool,
}

struct Answered {
    json: Secret,
    lease: Option<Lease>,
}

impl Bridge {
    pub(crate) fn new(
        release: Release,
        role: Option<String>,
        credential: Credential,
        mut statement: Statement,
        node: Attesting,
    ) -> Self {
        // A file that cannot be read is not claimed to be one of ours.
        statement.wrapper = own_digest().ok();
        Self {
            release,
            role,
            credential,
            statement,
            node,
            granted: None,
            prepared: BTreeMap::new(),
            lost: false,
            entered: false,
        }
    }

    /// Where the bridge's log has what was released to this launch.
    pub(crate) fn take_receipts(&mut self) -> Vec<Recorded> {
        self.release.take_receipts()
    }

    pub(crate) fn stop(&self) -> Arc<Stop> {
        self.release.stop()
    }

    pub(crate) fn login(&mut self, deadline: &Deadline) -> Result<Granted, BaoError> {
        if self.release.is_open() {
            // The login of an open session is not good any more; whether it can still be given back
            // does not matter.
            let _ended = self.release.done(until(deadline));
        }
        self.ask(Operation::Login, deadline, Again::Yes, |_, _| Ok(()))?;
        Ok(self.granted.unwrap_or(Granted { ttl: Duration::ZERO, renewable: false }))
    }

    pub(crate) fn renew(&mut self, deadline: &Deadline) -> Result<Granted, BaoError> {
        let was_open = self.release.is_open();
        let renewed = self.ask(Operation::RenewToken, deadline, Again::Yes, |release, until| {
            // A session that was opened just now has a login that is as fresh.
            if was_open { release.renew(Renewing::Token, until).map(Some) } else { Ok(None) }
        })?;
        if let Some(renewed) = renewed {
            let ttl = Duration::from_secs(renewed.lease.ttl_seconds);
            self.granted = Some(Granted { ttl, renewable: renewed.lease.renewable });
        }
        Ok(self.granted.unwrap_or(Granted { ttl: Duration::ZERO, renewable: false }))
    }

    /// Asks for all at once. What fails as a whole is told by the first that is read.
    pub(crate) fn prepare(&mut self, sources: &[&Source], deadline: &Deadline) {
        self.prepared.clear();
        // What is written is not asked for again where an answer is lost.
        let reads = sources.iter().filter(|source| source.write.is_none()).collect::<Vec<_>>();
        for batch in reads.chunks(ITEMS_MAX) {
            let items = batch.iter().map(|source| item(source)).collect::<Vec<_>>();
            let asked = self.ask(Operation::Read, deadline, Again::Yes, |release, until| {
                release.read(items.clone(), until)
            });
            match asked {
                Ok(answers) => {
                    for (source, answer) in batch.iter().zip(answers) {
                        self.prepared.insert((**source).clone(), fields(answer));
                    }
                }
                Err(error) => {
                    if let Some(source) = batch.first() {
                        self.prepared.insert((**source).clone(), Err(error));
                    }
                    return;
                }
            }
        }
    }

    pub(crate) fn read(&mut self, source: &Source, deadline: &Deadline) -> Result<Found, BaoError> {
        let answered = match self.prepared.remove(source) {
            Some(prepared) => prepared?,
            None => {
                let (operation, again) = match source.write {
                    Some(_) => (Operation::Write, Again::No),
                    None => (Operation::Read, Again::Yes),
                };
                let asked = self.ask(operation, deadline, again, |release, until| {
                    release.read(vec![item(source)], until)
                })?;
                asked.into_iter().next().map_or_else(|| Err(odd(operation)), fields)?
            }
        };
        Ok(Found::of(&answered.json, answered.lease))
    }

    pub(crate) fn decrypt(
        &mut self,
        transit: &Transit,
        texts: &[&str],
        deadline: &Deadline,
    ) -> Result<Vec<Secret>, BaoError> {
        let item = Item::Decrypt {
            mount: transit.mount.clone(),
            key: transit.key.clone(),
            batch: transit.batch,
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        };
        let asked = self.ask(Operation::Decrypt, deadline, Again::Yes, |release, until| {
            release.read(vec![item.clone()], until)
        })?;
        match asked.into_iter().next() {
            Some(Answer::Plain(plain)) if plain.len() == texts.len() => Ok(plain),
            Some(Answer::Refused(refused)) => Err(BaoError::of_bridge(*refused)),
            _ => Err(odd(Operation::Decrypt)),
        }
    }

    pub(crate) fn renew_lease(
        &mut self,
        lease: &Lease,
        deadline: &Deadline,
    ) -> Result<Lease, BaoError> {
        let id = lease.id.clone();
        let renewed = self.ask(Operation::RenewLease, deadline, Again::Yes, |release, until| {
            release.renew(Renewing::Lease(id.clone()), until)
        })?;
        Ok(lease_of(renewed.lease))
    }

    pub(crate) const fn leases_are_lost(&mut self) -> bool {
        std::mem::replace(&mut self.lost, false)
    }

    /// Has the bridge tell of new values; says of which paths it will.
    pub(crate) fn watch(&mut self, deadline: &Deadline) -> Result<Vec<String>, BaoError> {
        // Another session would have nothing to tell of: nothing was read in it.
        let asked = self.release.watch(patience(true, deadline));
        asked.map_err(|error| failed(Operation::Read, error))
    }

    /// Whether it does.
    pub(crate) const fn is_watching(&self) -> bool {
        self.release.is_watching()
    }

    /// Waits for so long, for what the bridge tells, or for somebody at `wake`.
    pub(crate) fn wait(
        &mut self,
        wake: BorrowedFd<'_>,
        time: Duration,
    ) -> Result<Waited, BaoError> {
        let waited = self.release.wait(wake, Until::after(time));
        waited.map_err(|error| failed(Operation::Read, error))
    }

    pub(crate) fn rest(&mut self, deadline: &Deadline) -> Result<(), BaoError> {
        let done = self.release.done(until(deadline));
        done.map_err(|error| failed(Operation::RenewToken, error))
    }

    pub(crate) fn leave(&mut self, deadline: &Deadline) -> Result<(), BaoError> {
        if !std::mem::replace(&mut self.entered, false) {
            return Ok(());
        }
        let left = self.release.leave(until(deadline));
        left.map_err(|error| failed(Operation::RenewToken, error))
    }

    /// Asks, with a login before it where there is none, and again where that can help.
    fn ask<T>(
        &mut self,
        operation: Operation,
        deadline: &Deadline,
        again: Again,
        mut ask: impl FnMut(&mut Release, Until) -> Result<T, AskError>,
    ) -> Result<T, BaoError> {
        let (mut tries, started) = (0_u32, Instant::now());
        let mut last = None;
        loop {
            tries = tries.saturating_add(1);
            let was_open = self.release.is_open();
            let (error, passing) = match self.enter(deadline) {
                Ok(()) => match ask(&mut self.release, patience(was_open, deadline)) {
                    Ok(answer) => return Ok(answer),
                    Err(error) => {
                        let stale = is_stale(&error);
                        if stale {
                            // The node signs anew for the next session; the login goes on.
                            self.release.drop_session();
                        }
                        let passing = stale || again == Again::Yes && is_passing(&error);
                        (failed(operation, error), passing)
                    }
                },
                Err((error, passing)) => (error, passing),
            };
            // A try that time ended is the consequence; what came before it is the cause.
            let error = match last.take() {
                Some(last) if deadline.remaining().is_zero() => last,
                _ => error,
            };
            let doubled = FIRST_BACKOFF.saturating_mul(1 << tries.min(10));
            let pause = RandomJitter.up_to(doubled.min(LONGEST_BACKOFF));
            if !passing || pause >= deadline.remaining() || !self.stop().sleep(pause) {
                return Err(error.tried(tries, started.elapsed()));
            }
            last = Some(error);
        }
    }

    /// Logs in where there is no session; an error, and whether it may pass.
    fn enter(&mut self, deadline: &Deadline) -> Result<(), (BaoError, bool)> {
        if self.release.is_open() {
            return Ok(());
        }
        // Read anew each time, since projected tokens change.
        let token = self.credential.read().map_err(|error| (error, false))?;
        let (role, statement) = (self.role.clone(), self.statement.clone());
        let login = Login { role, statement, token };
        match self.release.login(login, &self.node, until(deadline)) {
            Ok(LoggedIn { resumed, ttl_seconds, renewable }) => {
                self.lost |= self.entered && !resumed;
                self.entered = true;
                let ttl = Duration::from_secs(ttl_seconds);
                self.granted = Some(Granted { ttl, renewable });
                Ok(())
            }
            Err(error) => {
                let passing = is_passing(&error);
                Err((failed(Operation::Login, error), passing))
            }
        }
    }
}

/// Whether a question may be asked again whose answer was lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Again {
    /// Twice is as good as once.
    Yes,
    /// It may have been done.
    No,
}

/// Names are resolved as for OpenBao itself.
#[derive(Debug, Default)]
pub(crate) struct Names(Files);

impl Resolve for Names {
    fn addresses(&self, address: &str, within: Duration) -> io::Result<Vec<SocketAddr>> {
        let odd = || io::Error::new(io::ErrorKind::InvalidInput, "write host:port");
        let (host, port) = address.rsplit_once(':').ok_or_else(odd)?;
        let port = port.parse().ok().ok_or_else(odd)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let found = dns::resolve(&self.0, host, within).map_err(io::Error::other)?;
        Ok(found.into_iter().map(|ip: IpAddr| SocketAddr::new(ip, port)).collect())
    }
}

/// Whether the bridge wants a fresh statement of the node; nothing was done then.
fn is_stale(error: &AskError) -> bool {
    let AskError::Refused(refused) = error else { return false };
    matches!(refused.why, Why::Denied { denial: Denial::Stale, .. })
}

fn is_passing(error: &AskError) -> bool {
    match error {
        AskError::Refused(refused) => match &refused.why {
            Why::Away { .. } => true,
            Why::Denied { denial, .. } => denial.is_passing(),
            Why::Status { status, .. } => matches!(status, 412 | 429 | 500..),
            _ => false,
        },
        AskError::Road(error) => error.is_passing(),
        _ => false,
    }
}

fn failed(operation: Operation, error: AskError) -> BaoError {
    match error {
        AskError::Refused(refused) => BaoError::of_bridge(*refused),
        AskError::Road(error) => BaoError::of_road(operation, words(&error), error.blame()),
        other => BaoError::of_road(operation, Chain(&other).to_string(), Blame::Peer),
    }
}

fn words(error: &ClientError) -> String {
    Chain(error).to_string()
}

fn odd(operation: Operation) -> BaoError {
    let what = "the bridge answers something else than what it was asked";
    BaoError::of_road(operation, what.to_owned(), Blame::Peer)
}

fn until(deadline: &Deadline) -> Until {
    Until::after(deadline.remaining())
}

/// A session that was open for long may be one that nobody has told us is gone.
fn patience(was_open: bool, deadline: &Deadline) -> Until {
    let until = until(deadline);
    if was_open { until.or_after(OLD_SESSION_PATIENCE) } else { until }
}

fn item(source: &Source) -> Item {
    let path = source.path.as_str().to_owned();
    match &source.write {
        Some(body) => Item::Write { path, body: body.clone() },
        None => Item::Read { path, version: source.version },
    }
}

fn fields(answer: Answer) -> Result<Answered, BaoError> {
    match answer {
        Answer::Fields { json, lease, .. } => Ok(Answered { json, lease: lease.map(lease_of) }),
        Answer::Refused(refused) => Err(BaoError::of_bridge(*refused)),
        Answer::Plain(_) => Err(odd(Operation::Read)),
    }
}

fn lease_of(lease: release::Lease) -> Lease {
    let duration = Duration::from_secs(lease.ttl_seconds);
    Lease { id: lease.id, duration, renewable: lease.renewable }
}

/// SHA-256 of the file that this process executes.
fn own_digest() -> io::Result<String> {
    let digest = Digest::new().map_err(io::Error::other)?;
    let mut file = File::open("/proc/self/exe")?;
    Ok(HEXLOWER.encode(&digest.sha256_of(&mut file)?))
}
