//! One beacon: a control connection that is made again whenever it ends, and the idle legs of it.

use std::{io, sync::Arc, sync::atomic::AtomicU64, time::Duration};

use cloudtaser_tls::raw;
use rustls::pki_types::ServerName;
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tracing::{info, warn};

use super::{
    Shared,
    leg::{self, Leg, Outcome},
    strikes::Strikes,
};
use crate::{
    backoff::{Backoff, between},
    clock::unix_seconds,
    control::{Control, DEAD_AFTER, PING_EVERY, leg_key, told},
    net,
    proto::{
        frame::{self, BeaconToBridge, BridgeToBeacon, KeyBytes, VERSION},
        rendezvous::Epoch,
        ticket::ClientTag,
    },
};

const DIAL_PATIENCE: Duration = Duration::from_secs(5);
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether a day has begun.
const DAY_CHECK_EVERY: Duration = Duration::from_secs(600);
/// How long a client is turned away whose sessions fail.
const DENIED_SECONDS: u32 = 60;
const DENIED_QUEUE_LEN: usize = 16;
/// SECURITY: a beacon that sends us away at once, again and again, is not to have us dial and prove
/// our key without a pause.
const LEAST_AWAY: Duration = Duration::from_millis(50);
/// Legs that are dialled at once at most, whatever the beacon says.
const MAX_DIALLING: usize = 128;

type Stream = Control<TlsStream<TcpStream>>;

