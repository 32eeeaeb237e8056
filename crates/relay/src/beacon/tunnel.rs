//! A client: from its hello to the end of its tunnel.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep},
};
use tracing::info;

use super::{
    Shared,
    accept::Places,
    handover::{Heir, Undecided},
    metrics::{Kind, Refusal, Way},
    session::{Barred, Entered, NoLeg},
    splice::{self, Joined, Limits, Moved},
};
use crate::{
    clock::unix_seconds,
    counted::Counted,
    net,
    proto::{
        hello::{Hello, MAX_LEN},
        leg::{GO_LEN, Go},
        rendezvous::RendezvousId,
        ticket::{ClientTag, Denied, Shown, Ticket},
    },
};

/// Legs that turned out dead before one client is turned away.
const TRIES: u32 = 3;
/// How often it is looked whether a bridge has come, where bridges are on their way.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Carries the client, or closes the connection without a byte.
pub(super) async fn serve(
    (stream, peer): (TcpStream, SocketAddr),
    hello: Hello,
    places: Places,
    shared: &Arc<Shared>,
) {
    let Places { seat, source, mut undecided } = places;
    let admitted = tokio::select! {
        biased;
        admitted = admitted(&hello, shared) => admitted,
        () = seat.evicted() => return shared.metrics.refuse(Refusal::Evicted),
        heir = undecided.heir() => return heir.gets(stream).await,
    };
    // An idle tunnel is to be small.
    drop((hello, seat, source));
    let (entered, ticket) = match admitted {
        Ok(admitted) => admitted,
        Err(reason) => return shared.metrics.refuse(reason),
    };
    let Ok(place) = Arc::clone(&shared.tunnels).try_acquire_owned() else {
        return shared.metrics.refuse(Refusal::BeaconLimit);
    };
    let mut tunnel = [0; 16];
    if cloudtaser_tls::random(&mut tunnel).is_err() {
        return shared.metrics.refuse(Refusal::BeaconLimit);
    }
    let go = Go { tunnel, tag: ticket.tag, client: peer };
    let begun = match leg(entered, &go, (&stream, &mut undecided), shared).await {
        Ok(begun) => begun,
        Err(NoTunnel::Refused(reason)) => return shared.metrics.refuse(reason),
        Err(NoTunnel::Inherited(heir)) => return heir.gets(stream).await,
    };
    // A task of its own: what was needed to come here is given up, and idle tunnels are many.
    let Begun { entered, leg, taken, first } = begun;
    let who = Who { tag: go.tag, address: go.client.ip() };
    let joined = ([stream, leg], taken, first);
    tokio::spawn(carry(joined, entered, who, place, Arc::clone(shared)));
}

/// Why a client that was let in has no tunnel here.
enum NoTunnel {
    Inherited(Heir),
    Refused(Refusal),
}

/// A tunnel whose bridge has heard of it.
struct Begun {
    entered: Entered,
    leg: TcpStream,
    /// Bytes that were taken of the client.
    taken: u64,
    /// Those of them that the leg did not take.
    first: Vec<u8>,
}

/// What a line of a log says of a client.
struct Who {
    tag: ClientTag,
    address: IpAddr,
}

/// Whether the hello lets its sender in. A beacon that has just taken another's place knows no bridge
/// yet: they are on their way, and until then nobody is turned away for one that is missing.
async fn admitted(hello: &Hello, shared: &Shared) -> Result<(Entered, Ticket), Refusal> {
    loop {
        match admit(hello, shared) {
            Err(Refusal::Name | Refusal::Ticket) if shared.is_settling() => sleep(LOOK_EVERY).await,
            done => return done,
        }
    }
}

/// Whether the hello lets its sender in. Nothing is asked of anybody: all of it is here.
fn admit(hello: &Hello, shared: &Shared) -> Result<(Entered, Ticket), Refusal> {
    let name = hello.server_name.as_deref().ok_or(Refusal::Name)?;
    let id = RendezvousId::of_server_name(name).ok_or(Refusal::Name)?;
    let ticket = Shown::among(&hello.protocols).ok_or(Refusal::Ticket)?;
    let sessions = shared.registry.of_name(&id);
    let mut refused = Refusal::Name;
    let now = unix_seconds();
    let checked = sessions.iter().find_map(|session| {
        let checked = session.check(shared.digest, &ticket, &id, now);
        checked.inspect_err(|denied| refused = (*denied).into()).ok()
    });
    let (ticket, used) = checked.ok_or(refused)?;
    // Said only to those with a true ticket, for whom it is a fault of their program.
    if !hello.hybrid {
        return Err(Refusal::Classical);
    }
    if !shared.replay.is_new(used, now) {
        return Err(Refusal::Replay);
    }
    let ready = sessions.iter().find(|session| session.is_ready());
    let session = ready.or_else(|| sessions.first()).ok_or(Refusal::Name)?;
    let entered = session.enter(&ticket).map_err(|barred| match barred {
        Barred::Denied => Refusal::Denied,
        Barred::Limit => Refusal::ClientLimit,
    })?;
    Ok((entered, ticket))
}

