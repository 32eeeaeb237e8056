//! The client: opens sessions to a bridge through whichever beacon answers.
//!
//! It speaks to the beacon only by the first message of TLS, which is meant for the bridge.

mod door;

use std::{
    io,
    path::Path,
    slice,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use cloudtaser_road::admission::{Admission, BeaconAddress, Day};
use cloudtaser_tls::{
    TlsError,
    raw::{KeyPair, PublicKey},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub use self::door::Proxy;
pub use cloudtaser_road::ClientError;

use crate::{
    backoff::Backoff,
    beacon::Entrance,
    clock::unix_seconds,
    cluster::Given,
    control::Control,
    file::{ConfigError, read_toml},
    net,
    proto::{
        broker::Pass,
        credential::{
            Certificate, Credential, ENROLLED_PROTOCOL, KNOCK_PROTOCOL, Presentation, Reception,
        },
        enrol::{BridgeToCluster, ClusterToBridge, PROTOCOL as ENROL_PROTOCOL},
        rendezvous::Epoch,
        session::{PROXY_PROTOCOL, Verdict},
    },
};

const DIAL_PATIENCE: Duration = Duration::from_secs(3);
/// The beacon waits five seconds for a leg, and the handshake comes behind that.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(15);
/// How long the cluster's word on a key of a session is good for.
const LEAF_SECONDS: u64 = 600;
/// Longer than the bridge tries OpenBao.
const VERDICT_PATIENCE: Duration = Duration::from_secs(10);

/// A session: what is written comes out at OpenBao.
pub type Session = TlsStream<TcpStream>;

/// Opens sessions.
#[derive(Debug)]
pub struct Client {
    config: rustls::ClientConfig,
    access: RwLock<Arc<Access>>,
    /// In the place of all beacons, where bridges dial this process.
    entrance: Option<Entrance>,
}

/// What lets the client in; an enrolled one is given another now and then.
#[derive(Debug)]
struct Access {
    admission: Admission,
    certificate: Option<Certificate>,
}

impl Client {
    /// Reads what the bridge wrote for this client.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path, key: &KeyPair) -> Result<Self, ConfigError> {
        let admission = Admission::new(read_toml(path)?).map_err(ConfigError::Admission)?;
        let failed = |source| ConfigError::PublicKey { name: "bridge".to_owned(), source };
        Self::new(key, Given { admission, certificate: None }).map_err(failed)
    }

    /// A client that is enrolled, or is about to be.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(key: &KeyPair, given: Given) -> Result<Self, TlsError> {
        let config = given.admission.config(key)?;
        let access = RwLock::new(Arc::new(Access::of(given)));
        Ok(Self { config, access, entrance: None })
    }

    /// The same, with one beacon that is in this process (reverse mode) and no others.
    #[must_use]
    pub fn within(self, entrance: Entrance) -> Self {
        Self { entrance: Some(entrance), ..self }
    }

    /// The beacon that is in this process, where there is one.
    #[must_use]
    pub const fn entrance(&self) -> Option<&Entrance> {
        self.entrance.as_ref()
    }

    /// Beacons, in the order in which to try them.
    fn beacons(&self, access: &Access, day: &Day<'_>) -> Result<Vec<BeaconAddress>, ClientError> {
        let known = access.admission.in_order(day).into_iter().cloned();
        let Some(entrance) = &self.entrance else { return Ok(known.collect()) };
        let beacon = entrance.address().to_string();
        if entrance.bridges() == 0 {
            let source = io::Error::new(io::ErrorKind::NotConnected, "no bridge has dialled in");
            return Err(ClientError::Beacon { beacon, source });
        }
        // The name in the hello is as the bridge gave it.
        let within = |known: BeaconAddress| {
            let domain = Some(known.domain().to_owned());
            BeaconAddress { address: beacon.clone(), domain, key: None, clients: None }
        };
        Ok(known.take(1).map(within).collect())
    }

    /// Takes what the bridge gave anew.
    pub fn renew(&self, given: Given) {
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Access::of(given));
    }

    fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The bridge's key.
    #[must_use]
    pub fn bridge(&self) -> PublicKey {
        self.access().admission.bridge()
    }

    /// By which the bridge lets this client in, where it is enrolled.
    #[must_use]
    pub fn certificate(&self) -> Option<Certificate> {
        self.access().certificate
    }

    /// Opens a session, trying again for so long.
    ///
    /// # Errors
    /// The last [`ClientError`].
    pub async fn open(&self, patience: Duration) -> Result<Session, ClientError> {
        let began = Instant::now();
        let mut backoff = Backoff::default();
        loop {
            match self.open_once().await {
                Err(error) if error.is_passing() => {
                    let pause = backoff.next();
                    if began.elapsed() + pause > patience {
                        return Err(error);
                    }
                    sleep(pause).await;
                }
                done => return done,
            }
        }
    }

    /// Tries each beacon once, in the order that the name of the day gives.
    ///
    /// # Errors
    /// What the last one ended with.
    pub async fn open_once(&self) -> Result<Session, ClientError> {
        let access = self.access();
        let day = access.admission.day(unix_seconds())?;
        let mut last = ClientError::Busy;
        for beacon in &self.beacons(&access, &day)? {
            match self.door(&access, beacon, &day).await {
                Err(error) if error.is_passing() => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    async fn door(
        &self,
        access: &Access,
        beacon: &BeaconAddress,
        day: &Day<'_>,
    ) -> Result<Session, ClientError> {
        let Some(certificate) = access.certificate else {
            let stream = self.handshake(access, beacon, day, PROXY_PROTOCOL).await?;
            return hear_verdict(stream, beacon).await;
        };
        let mut stream = self.handshake(access, beacon, day, ENROLLED_PROTOCOL).await?;
        present(&mut stream, certificate, PROXY_PROTOCOL, beacon).await?;
        hear_verdict(stream, beacon).await
    }

    /// Says one thing about enrolment, and hears the answer.
    ///
    /// # Errors
    /// What the last beacon ended with.
    pub async fn enrol(&self, say: &ClusterToBridge) -> Result<BridgeToCluster, ClientError> {
        let access = self.access();
        let day = access.admission.day(unix_seconds())?;
        let mut last = ClientError::Busy;
        for beacon in &self.beacons(&access, &day)? {
            match self.enrol_through(&access, beacon, &day, say).await {
                Err(error) if error.is_passing() => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    async fn enrol_through(
        &self,
        access: &Access,
        beacon: &BeaconAddress,
        day: &Day<'_>,
        say: &ClusterToBridge,
    ) -> Result<BridgeToCluster, ClientError> {
        let stream = self.handshake(access, beacon, day, ENROL_PROTOCOL).await?;
        let mut control = Control::new(stream);
        let heard = async {
            control.send(slice::from_ref(say)).await?;
            control.next::<BridgeToCluster>().await
        };
        in_time(heard).await.map_err(|error| explain(error, beacon))
    }

    /// Whether the bridge still lets this cluster in, by its certificate; nothing is asked for beyond
    /// that, and nothing comes of it at the bridge.
    ///
    /// # Errors
    /// [`ClientError::TurnedAway`] where it does not; what a beacon ended with, where it cannot be
    /// asked.
    pub async fn knock(&self) -> Result<(), ClientError> {
        let access = self.access();
        let now = unix_seconds();
        let day = access.admission.day(now)?;
        let certificate =
            access.certificate.ok_or(ClientError::Expired { day: Epoch::of(now).0 })?;
        let mut last = ClientError::Busy;
        for beacon in &self.beacons(&access, &day)? {
            let knocked = async {
                let mut stream = self.handshake(&access, beacon, &day, ENROLLED_PROTOCOL).await?;
                present(&mut stream, certificate, KNOCK_PROTOCOL, beacon).await
            };
            match knocked.await {
                Err(ClientError::TurnedAway(Reception::Protocol)) => return Ok(()),
                Err(error) if error.is_passing() => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    /// What somebody else needs to open one session in the name of this client.
    ///
    /// # Errors
    /// [`ClientError::Expired`], or where there is no certificate or no randomness.
    pub fn pass(&self, cluster: &KeyPair, key: PublicKey) -> Result<Pass, ClientError> {
        let access = self.access();
        let now = unix_seconds();
        let day = access.admission.day(now)?;
        let certificate = access.certificate.filter(|certificate| certificate.not_after > now);
        let certificate = certificate.ok_or(ClientError::Expired { day: Epoch::of(now).0 })?;
        let beacons = access.admission.in_order(&day);
        let beacon = beacons.first().ok_or(ClientError::Busy)?;
        let hello = access.admission.hello(&self.config, ENROLLED_PROTOCOL, beacon, &day, now)?;
        let (config, server_name) = hello;
        let leaf = certificate.leaf(cluster, key, (now, now + LEAF_SECONDS))?;
        Ok(Pass {
            bridge: access.admission.bridge(),
            server_name: server_name.to_str().into_owned(),
            ticket: config.alpn_protocols.into_iter().next().unwrap_or_default(),
            credential: Credential { certificate, leaf: Some(leaf) },
        })
    }

    /// A connection to whichever beacon takes it first: the next is dialled a quarter of a second
    /// after the one before, or at once where that one fails.
    ///
    /// # Errors
    /// What the last one ended with.
    pub async fn dial(&self) -> Result<TcpStream, ClientError> {
        let access = self.access();
        let day = access.admission.day(unix_seconds())?;
        let beacons = self.beacons(&access, &day)?;
        let addresses = beacons.into_iter().map(|beacon| beacon.address).collect();
        net::dial_any(addresses, DIAL_PATIENCE)
            .await
            .map_err(|(beacon, source)| ClientError::Beacon { beacon, source })
    }

    async fn handshake(
        &self,
        access: &Access,
        beacon: &BeaconAddress,
        day: &Day<'_>,
        protocol: &[u8],
    ) -> Result<Session, ClientError> {
        let now = unix_seconds();
        let hello = access.admission.hello(&self.config, protocol, beacon, day, now)?;
        let (config, server_name) = hello;
        let stream = net::dial(&beacon.address, DIAL_PATIENCE).await;
        let failed = |source| ClientError::Beacon { beacon: beacon.address.clone(), source };
        let stream = stream.map_err(failed)?;
        let connector = TlsConnector::from(Arc::new(config));
        let connected = timeout(HANDSHAKE_PATIENCE, connector.connect(server_name, stream)).await;
        match connected {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(explain(error, beacon)),
            Err(_late) => Err(ClientError::Session(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl Access {
    fn of(Given { admission, certificate }: Given) -> Self {
        Self { admission, certificate }
    }
}

fn explain(error: io::Error, beacon: &BeaconAddress) -> ClientError {
    ClientError::explain(error, beacon.address.clone())
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_late| io::Error::from(io::ErrorKind::TimedOut);
    timeout(VERDICT_PATIENCE, work).await.map_err(late)?
}

/// Shows the certificate, and asks to speak this.
async fn present(
    stream: &mut Session,
    certificate: Certificate,
    protocol: &[u8],
    beacon: &BeaconAddress,
) -> Result<(), ClientError> {
    let credential = Credential { certificate, leaf: None };
    let presentation = Presentation { protocol: protocol.to_vec(), credential };
    let answered = in_time(async {
        stream.write_all(&presentation.encode()).await?;
        stream.flush().await?;
        stream.read_u8().await
    });
    match answered.await.map(Reception::of) {
        Ok(Some(Reception::Admitted)) => Ok(()),
        Ok(Some(Reception::Busy)) => Err(ClientError::Busy),
        Ok(Some(other)) => Err(ClientError::TurnedAway(other)),
        Ok(None) => Err(ClientError::Session(io::ErrorKind::InvalidData.into())),
        Err(error) => Err(explain(error, beacon)),
    }
}

async fn hear_verdict(mut stream: Session, beacon: &BeaconAddress) -> Result<Session, ClientError> {
    match in_time(stream.read_u8()).await.map(Verdict::of) {
        Ok(Some(Verdict::Connected)) => Ok(stream),
        Ok(Some(Verdict::Unreachable)) => Err(ClientError::Unreachable),
        Ok(Some(Verdict::Busy)) => Err(ClientError::Busy),
        Ok(Some(Verdict::Forbidden)) => Err(ClientError::Forbidden { protocol: "the door" }),
        Ok(None) => Err(ClientError::Session(io::ErrorKind::InvalidData.into())),
        Err(error) => Err(explain(error, beacon)),
    }
}
