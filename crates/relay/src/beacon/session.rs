//! One bridge's place at the beacon, where its legs and its clients meet; whichever comes first
//! waits. Of sockets only this is asked here: whether an idle leg is still alive.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use cloudtaser_tls::{Digest, MacKey, raw::PublicKey};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
};

use super::registry::lock;
use crate::{
    counted::Counted,
    proto::{
        credit::Credit,
        frame::{BeaconToBridge, SessionId},
        leg::{Preamble, Used},
        rendezvous::RendezvousId,
        ticket::{ClientTag, DayKey, Denied, Shown, Ticket, TicketName},
    },
};

/// Days of which a bridge may have keys here: yesterday, today, tomorrow, and one for a late clock.
const MAX_DAY_KEYS: usize = 4;
/// Clients that a bridge may deny at once.
const MAX_DENIED: usize = 4096;

/// One control connection of a bridge.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) key: PublicKey,
    /// For logs.
    pub(super) pseudonym: String,
    leg_key: MacKey,
    max_legs: usize,
    max_waiting: usize,
    say: mpsc::Sender<BeaconToBridge>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    credit: Credit,
    day_keys: BTreeMap<u32, DayKey>,
    denied: BTreeMap<ClientTag, Instant>,
    gone: bool,
    idle: VecDeque<Idle>,
    tunnels: BTreeMap<ClientTag, u32>,
    used: Used,
    waiting: VecDeque<oneshot::Sender<Idle>>,
}

/// A leg that nobody uses yet.
#[derive(Debug)]
pub(super) struct Idle {
    pub(super) stream: TcpStream,
    pub(super) counted: Counted,
}

/// The answer to a client that was let in.
#[derive(Debug)]
pub(super) enum Pairing {
    /// Here is a leg.
    Leg(Idle),
    /// As many wait as may.
    Full,
    /// The bridge was asked for one.
    Soon(oneshot::Receiver<Idle>),
}

/// Why a client is not let in, its ticket being true.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Barred {
    /// By its bridge, for a while.
    Denied,
    /// By the number in its ticket.
    Limit,
}

/// What a session is made of.
#[derive(Debug)]
pub(super) struct Proven {
    pub(super) id: SessionId,
    pub(super) key: PublicKey,
    pub(super) pseudonym: String,
    pub(super) leg_key: MacKey,
    pub(super) max_legs: u16,
    pub(super) max_waiting: usize,
    pub(super) say: mpsc::Sender<BeaconToBridge>,
}

impl Session {
    pub(super) fn new(proven: Proven) -> Self {
        Self {
            id: proven.id,
            key: proven.key,
            pseudonym: proven.pseudonym,
            leg_key: proven.leg_key,
            max_legs: proven.max_legs.into(),
            max_waiting: proven.max_waiting,
            say: proven.say,
            state: Mutex::default(),
        }
    }

    /// Looks whether a ticket is true for this bridge.
    pub(super) fn check(
        &self,
        digest: Digest,
        shown: &Shown,
        id: &RendezvousId,
        now: u64,
    ) -> Result<(Ticket, TicketName), Denied> {
        let state = lock(&self.state);
        let key = state.day_keys.get(&shown.day()).ok_or(Denied::Forged)?;
        shown.check(digest, key, id, now)
    }

    /// Counts a tunnel of this client in, where it may have one.
    pub(super) fn enter(self: &Arc<Self>, ticket: &Ticket) -> Result<Entered, Barred> {
        let mut state = lock(&self.state);
        let now = Instant::now();
        state.denied.retain(|_, until| *until > now);
        if state.denied.contains_key(&ticket.tag) {
            return Err(Barred::Denied);
        }
        let open = state.tunnels.entry(ticket.tag).or_default();
        if *open >= u32::from(ticket.max_tunnels) {
            return Err(Barred::Limit);
        }
        *open += 1;
        Ok(Entered { session: Arc::clone(self), tag: ticket.tag, credited: false })
    }

    /// Whether a client would be paired at once.
    pub(super) fn is_ready(&self) -> bool {
        let state = lock(&self.state);
        !state.gone && state.credit.is_left() && !state.idle.is_empty()
    }

    /// A leg for a client, at once or soon.
    fn pair(&self) -> (Pairing, bool) {
        let mut state = lock(&self.state);
        if state.gone {
            return (Pairing::Full, false);
        }
        if state.credit.is_left() {
            while let Some(idle) = state.idle.pop_front() {
                if is_alive(&idle.stream) {
                    return (Pairing::Leg(idle), state.credit.open());
                }
            }
        }
        state.waiting.retain(|waiting| !waiting.is_closed());
        if state.waiting.len() >= self.max_waiting {
            return (Pairing::Full, false);
        }
        let (give, take) = oneshot::channel();
        state.waiting.push_back(give);
        let ask = state.credit.is_left();
        drop(state);
        if ask {
            self.want(1);
        }
        (Pairing::Soon(take), false)
    }

