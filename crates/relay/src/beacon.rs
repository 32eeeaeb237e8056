//! The beacon: joins two connections, and knows of them no more than it must.
//!
//! It reads the ClientHello of a session that it cannot open, looks whether the ticket in it is
//! true, and gives the connection to a leg of the bridge that is meant. Whoever is not let in gets
//! no byte and no reason.
//!
//! Invariant: no key in this process opens a tunnel. It has its own key, by which bridges know it,
//! the day's keys of tickets, and the keys of legs; with all of them one can make strangers knock
//! at a bridge, which refuses them.
//!
//! Reading order: [`config`], `accept` and `pending` (every connection), `control` (a bridge),
//! `registry` and `session` (who waits for whom), `tunnel` and `splice` (the way of bytes),
//! `handover` (one beacon after another), `metrics`.

pub mod config;

mod accept;
mod control;
mod handover;
mod handshakes;
mod metrics;
pub(crate) mod pending;
mod pseudonym;
mod registry;
mod replay;
mod session;
pub(crate) mod splice;
mod tunnel;

use std::{io, net::SocketAddr, os::fd::AsFd, pin::pin, sync::Arc, time::Duration};

use cloudtaser_tls::{Digest, TlsError, raw};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{Semaphore, watch},
    time::{Instant, sleep, timeout},
};
use tracing::{info, warn};

pub use self::handover::HandoverError;
use self::{
    accept::Door,
    config::Config,
    handover::{Hatch, Predecessor, Succession, Successor},
    handshakes::Handshakes,
    metrics::Metrics,
    pending::{Pending, Sources},
    pseudonym::Pseudonyms,
    registry::Registry,
    replay::Replay,
    splice::Pipes,
};
use crate::{admin, net, panics::vital, proto::frame};

const BACKLOG: u32 = 4096;
/// How often it is looked whether the beacon that was taken over has gone.
const ADMIN_PAUSE: Duration = Duration::from_millis(500);
/// Bridges that are proving their key, at most: each has some 20 KiB of a TLS handshake. With a
/// thousand that may begin in a second, one has a second before it can be driven out.
const MAX_PROVING: usize = 1024;
/// How long after a hand-over bridges may be on their way: as long as they are told to stay away,
/// and some time to dial and prove their keys.
const SETTLING: Duration = Duration::from_secs(8);
/// Bridges come back after a random time up to this when the beacon goes.
const AWAY_MAX: Duration = Duration::from_secs(5);
/// The same where another beacon is there for them already, for each of them: a core proves some
/// thousand keys in a second.
const AWAY_FOR_EACH: Duration = Duration::from_millis(1);

/// What keeps a beacon from starting or going on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BeaconError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The cryptography does not run here.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// One beacon cannot take another's place.
    #[error("no beacon can take another's place")]
    Handover(#[from] HandoverError),
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    config: Config,
    digest: Digest,
    control: Arc<rustls::ServerConfig>,
    metrics: Metrics,
    pipes: Pipes,
    pseudonyms: Pseudonyms,
    registry: Registry,
    replay: Replay,
    pending: Pending,
    /// Bridges that are proving their key.
    proving: Pending,
    handshakes: Handshakes,
    sources: Sources,
    tunnels: Arc<Semaphore>,
    succession: Succession,
    /// Until when bridges are on their way from the beacon that was here before.
    settled: Option<Instant>,
    /// How long bridges are to stay away, once they are sent away.
    draining: watch::Sender<Option<Duration>>,
}

/// A beacon that listens.
#[derive(Debug)]
pub struct Beacon {
    shared: Arc<Shared>,
    listener: TcpListener,
    /// Where clients come in, in the place of the other one, and which they are.
    clients: Option<(TcpListener, Door)>,
    admin: Option<TcpListener>,
    hatch: Option<Hatch>,
    predecessor: Option<Predecessor>,
}

/// The way of clients into a beacon of their own process.
#[derive(Clone, Debug)]
pub struct Entrance {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Entrance {
    /// Where to connect, on the loopback.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many bridges have dialled in.
    #[must_use]
    pub fn bridges(&self) -> usize {
        usize::try_from(self.shared.metrics.bridges.get()).unwrap_or(0)
    }

    /// The beacon's counts, as Prometheus reads them.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.shared.metrics.text()
    }
}

