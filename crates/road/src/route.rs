//! How a bridge is reached: by the beacons that its file names, or by the cluster's broker.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use cloudtaser_core::release::{Ends, PROTOCOL};
use cloudtaser_tls::{
    Digest, TlsError,
    raw::{self, KeyPair, PublicKey},
};
use rustls::{ClientConfig, pki_types::ServerName};

use crate::{
    admission::Admission,
    broker::{self, Answer, MAX_PASS_LEN, Pass},
    clock::unix_seconds,
    credential::{ENROLLED_PROTOCOL, Presentation, Reception},
    error::ClientError,
    link::{Dialled, HANDSHAKE_PATIENCE, Link, prepare, shake, some},
    stop::{Stop, Until},
};

const DIAL_PATIENCE: Duration = Duration::from_secs(3);

/// Finds the addresses of a host; by the caller, whose resolver is its own.
pub trait Resolve: Send + Sync + std::fmt::Debug {
    /// All addresses of `host:port`.
    ///
    /// # Errors
    /// Where there is none.
    fn addresses(&self, address: &str, within: Duration) -> io::Result<Vec<SocketAddr>>;
}

/// How a bridge is reached.
#[derive(Debug)]
pub struct Route {
    bridge: PublicKey,
    digest: Digest,
    way: Way,
    resolve: Box<dyn Resolve>,
}

#[derive(Debug)]
enum Way {
    /// The bridge knows the key, and made a file for it.
    Admitted {
        admission: Box<Admission>,
        config: Box<ClientConfig>,
        key: PublicKey,
        /// Dialled in the place of every beacon: whoever listens there passes bytes on.
        broker: Option<String>,
    },
    /// The cluster's broker vouches for a key that is made for each session.
    Brokered { broker: String },
}