/// Keeps a control connection to one beacon until told to stop.
pub(super) async fn serve(index: usize, shared: Arc<Shared>) {
    let mut backoff = Backoff::default();
    let mut stopping = shared.stopping.subscribe();
    // SECURITY: of one connection at most, or a beacon that sends us away again and again would have
    // us keep more and more of them.
    let mut last_legs = JoinSet::<Outcome>::new();
    loop {
        let began = std::time::Instant::now();
        let Some(beacon) = shared.config.beacons.get(index) else { return };
        let end = tokio::select! {
            end = session(index, &shared, stopping.clone()) => end,
            // Only while there is no connection: one that stands says goodbye first.
            () = told(&mut stopping) => return,
        };
        let pause = match end {
            Ok(End::Stopped) => return,
            Ok(End::Drained(pause, legs)) => {
                last_legs.abort_all();
                last_legs = legs;
                pause.max(LEAST_AWAY)
            }
            Err(error) => {
                let pause = backoff.after(began);
                warn!(
                    beacon = beacon.address,
                    error = format!("{error:#}"),
                    again_in_ms = pause.as_millis(),
                    "no connection to the beacon"
                );
                pause
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = told(&mut stopping) => return,
        }
    }
}

enum End {
    /// For how long to stay away, and the legs: on one of them a client may have arrived in the same
    /// moment. The beacon closes the others.
    Drained(Duration, JoinSet<Outcome>),
    Stopped,
}

async fn session(
    index: usize,
    shared: &Arc<Shared>,
    stopping: watch::Receiver<bool>,
) -> anyhow::Result<End> {
    let (deny, denied) = mpsc::channel(DENIED_QUEUE_LEN);
    let (mut control, leg) = register(index, shared, deny).await?;
    let (leg, dialling) = (Arc::new(leg), JoinSet::new());
    let mut legs = Legs { leg, dialling, denied, backoff: Backoff::default() };
    for _ in 0..shared.config.legs.min(legs.leg.max_legs) {
        legs.dial(Duration::ZERO);
    }
    carry(&mut control, &mut legs, shared, stopping).await
}

/// Dials, proves the key, and says what this bridge is.
async fn register(
    index: usize,
    shared: &Arc<Shared>,
    deny: mpsc::Sender<ClientTag>,
) -> anyhow::Result<(Stream, Leg)> {
    let none = || io::Error::from(io::ErrorKind::NotFound);
    let beacon = shared.config.beacons.get(index).ok_or_else(none)?;
    let key = beacon.key.as_deref().ok_or_else(none)?.parse()?;
    let mut config = raw::client_config(&shared.config.key, key)?;
    config.alpn_protocols = vec![frame::PROTOCOL.to_vec()];
    let name = ServerName::try_from(format!("{}.{}", frame::LABEL, beacon.domain()))?;
    let stream = net::dial(&beacon.address, DIAL_PATIENCE).await?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let stream = timeout(HANDSHAKE_PATIENCE, stream).await??;
    let leg_key = leg_key(stream.get_ref().1)?;
    let mut control = Control::new(stream);
    control.send(&introduction(shared)).await?;
    let answer = timeout(HANDSHAKE_PATIENCE, control.next::<BeaconToBridge>()).await??;
    let (session, max_legs, others) = match answer {
        BeaconToBridge::Registered { session, max_legs, others } => (session, max_legs, others),
        BeaconToBridge::Refused(refusal) => anyhow::bail!("the beacon refuses: {refusal}"),
        _ => anyhow::bail!("the beacon does not follow the protocol"),
    };
    if others > 0 {
        warn!(beacon = beacon.address, others, "others have proved this bridge's key there");
    }
    info!(beacon = beacon.address, "registered");
    let counter = AtomicU64::new(0);
    let strikes = Strikes::new(deny);
    let (shared, address) = (Arc::clone(shared), beacon.address.clone());
    let leg = Leg { shared, address, session, key: leg_key, counter, max_legs, strikes };
    Ok((control, leg))
}

/// Names and keys of yesterday, today and tomorrow, and how much is borne.
fn introduction(shared: &Shared) -> Vec<BridgeToBeacon> {
    let days = Epoch::of(unix_seconds()).with_neighbours();
    let epochs = days.iter().map(|day| day.0).collect();
    let legs = shared.config.legs;
    let mut frames = vec![BridgeToBeacon::Register { version: VERSION, legs, epochs }];
    frames.extend(days.iter().map(|day| BridgeToBeacon::DayKey {
        day: day.0,
        key: KeyBytes(shared.config.tickets.day(shared.digest, day.0).expose()),
    }));
    frames.push(BridgeToBeacon::Credit { tunnels: shared.config.max_sessions.into() });
    frames
}

async fn carry(
    control: &mut Stream,
    legs: &mut Legs,
    shared: &Shared,
    mut stopping: watch::Receiver<bool>,
) -> anyhow::Result<End> {
    let mut ping = interval(PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut day_check = interval(DAY_CHECK_EVERY);
    let mut today = Epoch::of(unix_seconds());
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            frame = control.next::<BeaconToBridge>() => {
                heard = Instant::now();
                match frame? {
                    BeaconToBridge::Want { legs: more } => {
                        let room = MAX_DIALLING.saturating_sub(legs.dialling.len());
                        for _ in 0..usize::from(more).min(room) {
                            legs.dial(Duration::ZERO);
                        }
                    }
                    BeaconToBridge::Ping(echo) => control.send(&[BridgeToBeacon::Pong(echo)]).await?,
                    BeaconToBridge::Drain { min_ms, max_ms, .. } => {
                        info!("the beacon goes and sends us away");
                        let time = |ms: u32| Duration::from_millis(ms.into());
                        let away = between(time(min_ms), time(max_ms).min(DEAD_AFTER));
                        return Ok(End::Drained(away, std::mem::take(&mut legs.dialling)));
                    }
                    BeaconToBridge::Refused(refusal) => anyhow::bail!("the beacon refuses: {refusal}"),
                    BeaconToBridge::Pong(_) | BeaconToBridge::Registered { .. } => {}
                }
            }
            Some(outcome) = legs.dialling.join_next() => {
                legs.ended(outcome.unwrap_or(Outcome::Failed), shared);
            }
            Some(tag) = legs.denied.recv() => {
                warn!(%tag, "denied for a while: its sessions fail");
                let seconds = DENIED_SECONDS;
                control.send(&[BridgeToBeacon::Deny { tag, seconds }]).await?;
            }
            _ = ping.tick() => control.send(&[BridgeToBeacon::Ping([0; 8])]).await?,
            _ = day_check.tick() => {
                let day = Epoch::of(unix_seconds());
                if day != today {
                    today = day;
                    control.send(&introduction(shared)).await?;
                }
            }
            () = sleep_until(heard + DEAD_AFTER) => anyhow::bail!("the beacon is silent"),
            () = told(&mut stopping) => {
                control.send(&[BridgeToBeacon::Leave]).await?;
                return Ok(End::Stopped);
            }
        }
    }
}

/// The legs on which nobody has arrived. They end with the control connection that they belong to;
/// sessions do not.
struct Legs {
    leg: Arc<Leg>,
    dialling: JoinSet<Outcome>,
    denied: mpsc::Receiver<ClientTag>,
    backoff: Backoff,
}

impl Legs {
    fn dial(&mut self, pause: Duration) {
        self.dialling.spawn(leg::wait(Arc::clone(&self.leg), pause));
    }

    /// Replaces a leg that is no longer idle.
    fn ended(&mut self, outcome: Outcome, shared: &Shared) {
        let enough = self.dialling.len() >= shared.config.legs.min(self.leg.max_legs).into();
        match outcome {
            Outcome::Paired => {
                self.backoff = Backoff::default();
                if !enough {
                    self.dial(Duration::ZERO);
                }
            }
            Outcome::Failed if !enough => {
                let pause = self.backoff.next();
                self.dial(pause);
            }
            Outcome::Failed => {}
        }
    }
}