impl Beacon {
    /// Begins to listen; must be called within a runtime.
    ///
    /// # Errors
    /// [`BeaconError`], also where another listens there.
    pub fn bind(config: Config) -> Result<Self, BeaconError> {
        let listener = listen(config.listen, config.limits.socket_kib)?;
        let admin = config.admin.map(|admin| listen(admin, 0)).transpose()?;
        let hatch = config.handover_socket.as_deref().map(Hatch::open).transpose()?;
        let clients = config.clients.map(|clients| listen(clients, config.limits.socket_kib));
        let clients = clients.transpose()?.map(|clients| (clients, Door::Clients));
        let shared = Arc::new(Shared::new(config, None)?);
        Ok(Self { shared, listener, clients, admin, hatch, predecessor: None })
    }

    /// Takes the place of the beacon that is at this one's `handover_socket`: its listener, and all
    /// connections that are no tunnels yet. That one ends with its last tunnel. Where none is there
    /// this is [`Self::bind`].
    ///
    /// # Errors
    /// [`BeaconError`]; the other one goes on as before.
    pub async fn take_over(config: Config) -> Result<Self, BeaconError> {
        let found = match config.handover_socket.as_deref() {
            Some(path) => Predecessor::find(path).await?,
            None => None,
        };
        let Some((predecessor, listener)) = found else {
            info!("there is no beacon to take over from");
            return Self::bind(config);
        };
        let failed = |source| BeaconError::Listen { address: config.listen, source };
        let (wanted, found) = (config.listen, listener.local_addr().map_err(failed)?);
        if found != wanted {
            return Err(HandoverError::Address { found, wanted }.into());
        }
        tune(&listener, config.limits.socket_kib).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        // The other one still tells its own figures there: they must not be mixed with ours.
        let admin = config.admin.and_then(|admin| listen(admin, 0).ok());
        let path = config.handover_socket.clone();
        let shared = Arc::new(Shared::new(config, Some(Instant::now() + SETTLING))?);
        predecessor.retires().await?;
        let hatch = path.as_deref().map(Hatch::open).transpose()?;
        let predecessor = Some(predecessor);
        // Who has an address of their own for clients cannot have a socket for hand-overs.
        Ok(Self { shared, listener, clients: None, admin, hatch, predecessor })
    }

    /// Begins to listen for bridges alone. Clients, which are of this process, come by the entrance.
    ///
    /// # Errors
    /// [`BeaconError`].
    pub fn for_bridges(config: Config) -> Result<(Self, Entrance), BeaconError> {
        let mut beacon = Self::bind(config)?;
        let inside = listen(SocketAddr::from(([127, 0, 0, 1], 0)), 0)?;
        let failed = |source| BeaconError::Listen { address: beacon.shared.config.listen, source };
        let address = inside.local_addr().map_err(failed)?;
        beacon.clients = Some((inside, Door::Inside));
        let shared = Arc::clone(&beacon.shared);
        Ok((beacon, Entrance { address, shared }))
    }

    /// Where clients and bridges connect.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where clients connect, if that is a place of its own.
    #[must_use]
    pub fn clients_address(&self) -> Option<SocketAddr> {
        self.clients.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }

    /// Where metrics and health are asked for.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Serves until told to stop, or until another has taken this one's place; then nothing new is
    /// taken, bridges are sent away, and tunnels have a while to end.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let Self { shared, listener, clients, admin, mut hatch, predecessor } = self;
        let admin = tokio::spawn(vital(tell(admin, Arc::clone(&shared))));
        let door = if clients.is_some() { Door::Bridges } else { Door::Everybody };
        if let Some(predecessor) = predecessor {
            tokio::spawn(inherit(predecessor, door, Arc::clone(&shared)));
        }
        let mut stop = pin!(stop);
        let successor = loop {
            let asked = tokio::select! {
                () = accept::serve(&listener, door, &shared) => None,
                () = take_clients(clients.as_ref(), &shared) => None,
                asked = asked(hatch.as_ref(), &listener) => Some(asked),
                () = &mut stop => None,
            };
            let Some(successor) = asked else { break None };
            match successor.is_followed().await {
                Ok(()) => break Some(successor),
                Err(error) => warn!(error = %error, "the beacon that was to follow does not"),
            }
        };
        hatch.take();
        if let Some(successor) = successor {
            drop(listener);
            let given = successor.gets_all(&shared.succession).await;
            info!(given, "another beacon has taken this one's place");
            let bridges = u32::try_from(shared.metrics.bridges.get()).unwrap_or(u32::MAX);
            drain(&shared, AWAY_MAX.min(AWAY_FOR_EACH.saturating_mul(bridges))).await;
        } else {
            // Who has connected already is not to be turned away by the end of the listener.
            accept::the_rest(&listener, door, &shared).await;
            drop(listener);
            drain(&shared, AWAY_MAX).await;
        }
        admin.abort();
    }
}

