//! The sockets of the stub resolver.
//!
//! Each address family is asked from a socket of its own: two questions from one port race each
//! other in the kernel's connection tracking, and Kubernetes users know the five seconds that
//! costs. Sockets are connected, so that the kernel drops what other hosts send.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use crate::dns::{
    DnsError, Files,
    files::{ResolvConf, hosts, literal},
    message::{Family, Reply, question, reply},
};

/// No larger than what a server may send without EDNS, with room for those that do not care.
const UDP_LEN: usize = 4096;
/// Answers of other hosts or to other questions that are passed over in one exchange.
const MAX_STRAYS: usize = 16;

/// Finds the addresses of a host within the time.
pub(crate) fn resolve(files: &Files, host: &str, time: Duration) -> Result<Vec<IpAddr>, DnsError> {
    let known = literal(host);
    if !known.is_empty() {
        return Ok(known);
    }
    let listed = fs::read(&files.hosts).map(|text| hosts(&text, host)).unwrap_or_default();
    if !listed.is_empty() {
        return Ok(listed);
    }
    let conf = match fs::read(&files.resolv_conf) {
        Ok(text) => ResolvConf::parse(&text),
        // Without the file the server is on this machine, as resolv.conf(5) has it.
        Err(_) => ResolvConf::default(),
    };
    Search { conf: &conf, until: Instant::now() + time }.run(host)
}

/// What one name came to.
enum Found {
    Addresses(Vec<IpAddr>),
    /// It exists; addresses may come.
    NoAddress,
    NoSuchName,
}

struct Search<'a> {
    conf: &'a ResolvConf,
    until: Instant,
}

impl Search<'_> {
    fn run(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        let mut tried = Vec::new();
        let mut trouble = None;
        for name in self.conf.candidates(host) {
            // A search domain can make a good name too long; then it is not that one.
            if question(0, &name, Family::V4).is_none() {
                continue;
            }
            match self.ask_all(&name) {
                Ok(Found::Addresses(addresses)) => return Ok(addresses),
                Ok(Found::NoSuchName) => tried.push(name),
                Ok(Found::NoAddress) => {
                    let servers = self.servers();
                    trouble = trouble.or(Some(DnsError::NoAddress { servers, name }));
                }
                Err(DnsError::Timeout { servers }) => return Err(DnsError::Timeout { servers }),
                // The next name may still be answered; but then it cannot be said that none is there.
                Err(error) => trouble = Some(error),
            }
        }
        match trouble {
            Some(error) => Err(error),
            None if tried.is_empty() => Err(DnsError::BadName { name: host.to_owned() }),
            None => {
                let (host, servers) = (host.to_owned(), self.servers());
                Err(DnsError::NoSuchName { host, servers, tried })
            }
        }
    }

    /// Asks each server, as often as the file says, until one knows.
    fn ask_all(&self, name: &str) -> Result<Found, DnsError> {
        let mut last = None;
        for attempt in 0..self.conf.attempts {
            for server in &self.conf.servers {
                let left = self.until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(DnsError::Timeout { servers: self.servers() });
                }
                // As glibc does: later rounds wait longer.
                let time = self.conf.timeout.saturating_mul(1 << attempt.min(4)).min(left);
                match ask(*server, name, Instant::now() + time, self.conf.tcp) {
                    Ok(Some(found)) => return Ok(found),
                    Ok(None) => {}
                    Err(error) => last = Some(error),
                }
            }
        }
        if last.as_ref().is_some_and(is_timeout) {
            return Err(DnsError::Timeout { servers: self.servers() });
        }
        Err(DnsError::NoAnswer { servers: self.servers(), source: last })
    }

    fn servers(&self) -> String {
        let servers: Vec<_> = self.conf.servers.iter().map(ToString::to_string).collect();
        servers.join(", ")
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// Asks one server for both families; `None` where it cannot say.
///
/// One family that is answered with addresses is enough: some servers never answer AAAA.
fn ask(
    server: SocketAddr,
    name: &str,
    until: Instant,
    tcp: bool,
) -> Result<Option<Found>, io::Error> {
    let mut v4 = Exchange::start(server, name, Family::V4, tcp)?;
    let mut v6 = Exchange::start(server, name, Family::V6, tcp)?;
    let first = v4.finish(until);
    // With IPv4 in hand the other answer is worth a moment, not the whole time.
    let soon = Instant::now() + Duration::from_millis(200);
    let has_v4 = matches!(&first, Ok(Reply::Addresses(addresses)) if !addresses.is_empty());
    let second = v6.finish(if has_v4 { until.min(soon) } else { until });
    let mut addresses = Vec::new();
    let mut exists = false;
    let mut failed = None;
    for reply in [first, second] {
        match reply {
            Ok(Reply::Addresses(found)) => {
                exists = true;
                addresses.extend(found);
            }
            Ok(Reply::NoSuchName) => {}
            Ok(Reply::NotOurs | Reply::ServerFailed | Reply::Truncated) => {
                failed = failed.or(Some(None))
            }
            Err(error) => failed = Some(Some(error)),
        }
    }
    match (addresses.is_empty(), failed) {
        (false, _) => Ok(Some(Found::Addresses(addresses))),
        (true, None) if exists => Ok(Some(Found::NoAddress)),
        (true, None) => Ok(Some(Found::NoSuchName)),
        (true, Some(Some(error))) => Err(error),
        (true, Some(None)) => Ok(None),
    }
}

/// One question on its way.
struct Exchange<'a> {
    server: SocketAddr,
    name: &'a str,
    family: Family,
    id: u16,
    question: Vec<u8>,
    /// Absent where TCP is asked for from the start.
    socket: Option<UdpSocket>,
}

