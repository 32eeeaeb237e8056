//! The client: opens sessions to a bridge through whichever beacon answers.
//!
//! It speaks to the beacon only by the first message of TLS, which is meant for the bridge.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use cloudtaser_tls::{
    Digest, TlsError,
    raw::{self, KeyPair, PublicKey},
};
use data_encoding::HEXLOWER;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tracing::{info, warn};

use crate::{
    backoff::Backoff,
    bridge::config::BeaconAddress,
    clock::unix_seconds,
    file::{ConfigError, parse_key, read_toml},
    net,
    proto::{
        rendezvous::{Epoch, RendezvousId},
        session::{PROXY_PROTOCOL, Verdict},
        ticket::{ClientKey, ClientTag, Ticket},
    },
};

const DIAL_PATIENCE: Duration = Duration::from_secs(3);
/// The beacon waits five seconds for a leg, and the handshake comes behind that.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(15);
/// Longer than the bridge tries OpenBao.
const VERDICT_PATIENCE: Duration = Duration::from_secs(10);

/// A session: what is written comes out at OpenBao.
pub type Session = TlsStream<TcpStream>;

/// Opens sessions.
#[derive(Debug)]
pub struct Client {
    config: rustls::ClientConfig,
    digest: Digest,
    bridge: PublicKey,
    beacons: Vec<BeaconAddress>,
    tag: ClientTag,
    max_tunnels: u16,
    days: BTreeMap<u32, ClientKey>,
}

