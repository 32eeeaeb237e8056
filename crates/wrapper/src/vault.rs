//! The resolver's view of OpenBao: one login, reads under one deadline, and memory of what must
//! not be asked twice.
//!
//! A rotation poll reads static secrets again. What has a side effect or a lease (a written
//! certificate, database credentials) is kept instead, until its lease says otherwise.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::BorrowedFd,
    time::Duration,
};

use cloudtaser_bao::{
    BaoError, Deadline, Lease, RandomJitter,
    renewal::{self, Grant, Next},
};
use cloudtaser_core::{
    Secret,
    level::Transport,
    plan::{Revoke, Transit},
    reference::Source,
    release::Recorded,
};
use cloudtaser_road::Waited;
use serde_json::{Map, Value};

use crate::{
    home::{Found, Granted, Home},
    resolve::Vault,
};

/// How long the end of a launch may wait for OpenBao to take a token back.
const REVOKE_WITHIN: Duration = Duration::from_secs(2);

/// OpenBao, logged in.
pub(crate) struct Bao {
    home: Home,
    granted: Granted,
    first_ttl: Duration,
    deadline: Deadline,
    revoke: Revoke,
    token_given: bool,
    kept: BTreeMap<Source, Kept>,
    plain: BTreeMap<String, Secret>,
    /// What is read again at each poll, as it may be another then.
    polled: BTreeSet<String>,
}

/// Of how much new values are told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Watched {
    /// Of all that may change.
    All,
    /// Of nothing.
    Nothing,
    /// Of a part.
    Some,
}

/// An answer that is not asked for again at each poll.
struct Kept {
    fields: Map<String, Value>,
    lease: Option<Lease>,
    first_ttl: Duration,
}

impl Bao {
    /// Logs in.
    pub(crate) fn login(
        mut home: Home,
        revoke: Revoke,
        within: Duration,
    ) -> Result<Self, BaoError> {
        let deadline = Deadline::after(within);
        let granted = home.login(&deadline)?;
        Ok(Self {
            home,
            granted,
            first_ttl: granted.ttl,
            deadline,
            revoke,
            token_given: false,
            kept: BTreeMap::new(),
            plain: BTreeMap::new(),
            polled: BTreeSet::new(),
        })
    }

    /// Starts a new deadline for what follows.
    pub(crate) fn within(&mut self, time: Duration) {
        self.deadline = Deadline::after(time);
    }

    /// The receipts of what was released until now.
    pub(crate) fn take_receipts(&mut self) -> Vec<Recorded> {
        self.home.take_receipts()
    }

    /// What the connection turned out to be worth: `best` is what the settings allow.
    pub(crate) fn transport(&self, best: Transport) -> Transport {
        self.home.transport(best)
    }

    /// Whether somebody outside this process holds the token: the app, or whoever gave it to us.
    pub(crate) fn token_is_shared(&self) -> bool {
        self.token_given || self.home.is_handed_over()
    }

    /// What the token needs next.
    pub(crate) fn token_next(&self) -> Next {
        next(self.granted.ttl, self.granted.renewable, self.first_ttl)
    }

    /// The sources whose answers have a lease.
    pub(crate) fn leased(&self) -> Vec<Source> {
        let leased = self.kept.iter().filter(|(_, kept)| kept.lease.is_some());
        leased.map(|(source, _)| source.clone()).collect()
    }

    /// What the lease of a source needs next.
    pub(crate) fn lease_next(&self, source: &Source) -> Next {
        match self.kept.get(source) {
            Some(Kept { lease: Some(lease), first_ttl, .. }) => {
                next(lease.duration, lease.renewable, *first_ttl)
            }
            _ => Next::Never,
        }
    }

    /// Renews the token.
    pub(crate) fn renew(&mut self) -> Result<(), BaoError> {
        self.granted = self.home.renew(&self.deadline)?;
        Ok(())
    }

    /// Logs in again, when the token cannot live longer.
    pub(crate) fn login_again(&mut self) -> Result<(), BaoError> {
        self.granted = self.home.login(&self.deadline)?;
        self.first_ttl = self.granted.ttl;
        Ok(())
    }

    /// Renews one lease.
    pub(crate) fn renew_lease(&mut self, source: &Source) -> Result<(), BaoError> {
        if let Some(kept) = self.kept.get_mut(source)
            && let Some(lease) = &kept.lease
        {
            kept.lease = Some(self.home.renew_lease(lease, &self.deadline)?);
        }
        Ok(())
    }