impl Route {
    /// The way of a client that is on the bridge's list.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(
        admission: Admission,
        key: &KeyPair,
        broker: Option<String>,
        resolve: Box<dyn Resolve>,
    ) -> Result<Self, TlsError> {
        let (bridge, digest) = (admission.bridge(), admission.digest());
        let config = Box::new(admission.config(key)?);
        let (admission, key) = (Box::new(admission), key.public());
        let way = Way::Admitted { admission, config, key, broker };
        Ok(Self { bridge, digest, way, resolve })
    }

    /// The way by the broker of an enrolled cluster, which is not believed which bridge it is.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn brokered(
        bridge: PublicKey,
        broker: String,
        resolve: Box<dyn Resolve>,
    ) -> Result<Self, TlsError> {
        Ok(Self { bridge, digest: Digest::new()?, way: Way::Brokered { broker }, resolve })
    }

    /// The binding of a session with this nonce.
    #[must_use]
    pub fn binding(&self, link: &Link, nonce: &[u8; 32]) -> [u8; 32] {
        let ends = Ends {
            exporter: &link.exporter,
            nonce,
            client: link.client.as_bytes(),
            bridge: self.bridge.as_bytes(),
        };
        self.digest.sha256(&ends.parts())
    }

    /// SHA-256 of some bytes.
    #[must_use]
    pub fn sha256(&self, bytes: &[u8]) -> [u8; 32] {
        self.digest.sha256(&[bytes])
    }

    /// Tries each beacon once, or the broker.
    ///
    /// # Errors
    /// What the last one ended with.
    pub fn open(&self, stop: &Stop, until: Until) -> Result<Link, ClientError> {
        let (admission, config, key, broker) = match &self.way {
            Way::Brokered { broker } => return self.by_broker(broker, stop, until),
            Way::Admitted { admission, config, key, broker } => (admission, config, key, broker),
        };
        let now = unix_seconds();
        let day = admission.day(now)?;
        let mut last = ClientError::Stopped;
        for beacon in admission.in_order(&day) {
            let (config, name) = admission.hello(config, PROTOCOL, beacon, &day, now)?;
            let address = broker.as_ref().unwrap_or(&beacon.address).clone();
            let opened = self.dial(&address, stop, until).and_then(|socket| {
                let (protocol, client) = (PROTOCOL, *key);
                shake(Dialled { socket, address, config, name, protocol, client }, stop, until)
            });
            match opened {
                Err(error) if error.is_passing() => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    /// Shows the broker a key, and opens a session with what it says of it.
    fn by_broker(&self, broker: &str, stop: &Stop, until: Until) -> Result<Link, ClientError> {
        let (key, _) = KeyPair::generate()?;
        let mut socket = self.dial(broker, stop, until)?;
        let pass = pass(&mut socket, broker, &key.public(), until)?;
        if pass.bridge != self.bridge {
            let what = "the broker names another bridge than the one that was expected";
            return Err(ClientError::Intercepted(io::Error::other(what)));
        }
        let mut config = raw::client_config(&key, self.bridge)?;
        config.enable_sni = true;
        config.alpn_protocols = vec![pass.ticket, ENROLLED_PROTOCOL.to_vec()];
        let name = ServerName::try_from(pass.server_name).map_err(|_odd| TlsError::ServerName)?;
        let (address, client) = (broker.to_owned(), key.public());
        let protocol = ENROLLED_PROTOCOL;
        let dialled = Dialled { socket, address, config, name, protocol, client };
        let mut link = shake(dialled, stop, until)?;
        let presentation =
            Presentation { protocol: PROTOCOL.to_vec(), credential: pass.credential };
        link.write(&presentation.encode(), until)?;
        let mut answer = [0];
        link.fill(&mut answer, until)?;
        match Reception::of(u8::from_be_bytes(answer)) {
            Some(Reception::Admitted) => Ok(link),
            Some(Reception::Busy) => Err(ClientError::Busy),
            Some(other) => Err(ClientError::TurnedAway(other)),
            None => Err(ClientError::Session(io::ErrorKind::InvalidData.into())),
        }
    }

    fn dial(&self, address: &str, stop: &Stop, until: Until) -> Result<TcpStream, ClientError> {
        let failed = |source| ClientError::Beacon { beacon: address.to_owned(), source };
        let socket = self.connect(address, until.or_after(DIAL_PATIENCE)).map_err(failed)?;
        if stop.watch(&socket) { Err(ClientError::Stopped) } else { Ok(socket) }
    }

    fn connect(&self, address: &str, until: Until) -> io::Result<TcpStream> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in self.resolve.addresses(address, until.left())? {
            let left = until.left();
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match TcpStream::connect_timeout(&address, left) {
                Ok(socket) => {
                    prepare(&socket)?;
                    return Ok(socket);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Asks a broker to vouch for a key.
fn pass(
    socket: &mut TcpStream,
    address: &str,
    key: &PublicKey,
    until: Until,
) -> Result<Pass, ClientError> {
    let until = until.or_after(HANDSHAKE_PATIENCE);
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "this is no broker");
    let mut ask = || -> io::Result<Result<Pass, Answer>> {
        socket.set_write_timeout(some(until))?;
        socket.write_all(&broker::request(key))?;
        socket.set_read_timeout(some(until))?;
        let mut code = [0];
        socket.read_exact(&mut code)?;
        if let Some(other) = Answer::of(u8::from_be_bytes(code)).ok_or_else(odd)? {
            return Ok(Err(other));
        }
        let mut len = [0; 2];
        socket.read_exact(&mut len)?;
        let len = usize::from(u16::from_be_bytes(len));
        if len > MAX_PASS_LEN {
            return Err(odd());
        }
        let mut body = vec![0; len];
        socket.read_exact(&mut body)?;
        Pass::decode(&body).map(Ok).ok_or_else(odd)
    };
    let name = || address.to_owned();
    match ask() {
        Ok(Ok(pass)) => Ok(pass),
        Ok(Err(Answer::Busy)) => Err(ClientError::Busy),
        Ok(Err(Answer::NotEnrolled)) => Err(ClientError::NotEnrolled { broker: name() }),
        Ok(Err(_)) => Err(ClientError::NoBeacon { broker: name() }),
        Err(source) if source.kind() == io::ErrorKind::InvalidData => {
            Err(ClientError::Intercepted(source))
        }
        Err(source) => Err(ClientError::Beacon { beacon: name(), source }),
    }
}
