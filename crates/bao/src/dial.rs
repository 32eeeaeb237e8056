//! The glue between ureq and what is ours: names, TLS, and the knowledge of what was sent.
//!
//! Everything that fails in here fails before a request leaves, and is marked so
//! ([`NotConnected`]); whatever ureq reports otherwise may have been sent. The traits implemented
//! here may change between ureq's minor versions, which is why its version is held.

use std::{
    fmt,
    io::{self, IoSlice, Read as _, Write as _},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustls::{ClientConnection, NamedGroup, StreamOwned};
use ureq::{
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::{
            Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, TcpConnector,
            Transport, TransportAdapter,
        },
    },
};

use cloudtaser_tls::TlsClient;

use crate::dns::{DnsError, Files, client::resolve};

/// A name is not looked for longer than this, whatever the deadline.
const LONGEST_RESOLVE: Duration = Duration::from_secs(30);
/// What the resolver's answer has room for.
const MAX_ADDRESSES: usize = 16;

/// Why no connection came about.
#[derive(Debug)]
pub(crate) enum NotConnected {
    Io(io::Error),
    Name(DnsError),
    NoTls,
    ServerName,
    Timeout,
    Tls(rustls::Error),
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not connected")
    }
}

impl std::error::Error for NotConnected {}

impl From<NotConnected> for ureq::Error {
    fn from(problem: NotConnected) -> Self {
        Self::Other(Box::new(problem))
    }
}

/// Our resolver in ureq's terms.
#[derive(Debug)]
pub(crate) struct Names(pub(crate) Files);

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let usual = if uri.scheme_str() == Some("http") { 80 } else { 443 };
        let port = uri.port_u16().unwrap_or(usual);
        let time = (*timeout.after).min(LONGEST_RESOLVE);
        let found = resolve(&self.0, host, time).map_err(NotConnected::Name)?;
        let mut addresses = self.empty();
        for ip in found.into_iter().take(MAX_ADDRESSES) {
            addresses.push(SocketAddr::new(ip, port));
        }
        Ok(addresses)
    }
}

/// What kinds of key exchange the connections so far had.
#[derive(Debug, Default)]
pub(crate) struct KeyExchanges {
    hybrid: AtomicBool,
    classical: AtomicBool,
}

impl KeyExchanges {
    fn note(&self, session: &ClientConnection) {
        let group = session.negotiated_key_exchange_group().map(|group| group.name());
        let seen = match group {
            Some(NamedGroup::X25519MLKEM768) => &self.hybrid,
            _ => &self.classical,
        };
        seen.store(true, Ordering::Relaxed);
    }

    /// Whether there was a connection, and every one was hybrid.
    pub(crate) fn all_hybrid(&self) -> bool {
        self.hybrid.load(Ordering::Relaxed) && !self.classical.load(Ordering::Relaxed)
    }
}

/// Opens TCP, and speaks TLS over it where the scheme is `https`.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) tls: Option<TlsClient>,
    pub(crate) exchanges: Arc<KeyExchanges>,
}

impl Connector<()> for Dial {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _chained: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let tcp = TcpConnector::default().connect(details, None::<()>).map_err(not_connected)?;
        let Some(tcp) = tcp else { return Ok(None) };
        if !details.needs_tls() {
            return Ok(Some(Box::new(tcp)));
        }
        let tls = self.tls.as_ref().ok_or(NotConnected::NoTls)?;
        let host = details.uri.host().unwrap_or_default();
        let name = tls.name_for(host).ok().ok_or(NotConnected::ServerName)?;
        let mut session = ClientConnection::new(tls.config(), name).map_err(NotConnected::Tls)?;
        let tcp = TransportAdapter::new(Box::new(tcp) as Self::Out, details.current_time.clone());
        let mut socket = Gather(tcp);
        socket.0.set_timeout(details.timeout);
        while session.is_handshaking() {
            session.complete_io(&mut socket).map_err(|error| not_connected(error.into()))?;
        }
        self.exchanges.note(&session);
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(Box::new(Encrypted { buffers, stream: StreamOwned::new(session, socket) })))
    }
}

/// Marks an error as one from before anything was sent.
fn not_connected(error: ureq::Error) -> ureq::Error {
    let problem = match error {
        ureq::Error::Io(error) => match error.downcast::<rustls::Error>() {
            Ok(error) => NotConnected::Tls(error),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => NotConnected::Timeout,
            Err(error) => NotConnected::Io(error),
        },
        ureq::Error::Rustls(error) => NotConnected::Tls(error),
        ureq::Error::Timeout(_) => NotConnected::Timeout,
        other => NotConnected::Io(io::Error::other(other)),
    };
    problem.into()
}

/// Sends TLS records that are ready together in one piece: the adapter alone sends each by itself.
struct Gather(TransportAdapter);

impl io::Read for Gather {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl io::Write for Gather {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_vectored(&mut self, records: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut all = Vec::new();
        for record in records {
            all.extend_from_slice(record);
        }
        self.0.write(&all)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// TLS over another transport.
///
/// Head and body of a request are handed over one after the other. Both become records at once, and
/// leave together when the answer is waited for, or when rustls holds no more.
struct Encrypted {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, Gather>,
}

impl Transport for Encrypted {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.0.set_timeout(timeout);
        let mut output = self.buffers.output().get(..amount).unwrap_or(&[]);
        while !output.is_empty() {
            match self.stream.conn.writer().write(output)? {
                0 => self.stream.flush()?,
                taken => output = output.get(taken..).unwrap_or(&[]),
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.0.set_timeout(timeout);
        self.stream.flush()?;
        let len = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(len);
        Ok(len > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.0.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypted").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::Sender, time::Instant};

    use super::*;

    /// Tells what each send holds.
    #[derive(Debug)]
    struct Sends(LazyBuffers, Sender<Vec<u8>>);

    impl Transport for Sends {
        fn buffers(&mut self) -> &mut dyn Buffers {
            &mut self.0
        }

        fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
            self.1.send(self.0.output()[..amount].to_vec()).unwrap();
            Ok(())
        }

        fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
            Ok(false)
        }

        fn is_open(&mut self) -> bool {
            true
        }
    }

    #[test]
    fn records_leave_together_and_what_does_not_fit_is_told() {
        let (tell, told) = std::sync::mpsc::channel();
        let sends: Box<dyn Transport> = Box::new(Sends(LazyBuffers::new(8, 8), tell));
        let clock = Arc::new(|| ureq::unversioned::transport::time::Instant::Exact(Instant::now()));
        let mut gather = Gather(TransportAdapter::new(sends, clock));
        let records = [&b"abc"[..], b"de", b"fghij"].map(IoSlice::new);
        assert_eq!(gather.write_vectored(&records).unwrap(), 8);
        assert_eq!(gather.write_vectored(&records[..2]).unwrap(), 5);
        drop(gather);
        assert_eq!(told.iter().collect::<Vec<_>>(), [&b"abcdefgh"[..], b"abcde"]);
    }
}