impl From<NoLeg> for Refusal {
    fn from(none: NoLeg) -> Self {
        match none {
            NoLeg::Full => Self::BridgeLimit,
            NoLeg::Gone | NoLeg::Late => Self::NoLeg,
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Forged => Self::Ticket,
            Denied::Stale => Self::Stale,
        }
    }
}

/// A leg that has heard of the client, and has its hello behind that in the same segment: one call,
/// and one wake-up at the bridge.
async fn leg(
    mut entered: Entered,
    go: &Go,
    (client, undecided): (&TcpStream, &mut Undecided),
    shared: &Shared,
) -> Result<Begun, NoTunnel> {
    let patience = Duration::from_secs(shared.config.limits.pairing_seconds.into());
    let deadline = Instant::now() + patience;
    let mut first = Vec::new();
    for _ in 0..TRIES {
        let left = deadline.saturating_duration_since(Instant::now());
        let leg = tokio::select! {
            biased;
            leg = entered.leg(left) => leg.map_err(|none| NoTunnel::Refused(none.into()))?,
            // Not when some of it was taken.
            heir = undecided.heir(), if first.is_empty() => return Err(NoTunnel::Inherited(heir)),
        };
        if first.is_empty() {
            first = beginning(go, client);
        }
        // On the leg nothing was sent, so all that fits into a buffer is taken at once.
        match leg.try_write(&first) {
            Ok(sent) if sent >= GO_LEN => {
                let taken = first.len().saturating_sub(GO_LEN) as u64;
                return Ok(Begun { entered, leg, taken, first: first.split_off(sent) });
            }
            _ => entered.retry(),
        }
    }
    Err(NoTunnel::Refused(Refusal::NoLeg))
}

/// What the bridge is told, and what the client has said by now: its hello was seen before.
fn beginning(go: &Go, client: &TcpStream) -> Vec<u8> {
    let mut first = vec![0; GO_LEN + MAX_LEN];
    let (head, hello) = first.split_at_mut(GO_LEN);
    head.copy_from_slice(&go.encode());
    // Where the client is gone its tunnel ends at once, as one does that ends later.
    let len = net::read(client, hello).unwrap_or(0);
    first.truncate(GO_LEN + len);
    first
}

async fn carry(
    ([client, leg], taken, first): ([TcpStream; 2], u64, Vec<u8>),
    entered: Entered,
    who: Who,
    place: OwnedSemaphorePermit,
    shared: Arc<Shared>,
) {
    shared.metrics.accept(Kind::Tunnel);
    let counted = Counted::new(&shared.metrics.tunnels);
    let began = Instant::now();
    let (up, down) = (Moved::after(taken), Moved::default());
    let limits = Limits {
        half_open: Duration::from_secs(shared.config.limits.half_open_seconds.into()),
        age: Duration::from_secs(shared.config.limits.tunnel_seconds.into()),
    };
    let joined = Joined { client: &client, leg: &leg, first };
    let end = splice::relay(joined, &shared.pipes, (&up, &down), limits).await;
    let sum = |moved: &Moved| {
        let copied = moved.copied.load(Ordering::Relaxed);
        let spliced = moved.spliced.load(Ordering::Relaxed);
        shared.metrics.move_bytes(Way::Copied, copied);
        shared.metrics.move_bytes(Way::Spliced, spliced);
        copied + spliced
    };
    let (up_bytes, down_bytes) = (sum(&up), sum(&down));
    drop(counted);
    info!(
        bridge = entered.session.pseudonym,
        client = shared.pseudonyms.of(&who.tag.0),
        from = shared.pseudonyms.of_address(who.address),
        up_bytes,
        down_bytes,
        seconds = began.elapsed().as_secs(),
        ?end,
        "tunnel ended"
    );
    // A drain waits for this, so that no line is lost.
    drop(place);
}