    /// Forgets an answer, so that the next pass asks anew.
    pub(crate) fn forget(&mut self, source: &Source) {
        self.kept.remove(source);
    }

    /// Forgets what was leased by a login that is no more, and says whether there was any.
    pub(crate) fn lost_leases(&mut self) -> bool {
        let before = self.kept.len();
        if self.home.leases_are_lost() {
            self.kept.retain(|_, kept| kept.lease.is_none());
        }
        self.kept.len() < before
    }

    /// Has new values told, where that can be had.
    pub(crate) fn watch(&mut self) -> Result<Watched, BaoError> {
        let paths = self.home.watch(&self.deadline)?;
        if paths.is_empty() {
            return Ok(Watched::Nothing);
        }
        let all = self.polled.iter().all(|path| paths.contains(path));
        Ok(if all { Watched::All } else { Watched::Some })
    }

    /// Whether new values are told at this moment.
    pub(crate) const fn is_watching(&self) -> bool {
        self.home.is_watching()
    }

    /// Waits for so long, for what is told, or for somebody at `wake`.
    pub(crate) fn wait(
        &mut self,
        wake: BorrowedFd<'_>,
        time: Duration,
    ) -> Result<Waited, BaoError> {
        self.home.wait(wake, time)
    }

    /// Gives leases and token back. A token that was handed to us is not ours to revoke; what was
    /// leased with it is.
    pub(crate) fn give_back(&mut self) -> Result<(), BaoError> {
        self.end(Home::give_back)
    }

    /// Gives back what is not needed while the app runs.
    pub(crate) fn rest(&mut self) -> Result<(), BaoError> {
        self.end(Home::rest)
    }

    /// Whether the end of the app has to be told also where nothing is left to renew.
    pub(crate) const fn waits_for_the_end(&self) -> bool {
        self.home.waits_for_the_end()
    }

    fn end(
        &mut self,
        end: fn(&mut Home, &[&Lease], &Deadline) -> Result<(), BaoError>,
    ) -> Result<(), BaoError> {
        self.deadline = Deadline::after(REVOKE_WITHIN);
        if self.revoke == Revoke::Never && !self.home.waits_for_the_end() {
            return Ok(());
        }
        let leases = self.kept.values().filter_map(|kept| kept.lease.as_ref()).collect::<Vec<_>>();
        end(&mut self.home, &leases, &self.deadline)
    }
}

fn next(ttl: Duration, renewable: bool, first_ttl: Duration) -> Next {
    renewal::next(&Grant { ttl, renewable, first_ttl }, &RandomJitter)
}

impl Vault for Bao {
    type Error = BaoError;

    fn prepare(&mut self, sources: &[&Source]) {
        let unknown = sources.iter().copied().filter(|source| !self.kept.contains_key(*source));
        self.home.prepare(&unknown.collect::<Vec<_>>(), &self.deadline);
    }

    fn read(&mut self, source: &Source) -> Result<Map<String, Value>, BaoError> {
        if let Some(kept) = self.kept.get(source) {
            return Ok(kept.fields.clone());
        }
        let Found { fields: object, lease } = self.home.read(source, &self.deadline)?;
        if lease.is_some() || source.write.is_some() {
            let first_ttl = lease.as_ref().map_or(Duration::ZERO, |lease| lease.duration);
            self.kept.insert(source.clone(), Kept { fields: object.clone(), lease, first_ttl });
        } else if source.version.is_none() {
            self.polled.insert(source.path.as_str().to_owned());
        }
        Ok(object)
    }

    fn decrypt(&mut self, transit: &Transit, texts: &[&str]) -> Result<Vec<Secret>, BaoError> {
        let unknown =
            texts.iter().copied().filter(|t| !self.plain.contains_key(*t)).collect::<Vec<_>>();
        if !unknown.is_empty() {
            let plain = self.home.decrypt(transit, &unknown, &self.deadline)?;
            self.plain.extend(unknown.into_iter().map(str::to_owned).zip(plain));
        }
        let known = texts.iter().map(|text| self.plain.get(*text).map_or(&[][..], Secret::expose));
        Ok(known.map(|bytes| Secret::new(bytes.to_vec())).collect())
    }

    fn token(&mut self) -> Option<Secret> {
        let token = self.home.token()?;
        self.token_given = true;
        Some(token)
    }

    fn is_missing(error: &BaoError) -> bool {
        error.is_missing()
    }
}
