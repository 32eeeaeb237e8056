//! Where secrets come from: OpenBao itself, or a bridge that stands before it. Either way the same
//! questions, the same errors and the same words.

use std::{os::fd::BorrowedFd, sync::Arc, time::Duration};

use cloudtaser_bao::{
    BaoError, Client, Deadline, Lease, Login, Method, Session, Stopper as ClientStopper, TransitKey,
};
use cloudtaser_core::{
    Secret, level::Transport, plan::Transit, reference::Source, release::Recorded,
};
use cloudtaser_road::{Stop, Waited};
use serde_json::{Map, Value};

use crate::bridge::Bridge;

/// Where secrets come from.
pub(crate) enum Home {
    /// A bridge, which logs in and reads for us.
    Bridge(Box<Bridge>),
    /// OpenBao.
    Direct(Box<Direct>),
}

/// OpenBao, asked by us.
pub(crate) struct Direct {
    client: Client,
    login: Login,
    session: Option<Session>,
}

/// Ends whatever is waited for, from another thread.
pub(crate) enum Stopper {
    /// At the bridge.
    Bridge(Arc<Stop>),
    /// At OpenBao.
    Direct(ClientStopper),
}

/// What a login is worth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granted {
    /// How long it lives.
    pub(crate) ttl: Duration,
    /// Whether it may be renewed.
    pub(crate) renewable: bool,
}

/// What a read gave.
pub(crate) struct Found {
    /// The fields.
    pub(crate) fields: Map<String, Value>,
    /// The lease.
    pub(crate) lease: Option<Lease>,
}

impl Stopper {
    pub(crate) fn stop(&self) {
        match self {
            Self::Bridge(stop) => stop.raise(),
            Self::Direct(stopper) => stopper.stop(),
        }
    }
}

impl Found {
    pub(crate) fn of(json: &Secret, lease: Option<Lease>) -> Self {
        let fields = match serde_json::from_slice(json.expose()) {
            Ok(Value::Object(object)) => object,
            // Both homes give nothing but objects.
            _ => Map::new(),
        };
        Self { fields, lease }
    }
}

impl Home {
    /// OpenBao itself, not asked yet.
    pub(crate) fn direct(client: Client, login: Login) -> Self {
        Self::Direct(Box::new(Direct { client, login, session: None }))
    }

    pub(crate) fn stopper(&self) -> Stopper {
        match self {
            Self::Bridge(bridge) => Stopper::Bridge(bridge.stop()),
            Self::Direct(direct) => Stopper::Direct(direct.client.stopper()),
        }
    }

    /// The receipts of what was released until now; OpenBao itself gives none.
    pub(crate) fn take_receipts(&mut self) -> Vec<Recorded> {
        match self {
            Self::Bridge(bridge) => bridge.take_receipts(),
            Self::Direct(_) => Vec::new(),
        }
    }

    /// What the connection turned out to be worth: `best` is what the settings allow.
    pub(crate) fn transport(&self, best: Transport) -> Transport {
        match (self, best) {
            (Self::Direct(direct), Transport::Tls) if direct.client.key_exchange_is_hybrid() => {
                Transport::Hybrid
            }
            (_, best) => best,
        }
    }

    pub(crate) fn login(&mut self, deadline: &Deadline) -> Result<Granted, BaoError> {
        match self {
            Self::Bridge(bridge) => bridge.login(deadline),
            Self::Direct(direct) => {
                let session = direct.client.login(&direct.login, deadline)?;
                Ok(direct.took(session))
            }
        }
    }

    pub(crate) fn renew(&mut self, deadline: &Deadline) -> Result<Granted, BaoError> {
        match self {
            Self::Bridge(bridge) => bridge.renew(deadline),
            Self::Direct(direct) => match &direct.session {
                Some(session) => {
                    let session = direct.client.renew_self(session, deadline)?;
                    Ok(direct.took(session))
                }
                None => self.login(deadline),
            },
        }
    }

    /// Reads several sources with as few questions as the home allows; `read` then has the answers.
    pub(crate) fn prepare(&mut self, sources: &[&Source], deadline: &Deadline) {
        if let Self::Bridge(bridge) = self {
            bridge.prepare(sources, deadline);
        }
    }

    pub(crate) fn read(&mut self, source: &Source, deadline: &Deadline) -> Result<Found, BaoError> {
        match self {
            Self::Bridge(bridge) => bridge.read(source, deadline),
            Self::Direct(direct) => {
                let (client, session) = direct.open(deadline)?;
                let answer = client.read(session, source, deadline)?;
                Ok(Found::of(answer.fields.json(), answer.lease))
            }
        }
    }

