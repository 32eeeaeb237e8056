//! One session with a bridge: opened, and spoken over by a thread that may wait.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    os::fd::{AsFd as _, BorrowedFd},
    sync::Arc,
    time::Duration,
};

use cloudtaser_core::release::{
    EXPORTER_LABEL,
    frame::{self, Message},
};
use cloudtaser_tls::raw::PublicKey;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{setsockopt, sockopt},
};
use rustls::{ClientConfig, ClientConnection, NamedGroup, StreamOwned, pki_types::ServerName};
use zeroize::Zeroizing;

use crate::{
    error::ClientError,
    stop::{Stop, Until},
};

/// The beacon waits five seconds for a leg, and the handshake comes behind that.
pub(crate) const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(15);

/// Below the idle timers of the clouds' gateways (AWS 350 s, Azure 240 s), as on the beacon's side.
const KEEPALIVE_IDLE_SECONDS: u32 = 75;
const KEEPALIVE_INTERVAL_SECONDS: u32 = 15;
const KEEPALIVE_PROBES: u32 = 3;

/// A session that stands.
pub struct Link {
    stream: StreamOwned<ClientConnection, TcpStream>,
    beacon: String,
    pub(crate) client: PublicKey,
    pub(crate) exporter: [u8; 32],
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
pub(crate) struct Dialled {
    pub(crate) socket: TcpStream,
    pub(crate) address: String,
    pub(crate) config: ClientConfig,
    pub(crate) name: ServerName<'static>,
    pub(crate) protocol: &'static [u8],
    pub(crate) client: PublicKey,
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

    pub(crate) fn write(&mut self, bytes: &[u8], until: Until) -> Result<(), ClientError> {
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

    pub(crate) fn fill(&mut self, mut buffer: &mut [u8], until: Until) -> Result<(), ClientError> {
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
pub(crate) fn shake(dialled: Dialled, stop: &Stop, until: Until) -> Result<Link, ClientError> {
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

/// No delay for small messages, and an end that is told of by the kernel where the other side has gone
/// without a word: somebody may wait for it alone.
pub(crate) fn prepare(socket: &TcpStream) -> io::Result<()> {
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
pub(crate) fn some(until: Until) -> Option<Duration> {
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
