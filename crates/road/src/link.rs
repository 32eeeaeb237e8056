//! One session with a bridge: dialled, opened and spoken over by a thread that may wait.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd as _, BorrowedFd},
    sync::Arc,
    time::Duration,
};

use cloudtaser_core::release::{
    EXPORTER_LABEL, Ends, PROTOCOL,
    frame::{self, Message},
};
use cloudtaser_tls::{
    Digest, TlsError,
    raw::{self, KeyPair, PublicKey},
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{setsockopt, sockopt},
};
use rustls::{ClientConfig, ClientConnection, NamedGroup, StreamOwned, pki_types::ServerName};
use zeroize::Zeroizing;

use crate::{
    admission::Admission,
    broker::{self, Answer, MAX_PASS_LEN, Pass},
    clock::unix_seconds,
    credential::{ENROLLED_PROTOCOL, Presentation, Reception},
    error::ClientError,
    stop::{Stop, Until},
};

const DIAL_PATIENCE: Duration = Duration::from_secs(3);
/// The beacon waits five seconds for a leg, and the handshake comes behind that.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(15);

/// Below the idle timers of the clouds' gateways (AWS 350 s, Azure 240 s), as on the beacon's side.
const KEEPALIVE_IDLE_SECONDS: u32 = 75;
const KEEPALIVE_INTERVAL_SECONDS: u32 = 15;
const KEEPALIVE_PROBES: u32 = 3;

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

/// A session that stands.
pub struct Link {
    stream: StreamOwned<ClientConnection, TcpStream>,
    beacon: String,
    client: PublicKey,
    exporter: [u8; 32],
}

/// What a wait came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wait {
    /// Time is up.
    Late,
    /// The other side has said something.
    Said,
    /// Somebody else has something to tell.
    Woken,
}

/// A connection with all that a handshake needs.
struct Dialled {
    socket: TcpStream,
    address: String,
    config: ClientConfig,
    name: ServerName<'static>,
    protocol: &'static [u8],
    client: PublicKey,
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

impl Link {
    /// Sends one message.
    ///
    /// # Errors
    /// [`ClientError`]; the session is of no use afterwards.
    pub fn send<M: Message>(&mut self, message: &M, until: Until) -> Result<(), ClientError> {
        let odd = |error| ClientError::Session(io::Error::new(io::ErrorKind::InvalidInput, error));
        let bytes = frame::encode(message).map_err(odd)?;
        self.write(&bytes, until)
    }

    fn write(&mut self, bytes: &[u8], until: Until) -> Result<(), ClientError> {
        let sent = self
            .stream
            .sock
            .set_write_timeout(some(until))
            .and_then(|()| self.stream.write_all(bytes))
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

    /// Waits until the other side has said something, somebody else wakes us, or time is up.
    ///
    /// # Errors
    /// [`ClientError`]; the session is of no use afterwards.
    pub fn wait(&mut self, wake: BorrowedFd<'_>, until: Until) -> Result<Wait, ClientError> {
        loop {
            let broken = |error| ClientError::Session(io::Error::other(error));
            let state = self.stream.conn.process_new_packets().map_err(broken)?;
            if state.plaintext_bytes_to_read() > 0 {
                return Ok(Wait::Said);
            }
            let mut ends = [
                PollFd::new(self.stream.sock.as_fd(), PollFlags::POLLIN),
                PollFd::new(wake, PollFlags::POLLIN),
            ];
            match poll(&mut ends, patience(until)) {
                Ok(0) => return Ok(Wait::Late),
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(ClientError::Session(error.into())),
            }
            let [said, woken] = ends.map(|end| end.any().unwrap_or(false));
            if woken {
                return Ok(Wait::Woken);
            }
            if !said {
                continue;
            }
            // There is something, so this waits for nothing.
            let read = self.stream.conn.read_tls(&mut self.stream.sock);
            if read.map_err(|error| explain(error, &self.beacon))? == 0 {
                return Err(explain(io::ErrorKind::UnexpectedEof.into(), &self.beacon));
            }
        }
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

/// Brings a handshake to its end.
fn shake(dialled: Dialled, stop: &Stop, until: Until) -> Result<Link, ClientError> {
    let Dialled { mut socket, address, config, name, protocol, client } = dialled;
    let broken = |error| ClientError::Session(io::Error::other(error));
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(broken)?;
    let until = until.or_after(HANDSHAKE_PATIENCE);
    while session.is_handshaking() {
        socket.set_read_timeout(some(until)).map_err(ClientError::Session)?;
        if let Err(error) = session.complete_io(&mut socket) {
            return Err(stopped(stop).unwrap_or_else(|| explain(error, &address)));
        }
    }
    let group = session.negotiated_key_exchange_group().map(|group| group.name());
    // The configuration has no other; said here so that no later change of it passes unseen.
    if group != Some(NamedGroup::X25519MLKEM768) || session.alpn_protocol() != Some(protocol) {
        return Err(ClientError::Session(io::ErrorKind::InvalidData.into()));
    }
    let exporter = session.export_keying_material([0; 32], EXPORTER_LABEL, None).map_err(broken)?;
    Ok(Link { stream: StreamOwned::new(session, socket), beacon: address, client, exporter })
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

/// No delay for small messages, and an end that is told of by the kernel where the other side has gone
/// without a word: somebody may wait for it alone.
fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    setsockopt(socket, sockopt::TcpKeepIdle, &KEEPALIVE_IDLE_SECONDS)?;
    setsockopt(socket, sockopt::TcpKeepInterval, &KEEPALIVE_INTERVAL_SECONDS)?;
    setsockopt(socket, sockopt::TcpKeepCount, &KEEPALIVE_PROBES)?;
    Ok(())
}

/// What `poll` waits; it looks again where that is less than what is left.
fn patience(until: Until) -> PollTimeout {
    // Rounded up, or the last millisecond would be spent asking.
    let millis = until.left().as_millis().saturating_add(1);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use nix::sys::socket::getsockopt;

    use super::*;

    #[test]
    fn a_peer_that_goes_without_a_word_is_noticed_by_the_kernel() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        prepare(&socket).unwrap();
        assert!(getsockopt(&socket, sockopt::KeepAlive).unwrap());
        let got = [
            getsockopt(&socket, sockopt::TcpKeepIdle).unwrap(),
            getsockopt(&socket, sockopt::TcpKeepInterval).unwrap(),
            getsockopt(&socket, sockopt::TcpKeepCount).unwrap(),
        ];
        let wanted = [KEEPALIVE_IDLE_SECONDS, KEEPALIVE_INTERVAL_SECONDS, KEEPALIVE_PROBES];
        assert_eq!(got, wanted);
    }
}