/// The next one that is to follow this beacon.
async fn asked(hatch: Option<&Hatch>, listener: &TcpListener) -> Successor {
    match hatch {
        Some(hatch) => hatch.asked(listener.as_fd()).await,
        None => std::future::pending().await,
    }
}

/// Takes what the beacon that was here before has begun with.
async fn inherit(predecessor: Predecessor, door: Door, shared: Arc<Shared>) {
    let taken = async {
        predecessor.is_free().await?;
        let mut count = 0_u64;
        while let Some((stream, peer)) = predecessor.next().await? {
            accept::begin(stream, peer, door, &shared);
            count += 1;
        }
        Ok::<_, io::Error>(count)
    };
    match taken.await {
        Ok(count) => info!(count, "this beacon has taken another's place"),
        Err(error) => warn!(error = %error, "the beacon that was here before has gone too early"),
    }
}

/// Takes those who come where clients do, where that is a place of its own.
async fn take_clients(clients: Option<&(TcpListener, Door)>, shared: &Arc<Shared>) {
    match clients {
        Some((listener, door)) => accept::serve(listener, *door, shared).await,
        None => std::future::pending().await,
    }
}

/// Metrics and health, as soon as nobody else tells his at that address.
async fn tell(admin: Option<TcpListener>, shared: Arc<Shared>) {
    let Some(address) = shared.config.admin else { return };
    let mut bound = admin;
    let listener = loop {
        if let Some(listener) = bound {
            break listener;
        }
        sleep(ADMIN_PAUSE).await;
        bound = listen(address, 0).ok();
    };
    admin::serve(listener, move |path| match path {
        b"/metrics" => admin::good(shared.metrics.text()),
        b"/readyz" if shared.draining.borrow().is_some() => admin::unready("draining\n"),
        b"/healthz" | b"/readyz" => admin::good("ok\n".to_owned()),
        _ => admin::unknown(),
    })
    .await;
}

async fn drain(shared: &Shared, away: Duration) {
    let patience = Duration::from_secs(shared.config.limits.drain_seconds.into());
    let open = shared.open_tunnels();
    info!(tunnels = open, seconds = patience.as_secs(), "draining");
    shared.draining.send_replace(Some(away));
    let all = u32::try_from(shared.config.limits.tunnels).unwrap_or(u32::MAX);
    let ended = timeout(patience, shared.tunnels.acquire_many(all)).await;
    match ended {
        Ok(_) => info!("drained"),
        Err(_late) => warn!(tunnels = shared.open_tunnels(), "tunnels are cut"),
    }
}

impl Shared {
    fn new(config: Config, settled: Option<Instant>) -> Result<Self, BeaconError> {
        let control = raw::server_config(&config.key, raw::Peers::AnyKey, &[frame::PROTOCOL])?;
        Ok(Self {
            digest: Digest::new()?,
            control: Arc::new(control),
            metrics: Metrics::default(),
            pipes: Pipes::default(),
            pseudonyms: Pseudonyms::new()?,
            registry: Registry::new(config.limits.bridges, config.limits.bridges_per_key),
            replay: Replay::default(),
            pending: Pending::new(config.limits.pending),
            proving: Pending::new(config.limits.pending.min(MAX_PROVING)),
            handshakes: Handshakes::new(config.limits.threads),
            sources: Sources::new(config.limits.pending_per_source),
            tunnels: Arc::new(Semaphore::new(config.limits.tunnels)),
            succession: Succession::new(),
            settled,
            draining: watch::Sender::new(None),
            config,
        })
    }

    /// Whether bridges may be on their way from the beacon that was here before.
    fn is_settling(&self) -> bool {
        self.settled.is_some_and(|settled| Instant::now() < settled)
    }

    fn open_tunnels(&self) -> usize {
        self.config.limits.tunnels.saturating_sub(self.tunnels.available_permits())
    }
}

fn listen(address: SocketAddr, socket_kib: u32) -> Result<TcpListener, BeaconError> {
    let failed = |source| BeaconError::Listen { address, source };
    let made = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        tune(&socket, socket_kib)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    made().map_err(failed)
}

/// SECURITY: buffers are bounded here, for the kernel lets those of one connection whose reader is
/// slow grow to many megabytes. Connections inherit them, early enough for the window's scale.
fn tune(listener: &impl AsFd, socket_kib: u32) -> io::Result<()> {
    net::prepare(listener)?;
    if socket_kib > 0 {
        let bytes =
            usize::try_from(socket_kib).map_or(usize::MAX, |kib| kib.saturating_mul(1 << 10));
        setsockopt(listener, sockopt::RcvBuf, &bytes)?;
        setsockopt(listener, sockopt::SndBuf, &bytes)?;
    }
    Ok(())
}