    /// A leg has come; whether its preamble let it in.
    pub(super) fn offer(&self, digest: Digest, preamble: &Preamble, idle: Idle) -> bool {
        if !preamble.is_true(digest, &self.leg_key) {
            return false;
        }
        let mut state = lock(&self.state);
        if state.gone || !state.used.mark(preamble.counter) {
            return false;
        }
        if state.waiting.is_empty() && state.idle.len() >= self.max_legs {
            // Those that died in silence take the place of nobody.
            state.idle.retain(|idle| is_alive(&idle.stream));
            if state.idle.len() >= self.max_legs {
                return false;
            }
        }
        state.idle.push_back(idle);
        state.match_up();
        true
    }

    /// The bridge says how many tunnels it wants at once.
    pub(super) fn grant(&self, tunnels: u32) {
        let mut state = lock(&self.state);
        state.credit.grant(tunnels);
        state.match_up();
        let wanting = if state.credit.is_left() { state.waiting.len() } else { 0 };
        drop(state);
        if wanting > 0 {
            self.want(wanting);
        }
    }

    pub(super) fn set_day_key(&self, day: u32, key: DayKey) {
        let mut state = lock(&self.state);
        state.day_keys.insert(day, key);
        while state.day_keys.len() > MAX_DAY_KEYS {
            state.day_keys.pop_first();
        }
    }

    pub(super) fn deny(&self, tag: ClientTag, time: Duration) {
        let mut state = lock(&self.state);
        if state.denied.len() < MAX_DENIED
            && let Some(until) = Instant::now().checked_add(time)
        {
            state.denied.insert(tag, until);
        }
    }

    fn want(&self, legs: usize) {
        let legs = u16::try_from(legs).unwrap_or(u16::MAX);
        // A bridge that does not read gets no clients: they wait in vain and are closed.
        let _full = self.say.try_send(BeaconToBridge::Want { legs });
    }

    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.gone = true;
        state.idle.clear();
        state.waiting.clear();
    }
}

impl State {
    /// Gives legs to clients while there are both and there is credit.
    fn match_up(&mut self) {
        while self.credit.is_left() && !self.waiting.is_empty() {
            let Some(idle) = self.idle.pop_front() else { return };
            if !is_alive(&idle.stream) {
                continue;
            }
            let Some(waiting) = self.waiting.pop_front() else {
                self.idle.push_front(idle);
                return;
            };
            match waiting.send(idle) {
                Ok(()) => {
                    let _counted = self.credit.open();
                }
                Err(idle) => self.idle.push_front(idle),
            }
        }
    }
}

/// A client's tunnel, counted for as long as this is kept.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) session: Arc<Session>,
    tag: ClientTag,
    credited: bool,
}

impl Entered {
    /// The leg was dead: the next one is asked for.
    pub(super) fn retry(&mut self) {
        if std::mem::take(&mut self.credited) {
            lock(&self.session.state).credit.close();
        }
    }

    /// A leg for it.
    pub(super) async fn leg(&mut self, patience: Duration) -> Result<TcpStream, NoLeg> {
        let (pairing, credited) = self.session.pair();
        self.credited = credited;
        let idle = match pairing {
            Pairing::Leg(idle) => idle,
            Pairing::Full => return Err(NoLeg::Full),
            Pairing::Soon(mut soon) => {
                match tokio::time::timeout(patience, &mut soon).await {
                    Ok(Ok(idle)) => {
                        self.credited = true;
                        idle
                    }
                    Ok(Err(_bridge_gone)) => return Err(NoLeg::Gone),
                    Err(_late) => {
                        soon.close();
                        // It may have come in the very last moment.
                        self.credited = soon.try_recv().is_ok();
                        return Err(NoLeg::Late);
                    }
                }
            }
        };
        drop(idle.counted);
        Ok(idle.stream)
    }
}

/// Why there is no leg.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NoLeg {
    /// Too many wait.
    Full,
    /// The bridge went away.
    Gone,
    /// None came in time.
    Late,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut state = lock(&self.session.state);
        if self.credited {
            state.credit.close();
            state.match_up();
        }
        if let Some(open) = state.tunnels.get_mut(&self.tag) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                state.tunnels.remove(&self.tag);
            }
        }
    }
}

/// A leg on which nothing was said and nothing ended; the bridge has to wait for its turn.
fn is_alive(stream: &TcpStream) -> bool {
    let mut byte = [0];
    let read = stream.try_read(&mut byte);
    matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}
