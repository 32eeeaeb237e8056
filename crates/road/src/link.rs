//! One session with a bridge: dialled, opened and spoken over by a thread that may wait.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use cloudtaser_core::release::{
    EXPORTER_LABEL, Ends, PROTOCOL,
    frame::{self, Message},
};
use cloudtaser_tls::raw::{KeyPair, PublicKey};
use rustls::{ClientConfig, ClientConnection, NamedGroup, StreamOwned};
use zeroize::Zeroizing;

use crate::{
    admission::{Admission, BeaconAddress},
    clock::unix_seconds,
    error::ClientError,
    stop::{Stop, Until},
};

const DIAL_PATIENCE: Duration = Duration::from_secs(3);
/// The beacon waits five seconds for a leg, and the handshake comes behind that.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(15);

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
    admission: Admission,
    config: ClientConfig,
    key: PublicKey,
    /// Dialled in the place of every beacon: whoever listens there passes bytes on.
    broker: Option<String>,
    resolve: Box<dyn Resolve>,
}

/// A session that stands.
pub struct Link {
    stream: StreamOwned<ClientConnection, TcpStream>,
    beacon: String,
    exporter: [u8; 32],
}

impl Route {
    /// Prepares everything that does not depend on the moment.
    ///
    /// # Errors
    /// [`cloudtaser_tls::TlsError`].
    pub fn new(
        admission: Admission,
        key: &KeyPair,
        broker: Option<String>,
        resolve: Box<dyn Resolve>,
    ) -> Result<Self, cloudtaser_tls::TlsError> {
        let config = admission.config(key)?;
        Ok(Self { admission, config, key: key.public(), broker, resolve })
    }

    /// The binding of a session with this nonce.
    #[must_use]
    pub fn binding(&self, link: &Link, nonce: &[u8; 32]) -> [u8; 32] {
        let bridge = self.admission.bridge();
        let ends = Ends {
            exporter: &link.exporter,
            nonce,
            client: self.key.as_bytes(),
            bridge: bridge.as_bytes(),
        };
        self.admission.digest().sha256(&ends.parts())
    }

    /// SHA-256 of some bytes.
    #[must_use]
    pub fn sha256(&self, bytes: &[u8]) -> [u8; 32] {
        self.admission.digest().sha256(&[bytes])
    }

