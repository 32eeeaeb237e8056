//! The broker: stands in the cluster, holds the cluster's key, and carries the sessions of programs
//! there to a beacon without being able to read them.
//!
//! A program shows a key that it made for one session and gets the cluster's word on it and a
//! ticket; from then on the broker moves bytes. A program that has an admission of its own begins
//! with its hello, and only has its bytes moved. Nothing is kept of either.
//!
//! Invariant: no key in this process opens a session of another. Who can connect to it can be a
//! program of this cluster to the bridge, so it is to be reached from the cluster alone; what a
//! program may have is decided at the bridge, by the workload's own token.
//!
//! Reading order: this file, [`desk`] (for whom it vouches), [`keeper`] (the certificate, and how it
//! stays good), [`reverse`] (where bridges dial the broker), `metrics`.

pub mod desk;
pub mod keeper;
pub mod reverse;

mod metrics;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};
use tracing::{info, warn};

use self::metrics::Refusal;
pub use self::{desk::Desk, metrics::Metrics};
use crate::{
    admin,
    beacon::{
        pending::{Place, Sources},
        splice::{self, Joined, Moved, Pipes},
    },
    client::ClientError,
    counted::Counted,
    net,
    panics::vital,
    proto::broker::{Answer, REQUEST_LEN, requested},
};

/// How long a program may take to say what it wants.
const REQUEST_PATIENCE: Duration = Duration::from_secs(5);
/// The first byte of TLS.
const HANDSHAKE: u8 = 22;

/// What a broker bears.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Those from one source: an IPv4 address or an IPv6 /64.
    pub per_source: u32,
    /// How old one may grow.
    pub age: Duration,
    /// How long one side may go on when the other has ended.
    pub half_open: Duration,
    /// How long connections may go on after a stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            per_source: Self::per_source(4096),
            age: Duration::from_secs(86_400),
            half_open: Duration::from_secs(300),
            drain: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// So that one pod does not have the places of all others, and one node those of its pods.
    #[must_use]
    pub const fn per_source(connections: u32) -> u32 {
        if connections > 1024 { connections / 4 } else { 256 }
    }
}

/// A broker that listens.
#[derive(Debug)]
pub struct Broker {
    shared: Arc<Shared>,
    listener: TcpListener,
    admin: Option<TcpListener>,
}

#[derive(Debug)]
struct Shared {
    desk: Arc<Desk>,
    limits: Limits,
    metrics: Metrics,
    pipes: Pipes,
    places: Arc<Semaphore>,
    sources: Sources,
    stopping: std::sync::atomic::AtomicBool,
}

/// What a broker counts, in Prometheus' text form.
#[derive(Clone, Debug)]
pub struct Counts(Arc<Shared>);

impl Counts {
    /// The text of now.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.metrics.text(self.0.desk.certificate().as_ref())
    }
}

impl Broker {
    /// Begins to listen; must be called within a runtime.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn bind(
        desk: Arc<Desk>,
        listen: SocketAddr,
        admin: Option<SocketAddr>,
        limits: Limits,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let admin = match admin {
            Some(address) => Some(TcpListener::bind(address).await?),
            None => None,
        };
        let shared = Shared {
            desk,
            limits,
            metrics: Metrics::default(),
            pipes: Pipes::default(),
            places: Arc::new(Semaphore::new(limits.connections)),
            sources: Sources::new(limits.per_source),
            stopping: false.into(),
        };
        Ok(Self { shared: Arc::new(shared), listener, admin })
    }

    /// Where programs connect.
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

    /// What it counts, for as long as somebody asks.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts(Arc::clone(&self.shared))
    }

    /// Serves until told to stop; then nothing new is taken, and what goes on has a while to end.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        use std::sync::atomic::Ordering;
        let Self { shared, listener, admin } = self;
        let asked = Arc::clone(&shared);
        let admin = admin.map(|admin| {
            tokio::spawn(vital(admin::serve(admin, move |path| {
                let certificate = asked.desk.certificate();
                let clerk = asked.desk.clerk();
                let entrance = clerk.as_ref().and_then(|clerk| clerk.client.entrance());
                match path {
                    b"/metrics" => {
                        let own = asked.metrics.text(certificate.as_ref());
                        admin::good(reverse::with_metrics(own, entrance))
                    }
                    b"/healthz" => admin::good("ok\n".to_owned()),
                    b"/readyz" if asked.stopping.load(Ordering::Relaxed) => {
                        admin::unready("draining\n")
                    }
                    b"/readyz" if certificate.is_none() => admin::unready("not enrolled\n"),
                    b"/readyz" if entrance.is_some_and(|entrance| entrance.bridges() == 0) => {
                        admin::unready("no bridge has dialled in\n")
                    }
                    b"/readyz" => admin::good("ok\n".to_owned()),
                    _ => admin::unknown(),
                }
            })))
        });
        tokio::select! {
            () = accept(&listener, &shared) => {}
            () = stop => {}
        }
        drop(listener);
        shared.stopping.store(true, Ordering::Relaxed);
        let all = u32::try_from(shared.limits.connections).unwrap_or(u32::MAX);
        match timeout(shared.limits.drain, shared.places.acquire_many(all)).await {
            Ok(_) => info!("drained"),
            Err(_late) => warn!("connections are cut"),
        }
        if let Some(admin) = admin {
            admin.abort();
        }
    }
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let (stream, peer) = net::accept(listener).await;
        let source = shared.sources.enter(peer.ip());
        let place = source.and_then(|source| {
            let place = Arc::clone(&shared.places).try_acquire_owned().ok()?;
            Some(Places { _one_of_all: place, _one_of_its_source: source })
        });
        let Some(place) = place else {
            shared.metrics.refuse(Refusal::Busy);
            // It fits into the buffer of a new connection, or is left out.
            let _full = stream.try_write(&Answer::Busy.encode());
            continue;
        };
        tokio::spawn(serve(stream, place, Arc::clone(shared)));
    }
}

