//! The client: opens sessions to a bridge through whichever beacon answers.
//!
//! It speaks to the beacon only by the first message of TLS, which is meant for the bridge.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use cloudtaser_road::admission::{Admission, BeaconAddress, Day};
use cloudtaser_tls::raw::KeyPair;
use tokio::{
    io::{AsyncReadExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tracing::{info, warn};

pub use cloudtaser_road::ClientError;

use crate::{
    backoff::Backoff,
    clock::unix_seconds,
    file::{ConfigError, read_toml},
    net,
    proto::session::{PROXY_PROTOCOL, Verdict},
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
    admission: Admission,
}

impl Client {
    /// Reads what the bridge wrote for this client.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path, key: &KeyPair) -> Result<Self, ConfigError> {
        let admission = Admission::new(read_toml(path)?).map_err(ConfigError::Admission)?;
        let failed = |source| ConfigError::PublicKey { name: "bridge".to_owned(), source };
        let config = admission.config(key).map_err(failed)?;
        Ok(Self { config, admission })
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
        let day = self.admission.day(unix_seconds())?;
        let mut last = ClientError::Busy;
        for beacon in self.admission.in_order(&day) {
            match self.through(beacon, &day).await {
                Err(error) if error.is_passing() => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    async fn through(&self, beacon: &BeaconAddress, day: &Day<'_>) -> Result<Session, ClientError> {
        let name = || beacon.address.clone();
        let now = unix_seconds();
        let hello = self.admission.hello(&self.config, PROXY_PROTOCOL, beacon, day, now)?;
        let (config, server_name) = hello;
        let stream = net::dial(&beacon.address, DIAL_PATIENCE)
            .await
            .map_err(|source| ClientError::Beacon { beacon: name(), source })?;
        let connector = TlsConnector::from(Arc::new(config));
        let connected = timeout(HANDSHAKE_PATIENCE, connector.connect(server_name, stream)).await;
        let mut stream = match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(ClientError::explain(error, name())),
            Err(_late) => return Err(ClientError::Session(io::ErrorKind::TimedOut.into())),
        };
        let verdict = timeout(VERDICT_PATIENCE, stream.read_u8()).await;
        match verdict {
            Ok(Ok(code)) => match Verdict::of(code) {
                Some(Verdict::Connected) => Ok(stream),
                Some(Verdict::Unreachable) => Err(ClientError::Unreachable),
                Some(Verdict::Busy) => Err(ClientError::Busy),
                Some(Verdict::Forbidden) => Err(ClientError::Forbidden { protocol: "the door" }),
                None => Err(ClientError::Session(io::ErrorKind::InvalidData.into())),
            },
            Ok(Err(error)) => Err(ClientError::explain(error, name())),
            Err(_late) => Err(ClientError::Session(io::ErrorKind::TimedOut.into())),
        }
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