/// Why there is no session. What can be mended by waiting is told apart.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No beacon can be reached.
    #[error("beacon {beacon} cannot be reached")]
    Beacon {
        /// Which.
        beacon: String,
        /// Why.
        source: io::Error,
    },
    /// The connection ended before the bridge said anything.
    #[error(
        "beacon {beacon} closed the connection without a word: the bridge is not there, the ticket \
         is not (or no longer) good, the client has too many tunnels, or a clock is wrong"
    )]
    Silence {
        /// Which.
        beacon: String,
    },
    /// There is no key for today's tickets.
    #[error("the client file has no key for day {day}: have the bridge write a new one (admit)")]
    Expired {
        /// Days since 1970.
        day: u32,
    },
    /// Something between here and the bridge is not the bridge.
    #[error("who answers is not the bridge: something on the way opens TLS, and that is refused")]
    Intercepted(#[source] io::Error),
    /// The bridge does not know this client's key.
    #[error("the bridge refuses this client: its key is not among the clients of the bridge")]
    Unknown(#[source] io::Error),
    /// The session failed otherwise.
    #[error("the session with the bridge failed")]
    Session(#[source] io::Error),
    /// The bridge has no connection to OpenBao.
    #[error("the bridge cannot reach OpenBao")]
    Unreachable,
    /// The bridge carries as much as it may.
    #[error("the bridge carries as many sessions as it may")]
    Busy,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
}

impl ClientError {
    /// Whether another attempt may have another end.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Beacon { .. }
                | Self::Silence { .. }
                | Self::Session(_)
                | Self::Unreachable
                | Self::Busy
        )
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    bridge: String,
    tag: String,
    max_tunnels: u16,
    beacon: Vec<BeaconAddress>,
    days: BTreeMap<String, String>,
}

impl Client {
    /// Reads what the bridge wrote for this client.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path, key: &KeyPair) -> Result<Self, ConfigError> {
        let file: File = read_toml(path)?;
        let bridge = parse_key("bridge", &file.bridge)?;
        let odd = ConfigError::Missing("the client file is not as the bridge writes it");
        let tag = HEXLOWER.decode(file.tag.as_bytes()).ok();
        let Some(tag) = tag.and_then(|tag| tag.try_into().ok()) else { return Err(odd) };
        let mut days = BTreeMap::new();
        for (day, key) in &file.days {
            let bytes = HEXLOWER.decode(key.as_bytes()).ok().map(zeroize::Zeroizing::new);
            let key = bytes.as_ref().and_then(|bytes| bytes.as_slice().try_into().ok());
            match (day.parse(), key) {
                (Ok(day), Some(key)) => days.insert(day, ClientKey::new(key)),
                _ => return Err(odd),
            };
        }
        let failed = |source| ConfigError::PublicKey { name: "bridge".to_owned(), source };
        let mut config = raw::client_config(key, bridge).map_err(failed)?;
        config.enable_sni = true;
        Ok(Self {
            config,
            digest: Digest::new().map_err(failed)?,
            bridge,
            beacons: file.beacon,
            tag: ClientTag(tag),
            max_tunnels: file.max_tunnels,
            days,
        })
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
        let day = Epoch::of(unix_seconds());
        let key = self.days.get(&day.0).ok_or(ClientError::Expired { day: day.0 })?;
        let id = RendezvousId::new(self.digest, &self.bridge, day);
        let mut last = ClientError::Expired { day: day.0 };
        for beacon in self.in_order(&id) {
            match self.through(beacon, day, key, &id).await {
                Err(error) if error.is_passing() => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    /// Highest random weight: clients spread over beacons, and each bridge's clients move only when
    /// their own beacon goes.
    fn in_order(&self, id: &RendezvousId) -> Vec<&BeaconAddress> {
        let mut beacons: Vec<&BeaconAddress> = self.beacons.iter().collect();
        let weight = |beacon: &&BeaconAddress| {
            self.digest.sha256(&[id.as_bytes(), beacon.address.as_bytes()])
        };
        beacons.sort_by_cached_key(|beacon| std::cmp::Reverse(weight(beacon)));
        beacons
    }

    async fn through(
        &self,
        beacon: &BeaconAddress,
        day: Epoch,
        key: &ClientKey,
        id: &RendezvousId,
    ) -> Result<Session, ClientError> {
        let name = || beacon.address.clone();
        let mut nonce = [0; 12];
        cloudtaser_tls::random(&mut nonce)?;
        let issued_at = u32::try_from(unix_seconds()).unwrap_or(u32::MAX);
        let (tag, max_tunnels) = (self.tag, self.max_tunnels);
        let ticket = Ticket { tag, day: day.0, max_tunnels, issued_at, nonce };
        let mut config = self.config.clone();
        config.alpn_protocols =
            vec![key.protocol(self.digest, id, &ticket), PROXY_PROTOCOL.to_vec()];
        let server_name = ServerName::try_from(id.server_name(beacon.domain()))
            .map_err(|_odd| ClientError::Tls(TlsError::ServerName))?;
        let stream = net::dial(&beacon.address, DIAL_PATIENCE)
            .await
            .map_err(|source| ClientError::Beacon { beacon: name(), source })?;
        let connector = TlsConnector::from(Arc::new(config));
        let connected = timeout(HANDSHAKE_PATIENCE, connector.connect(server_name, stream)).await;
        let mut stream = match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(explain(error, name())),
            Err(_late) => return Err(ClientError::Session(io::ErrorKind::TimedOut.into())),
        };
        let verdict = timeout(VERDICT_PATIENCE, stream.read_u8()).await;
        match verdict {
            Ok(Ok(code)) => match Verdict::of(code) {
                Some(Verdict::Connected) => Ok(stream),
                Some(Verdict::Unreachable) => Err(ClientError::Unreachable),
                Some(Verdict::Busy) => Err(ClientError::Busy),
                None => Err(ClientError::Session(io::ErrorKind::InvalidData.into())),
            },
            Ok(Err(error)) => Err(explain(error, name())),
            Err(_late) => Err(ClientError::Session(io::ErrorKind::TimedOut.into())),
        }
    }
}

/// What an error of the handshake means to the one who has to mend it.
fn explain(error: io::Error, beacon: String) -> ClientError {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::AlertReceived(
            rustls::AlertDescription::CertificateUnknown
            | rustls::AlertDescription::BadCertificate
            | rustls::AlertDescription::UnknownCA,
        )) => ClientError::Unknown(error),
        Some(
            rustls::Error::InvalidCertificate(_)
            | rustls::Error::PeerIncompatible(_)
            | rustls::Error::AlertReceived(_)
            | rustls::Error::InvalidMessage(_),
        ) => ClientError::Intercepted(error),
        Some(_) => ClientError::Session(error),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => ClientError::Silence { beacon },
            _ => ClientError::Session(error),
        },
    }
}

/// A door of this machine behind which is OpenBao.
#[derive(Debug)]
pub struct Proxy {
    client: Arc<Client>,
    listener: TcpListener,
    patience: Duration,
}

impl Proxy {
    /// Listens; must be called within a runtime.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn bind(client: Client, address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { client: Arc::new(client), listener, patience })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Carries each connection in a session of its own, until told to stop.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let accept = async {
            loop {
                let Ok((stream, _)) = self.listener.accept().await else {
                    sleep(Duration::from_millis(50)).await;
                    continue;
                };
                tokio::spawn(carry(Arc::clone(&self.client), stream, self.patience));
            }
        };
        tokio::select! {
            () = accept => {}
            () = stop => {}
        }
    }
}

async fn carry(client: Arc<Client>, mut stream: TcpStream, patience: Duration) {
    let opened = client.open(patience).await;
    let done = match opened {
        Ok(mut session) => copy_bidirectional(&mut stream, &mut session).await,
        Err(error) => {
            net::reset(&stream);
            return warn!(error = crate::log::chain(&error), "no session");
        }
    };
    match done {
        Ok((up_bytes, down_bytes)) => info!(up_bytes, down_bytes, "connection ended"),
        Err(error) => {
            // A failure on the way must not look like an end to the app.
            net::reset(&stream);
            warn!(error = %error, "connection broke");
        }
    }
}