/// A connection's places, for as long as this is kept.
#[derive(Debug)]
struct Places {
    _one_of_all: OwnedSemaphorePermit,
    _one_of_its_source: Place,
}

async fn serve(mut program: TcpStream, place: Places, shared: Arc<Shared>) {
    let beacon = match introduce(&mut program, &shared).await {
        Ok(beacon) => beacon,
        Err(refusal) => return shared.metrics.refuse(refusal),
    };
    tokio::spawn(carry(program, beacon, place, shared));
}

/// Hears what the program wants, and has a connection to a beacon for it.
async fn introduce(program: &mut TcpStream, shared: &Shared) -> Result<TcpStream, Refusal> {
    net::prepare(program).map_err(|_gone| Refusal::Request)?;
    let deadline = Instant::now() + REQUEST_PATIENCE;
    let mut first = [0];
    let peeked = timeout_at(deadline, program.peek(&mut first)).await;
    let Ok(Ok(1)) = peeked else { return Err(Refusal::Request) };
    let clerk = shared.desk.clerk();
    if first == [HANDSHAKE] {
        let clerk = clerk.ok_or(Refusal::NotEnrolled)?;
        return clerk.client.dial().await.map_err(|error| away(&error));
    }
    let mut request = [0; REQUEST_LEN];
    let read = timeout_at(deadline, program.read_exact(&mut request)).await;
    let Ok(Ok(_)) = read else { return Err(Refusal::Request) };
    let key = requested(&request).ok_or(Refusal::Request)?;
    let passed = clerk.and_then(|clerk| {
        let pass = clerk.client.pass(&clerk.key, key).ok()?;
        Some((clerk, pass))
    });
    let (answer, beacon) = match passed {
        Some((clerk, pass)) => match clerk.client.dial().await {
            Ok(beacon) => (Answer::Pass(Box::new(pass)), Ok(beacon)),
            Err(error) => (Answer::NoBeacon, Err(away(&error))),
        },
        None => (Answer::NotEnrolled, Err(Refusal::NotEnrolled)),
    };
    let told = timeout(REQUEST_PATIENCE, program.write_all(&answer.encode())).await;
    match told {
        Ok(Ok(())) => beacon,
        _ => Err(Refusal::Request),
    }
}

fn away(error: &ClientError) -> Refusal {
    warn!(error = crate::log::chain(error), "no beacon");
    Refusal::NoBeacon
}

async fn carry(program: TcpStream, beacon: TcpStream, place: Places, shared: Arc<Shared>) {
    shared.metrics.accept();
    let counted = Counted::new(&shared.metrics.connections);
    let (up, down) = (Moved::default(), Moved::default());
    let limits = splice::Limits { half_open: shared.limits.half_open, age: shared.limits.age };
    let joined = Joined { client: &program, leg: &beacon, first: Vec::new() };
    let end = splice::relay(joined, &shared.pipes, (&up, &down), limits).await;
    let (up_bytes, down_bytes) = (up.total(), down.total());
    shared.metrics.carry(up_bytes + down_bytes);
    drop((counted, place));
    info!(up_bytes, down_bytes, ?end, "connection ended");
}