    pub(crate) fn decrypt(
        &mut self,
        transit: &Transit,
        texts: &[&str],
        deadline: &Deadline,
    ) -> Result<Vec<Secret>, BaoError> {
        match self {
            Self::Bridge(bridge) => bridge.decrypt(transit, texts, deadline),
            Self::Direct(direct) => {
                let key = TransitKey {
                    mount: transit.mount.clone(),
                    key: transit.key.clone(),
                    batch: usize::from(transit.batch),
                };
                let (client, session) = direct.open(deadline)?;
                client.transit_decrypt(session, &key, texts, deadline)
            }
        }
    }

    pub(crate) fn renew_lease(
        &mut self,
        lease: &Lease,
        deadline: &Deadline,
    ) -> Result<Lease, BaoError> {
        match self {
            Self::Bridge(bridge) => bridge.renew_lease(lease, deadline),
            Self::Direct(direct) => {
                let (client, session) = direct.open(deadline)?;
                client.renew_lease(session, lease, deadline)
            }
        }
    }

    /// Whether what was leased so far belongs to a login that is no more; told once.
    pub(crate) const fn leases_are_lost(&mut self) -> bool {
        match self {
            Self::Bridge(bridge) => bridge.leases_are_lost(),
            Self::Direct(_) => false,
        }
    }

    /// Has new values told, where that can be had; says of which paths.
    pub(crate) fn watch(&mut self, deadline: &Deadline) -> Result<Vec<String>, BaoError> {
        match self {
            Self::Bridge(bridge) => bridge.watch(deadline),
            Self::Direct(_) => Ok(Vec::new()),
        }
    }

    /// Whether they are told.
    pub(crate) const fn is_watching(&self) -> bool {
        match self {
            Self::Bridge(bridge) => bridge.is_watching(),
            Self::Direct(_) => false,
        }
    }

    /// Waits for so long, for what is told, or for somebody at `wake`; at once where nothing is told.
    pub(crate) fn wait(
        &mut self,
        wake: BorrowedFd<'_>,
        time: Duration,
    ) -> Result<Waited, BaoError> {
        match self {
            Self::Bridge(bridge) => bridge.wait(wake, time),
            Self::Direct(_) => Ok(Waited::Late),
        }
    }

    /// Gives back a login that is not needed while the app runs.
    pub(crate) fn rest(&mut self, leases: &[&Lease], deadline: &Deadline) -> Result<(), BaoError> {
        match self {
            Self::Bridge(bridge) => bridge.rest(deadline),
            Self::Direct(_) => self.give_back(leases, deadline),
        }
    }

    /// Gives back everything. A token that was handed to us is not ours to revoke; what was leased
    /// with it is.
    pub(crate) fn give_back(
        &mut self,
        leases: &[&Lease],
        deadline: &Deadline,
    ) -> Result<(), BaoError> {
        let handed_over = self.is_handed_over();
        match self {
            Self::Bridge(bridge) => bridge.leave(deadline),
            Self::Direct(direct) => {
                let Some(session) = &direct.session else { return Ok(()) };
                if handed_over {
                    let revoke =
                        |lease: &&Lease| direct.client.revoke_lease(session, lease, deadline);
                    return leases.iter().map(revoke).fold(Ok(()), Result::and);
                }
                // The leases of a token end with the token.
                direct.client.revoke_self(session, deadline)
            }
        }
    }

    /// Whether somebody has to be told when the app has ended, also where nothing is left to renew.
    pub(crate) const fn waits_for_the_end(&self) -> bool {
        matches!(self, Self::Bridge(_))
    }

    /// A copy of the token of the login; a bridge gives its own to nobody.
    pub(crate) fn token(&self) -> Option<Secret> {
        match self {
            Self::Bridge(_) => None,
            Self::Direct(direct) => {
                direct.session.as_ref().map(|s| Secret::new(s.token().expose().to_vec()))
            }
        }
    }

    /// Whether the token is somebody else's.
    pub(crate) const fn is_handed_over(&self) -> bool {
        match self {
            Self::Bridge(_) => false,
            Self::Direct(direct) => matches!(direct.login.method, Method::Token(_)),
        }
    }
}

impl Direct {
    fn open(&mut self, deadline: &Deadline) -> Result<(&Client, &Session), BaoError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.client.login(&self.login, deadline)?,
        };
        Ok((&self.client, self.session.insert(session)))
    }

    fn took(&mut self, session: Session) -> Granted {
        let granted = Granted { ttl: session.lease, renewable: session.renewable };
        self.session = Some(session);
        granted
    }
}