impl<'a> Exchange<'a> {
    fn start(server: SocketAddr, name: &'a str, family: Family, tcp: bool) -> io::Result<Self> {
        let mut id = [0; 2];
        cloudtaser_tls::random(&mut id).map_err(io::Error::other)?;
        let id = u16::from_ne_bytes(id);
        let question = question(id, name, family)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut exchange = Self { server, name, family, id, question, socket: None };
        if !tcp {
            exchange.socket = Some(exchange.send()?);
        }
        Ok(exchange)
    }

    fn send(&self) -> io::Result<UdpSocket> {
        let any: SocketAddr = match self.server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(self.server)?;
        socket.send(&self.question)?;
        Ok(socket)
    }

    fn finish(&mut self, until: Instant) -> io::Result<Reply> {
        let Some(socket) = self.socket.take() else { return self.by_tcp(until) };
        let mut buffer = [0; UDP_LEN];
        for _ in 0..MAX_STRAYS {
            socket.set_read_timeout(Some(time_left(until)?))?;
            let len = socket.recv(&mut buffer)?;
            match self.read(buffer.get(..len).unwrap_or(&[])) {
                Reply::NotOurs => {}
                Reply::Truncated => return self.by_tcp(until),
                reply => return Ok(reply),
            }
        }
        Ok(Reply::NotOurs)
    }

    /// RFC 1035 §4.2.2: two bytes of length before each message.
    fn by_tcp(&self, until: Instant) -> io::Result<Reply> {
        let mut stream = TcpStream::connect_timeout(&self.server, time_left(until)?)?;
        stream.set_write_timeout(Some(time_left(until)?))?;
        let len = u16::try_from(self.question.len()).map_err(io::Error::other)?;
        stream.write_all(&[&len.to_be_bytes()[..], &self.question].concat())?;
        let mut len = [0; 2];
        read_until(&mut stream, &mut len, until)?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
        read_until(&mut stream, &mut message, until)?;
        Ok(self.read(&message))
    }

    fn read(&self, bytes: &[u8]) -> Reply {
        reply(bytes, self.id, self.name, self.family)
    }
}

/// Fills the buffer, however slowly the bytes come, or gives up in time.
fn read_until(stream: &mut TcpStream, buffer: &mut [u8], until: Instant) -> io::Result<()> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        stream.set_read_timeout(Some(time_left(until)?))?;
        match stream.read(rest)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            len => filled += len,
        }
    }
    Ok(())
}

fn time_left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}
