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
//! Reading order: [`config`], `accept` (every connection), `control` (a bridge), `registry` and
//! `session` (who waits for whom), `tunnel` and `splice` (the way of bytes), `metrics`.

pub mod config;

mod accept;
mod control;
mod metrics;
mod pseudonym;
mod registry;
mod replay;
mod session;
pub(crate) mod splice;
mod tunnel;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use cloudtaser_tls::{Digest, TlsError, raw};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tracing::{info, warn};

use self::{
    accept::Door, config::Config, metrics::Metrics, pseudonym::Pseudonyms, registry::Registry,
    replay::Replay, splice::Pipes,
};
use crate::{admin, net, panics::vital, proto::frame};

const BACKLOG: u32 = 4096;
/// How often it is looked whether the beacon that was taken over has gone.
const ADMIN_PAUSE: Duration = Duration::from_millis(500);

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
    pending: accept::Pending,
    /// Bridges that are proving their key.
    handshakes: Arc<Semaphore>,
    sources: accept::Sources,
    tunnels: Arc<Semaphore>,
    draining: watch::Sender<bool>,
}

/// A beacon that listens.
#[derive(Debug)]
pub struct Beacon {
    shared: Arc<Shared>,
    listener: TcpListener,
    /// Where clients come in, in the place of the other one.
    inside: Option<TcpListener>,
    admin: Option<TcpListener>,
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
        for address in [Some(config.listen), config.admin].into_iter().flatten() {
            nobody_listens(address)?;
        }
        Self::take_over(config)
    }

    /// Begins to listen beside another beacon of the same user, which is to be stopped then: it
    /// takes nothing new, and its tunnels go on for as long as it gives them.
    ///
    /// # Errors
    /// [`BeaconError`].
    pub fn take_over(config: Config) -> Result<Self, BeaconError> {
        let control = raw::server_config(&config.key, raw::Peers::AnyKey, &[frame::PROTOCOL])?;
        let listener = listen(config.listen, config.limits.socket_kib)?;
        // The other one still tells its own figures there: they must not be mixed with ours.
        let admin = config.admin.filter(|admin| nobody_listens(*admin).is_ok());
        let admin = admin.map(|admin| listen(admin, 0)).transpose()?;
        let shared = Shared {
            digest: Digest::new()?,
            control: Arc::new(control),
            metrics: Metrics::default(),
            pipes: Pipes::default(),
            pseudonyms: Pseudonyms::new()?,
            registry: Registry::new(config.limits.bridges, config.limits.bridges_per_key),
            replay: Replay::default(),
            pending: accept::Pending::new(config.limits.pending),
            handshakes: Arc::new(Semaphore::new(config.limits.pending)),
            sources: accept::Sources::new(config.limits.pending_per_source),
            tunnels: Arc::new(Semaphore::new(config.limits.tunnels)),
            draining: watch::Sender::new(false),
            config,
        };
        Ok(Self { shared: Arc::new(shared), listener, inside: None, admin })
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
        beacon.inside = Some(inside);
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

    /// Where metrics and health are asked for.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Serves until told to stop; then nothing new is taken, bridges are sent away, and tunnels
    /// have a while to end.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let Self { shared, listener, inside, admin } = self;
        let admin = tokio::spawn(vital(tell(admin, Arc::clone(&shared))));
        let door = if inside.is_some() { Door::Bridges } else { Door::Everybody };
        tokio::select! {
            () = accept::serve(&listener, door, &shared) => {}
            () = clients(inside.as_ref(), &shared) => {}
            () = stop => {}
        }
        // Who has connected already is not to be turned away by the end of the listener.
        accept::the_rest(&listener, door, &shared).await;
        drop(listener);
        drain(&shared).await;
        admin.abort();
    }
}

/// Takes those who come by the entrance, where there is one.
async fn clients(inside: Option<&TcpListener>, shared: &Arc<Shared>) {
    match inside {
        Some(inside) => accept::serve(inside, Door::Clients, shared).await,
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
        bound = nobody_listens(address).and_then(|()| listen(address, 0)).ok();
    };
    admin::serve(listener, move |path| match path {
        b"/metrics" => admin::good(shared.metrics.text()),
        b"/readyz" if *shared.draining.borrow() => admin::unready("draining\n"),
        b"/healthz" | b"/readyz" => admin::good("ok\n".to_owned()),
        _ => admin::unknown(),
    })
    .await;
}

async fn drain(shared: &Shared) {
    let patience = Duration::from_secs(shared.config.limits.drain_seconds.into());
    let open = shared.open_tunnels();
    info!(tunnels = open, seconds = patience.as_secs(), "draining");
    shared.draining.send_replace(true);
    let all = u32::try_from(shared.config.limits.tunnels).unwrap_or(u32::MAX);
    let ended = timeout(patience, shared.tunnels.acquire_many(all)).await;
    match ended {
        Ok(_) => info!("drained"),
        Err(_late) => warn!(tunnels = shared.open_tunnels(), "tunnels are cut"),
    }
}

impl Shared {
    fn open_tunnels(&self) -> usize {
        self.config.limits.tunnels.saturating_sub(self.tunnels.available_permits())
    }
}

/// SECURITY: buffers are bounded here, for the kernel lets those of one connection whose reader is
/// slow grow to many megabytes. Connections inherit them, early enough for the window's scale.
fn listen(address: SocketAddr, socket_kib: u32) -> Result<TcpListener, BeaconError> {
    let failed = |source| BeaconError::Listen { address, source };
    let made = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        // For the one that takes over. Who may be that is the kernel's to say: the same user.
        socket.set_reuseport(true)?;
        net::prepare(&socket)?;
        if socket_kib > 0 {
            socket.set_recv_buffer_size(socket_kib.saturating_mul(1 << 10))?;
            socket.set_send_buffer_size(socket_kib.saturating_mul(1 << 10))?;
        }
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    made().map_err(failed)
}

/// Two that share a port without knowing of each other would each get half of everything.
fn nobody_listens(address: SocketAddr) -> Result<(), BeaconError> {
    let tried = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)
    };
    tried().map_err(|source| BeaconError::Listen { address, source })
}
