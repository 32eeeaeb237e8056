//! The parties, each with its own end.

use std::{
    fs,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use cloudtaser_relay::{
    beacon::{
        Beacon,
        config::{Bridges, Config as BeaconConfig, Limits},
    },
    bridge::{
        Bridge, admit,
        config::{BeaconAddress, Config as BridgeConfig, KnownClient},
    },
    client::{Client, ClientError, Session},
    proto::ticket::TicketSecret,
};
use cloudtaser_tls::raw::KeyPair;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const DOMAIN: &str = "beacon.example";

pub(crate) const fn any() -> Bridges {
    Bridges::Any
}

/// Limits that do not mind many clients on one address.
pub(crate) fn roomy() -> Limits {
    Limits { pending_per_source: 10_000, ..Limits::default() }
}

/// Something that serves until it is stopped, in a runtime of its own: what is killed is gone with
/// all its connections.
pub(crate) struct Served {
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
    runtime: Option<Runtime>,
}

impl Served {
    pub(crate) fn begin<S, F>(begin: impl FnOnce(Stopped) -> (S, F)) -> (S, Self)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (stop, stopped) = oneshot::channel();
        let entered = runtime.enter();
        let (said, serving) = begin(Box::pin(async move { drop(stopped.await) }));
        drop(entered);
        let task = Some(runtime.spawn(serving));
        (said, Self { stop: Some(stop), task, runtime: Some(runtime) })
    }

    pub(crate) async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        timeout(PATIENCE, self.task.take().unwrap()).await.expect("it ends").unwrap();
    }

    /// As if the process were killed: the kernel closes what it had.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) type Stopped = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// A beacon with its key, to be started again at the same address.
pub(crate) struct Place {
    pub(crate) key: KeyPair,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

pub(crate) fn beacon(limits: Limits, bridges: Bridges, place: Option<&Place>) -> (Place, Served) {
    let (fresh, _) = KeyPair::generate().unwrap();
    let free = "127.0.0.1:0".parse().unwrap();
    let key = place.map_or(fresh, |place| place.key.clone());
    let listen = place.map_or(free, |place| place.address);
    let (clients, admin, handover_socket) = (None, Some(free), None);
    let key_of_it = key.clone();
    let config =
        BeaconConfig { listen, clients, admin, handover_socket, key: key_of_it, bridges, limits };
    Served::begin(|stopped| {
        let beacon = Beacon::bind(config).unwrap();
        let (address, admin) = (beacon.address().unwrap(), beacon.admin_address().unwrap());
        (Place { key, address, admin }, beacon.serve(stopped))
    })
}

/// The keys of a bridge and of the one client that it knows.
pub(crate) struct Keys {
    pub(crate) bridge: KeyPair,
    pub(crate) client: KeyPair,
    pub(crate) tickets: [u8; 32],
}

impl Keys {
    pub(crate) fn new() -> Self {
        let key = || KeyPair::generate().unwrap().0;
        Self { bridge: key(), client: key(), tickets: [9; 32] }
    }

    pub(crate) fn config(&self, beacons: &[&Place], openbao: SocketAddr) -> BridgeConfig {
        let address = |place: &&Place| BeaconAddress {
            address: place.address.to_string(),
            domain: Some(DOMAIN.to_owned()),
            key: Some(place.key.public().to_string()),
            clients: None,
        };
        BridgeConfig {
            key: self.bridge.clone(),
            tickets: TicketSecret::new(&self.tickets),
            openbao: openbao.to_string(),
            beacons: beacons.iter().map(address).collect(),
            clients: vec![KnownClient { name: "one".to_owned(), key: self.client.public() }],
            enrolment: None,
            legs: 2,
            max_sessions: 100,
            drain_seconds: 5,
            release: None,
        }
    }

    pub(crate) fn bridge(&self, beacons: &[&Place], openbao: SocketAddr) -> Served {
        serve(self.config(beacons, openbao))
    }

    pub(crate) fn client(&self, beacons: &[&Place]) -> Client {
        self.client_with(beacons, &self.client, 32)
    }

    pub(crate) fn client_with(&self, beacons: &[&Place], key: &KeyPair, most: u16) -> Client {
        let config = self.config(beacons, "127.0.0.1:1".parse().unwrap());
        let admitted = admit::client_file(&config, &key.public(), 2, most).unwrap();
        let text = admit::as_toml(&admitted, &key.public()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        Client::read(file.path(), key).unwrap()
    }
}

pub(crate) fn serve(config: BridgeConfig) -> Served {
    let bridge = Bridge::new(config).unwrap();
    Served::begin(|stopped| ((), bridge.serve(stopped))).1
}

/// Answers each byte with itself.
pub(crate) async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                drop(tokio::io::copy(&mut read, &mut write).await);
                drop(write.shutdown().await);
            });
        }
    });
    address
}

/// Beacon, bridge, echo, and a client that has nothing open.
pub(crate) struct Road {
    pub(crate) keys: Keys,
    pub(crate) place: Place,
    pub(crate) beacon: Served,
    pub(crate) bridge: Served,
    pub(crate) client: Arc<Client>,
}

impl Road {
    pub(crate) async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        let keys = Keys::new();
        let openbao = echo().await;
        let (place, beacon) = beacon(limits, Bridges::Any, None);
        let bridge = keys.bridge(&[&place], openbao);
        let client = Arc::new(keys.client(&[&place]));
        let road = Self { keys, place, beacon, bridge, client };
        road.until_metric("cloudtaser_beacon_legs 2").await;
        road
    }

    pub(crate) async fn session(&self) -> Session {
        self.client.open(PATIENCE).await.unwrap()
    }

    pub(crate) async fn metrics(&self) -> String {
        get(self.place.admin, "/metrics").await
    }

    pub(crate) async fn until_metric(&self, line: &str) {
        let began = Instant::now();
        loop {
            let text = self.metrics().await;
            if text.lines().any(|found| found == line) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{line} is not in\n{text}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until this many connections were refused for this reason.
    pub(crate) async fn until_refused(&self, reason: &str, count: u32) {
        let line = format!("cloudtaser_beacon_refused_total{{reason=\"{reason}\"}} {count}");
        self.until_metric(&line).await;
    }
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// Demands that the other end closes without having sent a byte.
pub(crate) async fn is_closed_in_silence(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("it is closed");
    // A reset says no more than an end does.
    drop(read);
    assert!(bytes.is_empty(), "the beacon answers a stranger: {bytes:?}");
}

pub(crate) async fn echoes(session: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), text: &[u8]) {
    session.write_all(text).await.unwrap();
    session.flush().await.unwrap();
    let mut back = vec![0; text.len()];
    timeout(PATIENCE, session.read_exact(&mut back)).await.expect("an echo").unwrap();
    assert!(back == text, "the echo is another");
}

pub(crate) async fn refused(client: &Client) -> ClientError {
    client.open_once().await.map(drop).expect_err("no session")
}