    /// Tries each beacon once.
    ///
    /// # Errors
    /// What the last one ended with.
    pub fn open(&self, stop: &Stop, until: Until) -> Result<Link, ClientError> {
        let now = unix_seconds();
        let day = self.admission.day(now)?;
        let mut last = ClientError::Stopped;
        for beacon in self.admission.in_order(&day) {
            let hello = self.admission.hello(&self.config, PROTOCOL, beacon, &day, now)?;
            match self.through(beacon, hello, stop, until) {
                Err(error) if error.is_passing() => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    fn through(
        &self,
        beacon: &BeaconAddress,
        (config, name): (ClientConfig, rustls::pki_types::ServerName<'static>),
        stop: &Stop,
        until: Until,
    ) -> Result<Link, ClientError> {
        let address = self.broker.as_ref().unwrap_or(&beacon.address);
        let failed = |source| ClientError::Beacon { beacon: address.clone(), source };
        let socket = self.dial(address, until.or_after(DIAL_PATIENCE)).map_err(failed)?;
        if stop.watch(&socket) {
            return Err(ClientError::Stopped);
        }
        let config = Arc::new(config);
        let mut session = ClientConnection::new(config, name)
            .map_err(|error| ClientError::Session(io::Error::other(error)))?;
        let mut socket = socket;
        let until = until.or_after(HANDSHAKE_PATIENCE);
        while session.is_handshaking() {
            socket.set_read_timeout(some(until)).map_err(ClientError::Session)?;
            if let Err(error) = session.complete_io(&mut socket) {
                return Err(stopped(stop).unwrap_or_else(|| explain(error, address)));
            }
        }
        let group = session.negotiated_key_exchange_group().map(|group| group.name());
        // The configuration has no other; said here so that no later change of it passes unseen.
        if group != Some(NamedGroup::X25519MLKEM768) || session.alpn_protocol() != Some(PROTOCOL) {
            return Err(ClientError::Session(io::ErrorKind::InvalidData.into()));
        }
        let exporter = session
            .export_keying_material([0; 32], EXPORTER_LABEL, None)
            .map_err(|error| ClientError::Session(io::Error::other(error)))?;
        let stream = StreamOwned::new(session, socket);
        Ok(Link { stream, beacon: address.clone(), exporter })
    }

    fn dial(&self, address: &str, until: Until) -> io::Result<TcpStream> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in self.resolve.addresses(address, until.left())? {
            let left = until.left();
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match TcpStream::connect_timeout(&address, left) {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    return Ok(socket);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Link {
    /// Sends one message.
    ///
    /// # Errors
    /// [`ClientError`]; the session is of no use afterwards.
    pub fn send<M: Message>(&mut self, message: &M, until: Until) -> Result<(), ClientError> {
        let odd = |error| ClientError::Session(io::Error::new(io::ErrorKind::InvalidInput, error));
        let bytes = frame::encode(message).map_err(odd)?;
        let sent = self
            .stream
            .sock
            .set_write_timeout(some(until))
            .and_then(|()| self.stream.write_all(&bytes))
            .and_then(|()| self.stream.flush());
        sent.map_err(|error| explain(error, &self.beacon))
    }

    /// Waits for one message.
    ///
    /// # Errors
    /// [`ClientError`]; the session is of no use afterwards.
    pub fn receive<M: Message>(&mut self, until: Until) -> Result<M, ClientError> {
        let odd = |error| ClientError::Session(io::Error::new(io::ErrorKind::InvalidData, error));
        let mut prefix = [0; frame::PREFIX_LEN];
        self.fill(&mut prefix, until)?;
        let len = frame::len_of::<M>(&prefix).map_err(odd)?.unwrap_or(frame::PREFIX_LEN);
        let mut bytes = Zeroizing::new(vec![0; len]);
        let (head, rest) = bytes.split_at_mut(frame::PREFIX_LEN);
        head.copy_from_slice(&prefix);
        self.fill(rest, until)?;
        match frame::decode(&bytes).map_err(odd)? {
            Some((message, _)) => Ok(message),
            None => Err(ClientError::Session(io::ErrorKind::InvalidData.into())),
        }
    }

    fn fill(&mut self, mut buffer: &mut [u8], until: Until) -> Result<(), ClientError> {
        while !buffer.is_empty() {
            let read = self
                .stream
                .sock
                .set_read_timeout(some(until))
                .and_then(|()| self.stream.read(buffer))
                .and_then(|read| match read {
                    0 => Err(io::ErrorKind::UnexpectedEof.into()),
                    read => Ok(read),
                });
            match read {
                Ok(read) => buffer = buffer.get_mut(read..).unwrap_or(&mut []),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(explain(error, &self.beacon)),
            }
        }
        Ok(())
    }

    /// Says goodbye as TLS has it.
    pub fn close(mut self) {
        self.stream.conn.send_close_notify();
        // Where it fails the other side sees the end of the connection.
        let _gone = self.stream.flush();
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("beacon", &self.beacon).finish_non_exhaustive()
    }
}

/// A time-out of nothing would be none at all.
fn some(until: Until) -> Option<Duration> {
    Some(until.left().max(Duration::from_millis(1)))
}

fn stopped(stop: &Stop) -> Option<ClientError> {
    stop.is_raised().then_some(ClientError::Stopped)
}

fn explain(error: io::Error, beacon: &str) -> ClientError {
    let error = match error.kind() {
        // The kernel's word for a time-out of a socket.
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "no answer in time"),
        _ => error,
    };
    ClientError::explain(error, beacon.to_owned())
}
