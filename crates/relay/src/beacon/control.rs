//! One bridge's control connection.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use cloudtaser_tls::raw;
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{info, warn};

use super::{
    Shared,
    config::Bridges,
    metrics::{Kind, Refusal as Reason},
    pending::{Place, Seat},
    registry::Registry,
    session::{Proven, Session},
};
use crate::{
    control::{Control, DEAD_AFTER, PING_EVERY, leg_key},
    counted::Counted,
    proto::{
        frame::{BeaconToBridge, BridgeToBeacon, Refusal, SessionId, VERSION},
        rendezvous::{Epoch, RendezvousId},
        ticket::DayKey,
    },
};

const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);
/// Frames to a bridge that does not read.
const QUEUE_LEN: usize = 64;

type Stream = TlsStream<TcpStream>;

/// Serves the connection until it ends.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    shared: &Arc<Shared>,
    (seat, source): (Seat, Option<Place>),
) {
    let opened = tokio::select! {
        biased;
        opened = timeout(HANDSHAKE_PATIENCE, open(stream, shared)) => opened,
        () = seat.evicted() => return shared.metrics.refuse(Reason::Evicted),
    };
    drop((seat, source));
    let Ok(Ok((mut control, member, others, say))) = opened else {
        return shared.metrics.refuse(Reason::Control);
    };
    let session = &member.session;
    shared.metrics.accept(Kind::Control);
    shared.handshakes.remember(peer.ip());
    let counted = Counted::new(&shared.metrics.bridges);
    let from = shared.pseudonyms.of_address(peer.ip());
    info!(bridge = session.pseudonym, from, others, "bridge registered");
    let ended = carry(&mut control, session, say, shared).await;
    drop(counted);
    let why = ended.err().map(|error| error.kind().to_string());
    info!(bridge = session.pseudonym, why, "bridge gone");
}

type Opened<'a> = (Control<Stream>, Member<'a>, u16, mpsc::Receiver<BeaconToBridge>);

/// A session that is in the registry for as long as this is kept, however that ends.
struct Member<'a> {
    session: Arc<Session>,
    registry: &'a Registry,
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        self.registry.remove(&self.session);
    }
}

/// Handshake, first frame, and the session that comes of them.
async fn open(stream: TcpStream, shared: &Shared) -> io::Result<Opened<'_>> {
    let stream = TlsAcceptor::from(Arc::clone(&shared.control)).accept(stream).await?;
    let (_, connection) = stream.get_ref();
    let key = raw::peer_key(connection.peer_certificates()).ok_or(io::ErrorKind::InvalidData)?;
    let leg_key = leg_key(connection).map_err(io::Error::other)?;
    let mut control = Control::new(stream);
    let BridgeToBeacon::Register { version, epochs, .. } = control.next().await? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mut id = [0; 16];
    cloudtaser_tls::random(&mut id).map_err(io::Error::other)?;
    let (say, said) = mpsc::channel(QUEUE_LEN);
    let session = Arc::new(Session::new(Proven {
        id: SessionId(id),
        key,
        pseudonym: shared.pseudonyms.of(key.as_bytes()),
        leg_key,
        max_legs: shared.config.limits.legs_per_bridge,
        max_waiting: shared.config.limits.waiting_per_bridge,
        say,
    }));
    let welcome = match &shared.config.bridges {
        Bridges::Any => true,
        Bridges::Only(keys) => keys.contains(&key),
    };
    let others = match (welcome, version == VERSION) {
        (false, _) => Err(Refusal::NotAllowed),
        (true, false) => Err(Refusal::Version),
        (true, true) => shared.registry.add(&session).ok_or(Refusal::TooMany),
    };
    let others = match others {
        Ok(others) => others,
        Err(refusal) => {
            warn!(bridge = session.pseudonym, ?refusal, "bridge refused");
            control.send(&[BeaconToBridge::Refused(refusal)]).await?;
            return Err(io::ErrorKind::PermissionDenied.into());
        }
    };
    let member = Member { session, registry: &shared.registry };
    let session = &member.session;
    name(session, &epochs, shared);
    let max_legs = shared.config.limits.legs_per_bridge;
    let registered = BeaconToBridge::Registered { session: session.id, max_legs, others };
    control.send(&[registered]).await?;
    Ok((control, member, others, said))
}

/// SECURITY: names are made here, of the key that the handshake proved. A bridge only says for which
/// days, so there is no name that it could take from another.
fn name(session: &Arc<Session>, epochs: &[u32], shared: &Shared) {
    let ids = epochs.iter().map(|day| RendezvousId::new(shared.digest, &session.key, Epoch(*day)));
    shared.registry.rename(session, &ids.collect::<Vec<_>>());
}

async fn carry(
    control: &mut Control<Stream>,
    session: &Arc<Session>,
    mut say: mpsc::Receiver<BeaconToBridge>,
    shared: &Shared,
) -> io::Result<()> {
    let mut draining = shared.draining.subscribe();
    let mut ping = interval(PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            frame = control.next::<BridgeToBeacon>() => {
                heard = Instant::now();
                match frame? {
                    BridgeToBeacon::Credit { tunnels } => session.grant(tunnels),
                    BridgeToBeacon::DayKey { day, key } => {
                        session.set_day_key(day, DayKey::new(&key.0));
                    }
                    BridgeToBeacon::Deny { tag, seconds } => {
                        session.deny(tag, Duration::from_secs(seconds.into()));
                    }
                    BridgeToBeacon::Leave => return Ok(()),
                    BridgeToBeacon::Ping(echo) => control.send(&[BeaconToBridge::Pong(echo)]).await?,
                    BridgeToBeacon::Pong(_) => {}
                    BridgeToBeacon::Register { epochs, .. } => name(session, &epochs, shared),
                }
            }
            Some(frame) = say.recv() => control.send(&[frame]).await?,
            _ = ping.tick() => control.send(&[BeaconToBridge::Ping([0; 8])]).await?,
            () = sleep_until(heard + DEAD_AFTER) => return Err(io::ErrorKind::TimedOut.into()),
            away = sent_away(&mut draining) => {
                let left_seconds = shared.config.limits.drain_seconds.into();
                let max_ms = u32::try_from(away.as_millis()).unwrap_or(u32::MAX);
                let drain = BeaconToBridge::Drain { min_ms: 0, max_ms, left_seconds };
                control.send(&[drain]).await?;
                return Ok(());
            }
        }
    }
}

/// Waits until bridges are to go; for how long they are to stay away at most.
async fn sent_away(draining: &mut watch::Receiver<Option<Duration>>) -> Duration {
    match draining.wait_for(Option::is_some).await.map(|away| *away) {
        Ok(Some(away)) => away,
        _ => Duration::ZERO,
    }
}
