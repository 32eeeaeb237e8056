//! Sockets of this node, as a client and as a server: every exchange is over in a given time.

use std::fmt;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Where to listen: `127.0.0.1:9464`, or the path of a unix socket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Address {
    /// By network.
    Tcp(SocketAddr),
    /// By file.
    Unix(PathBuf),
}

/// Why an address or a URL is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum AddressError {
    /// It has none of the forms.
    #[error("neither IP:PORT nor the full path of a unix socket")]
    Listen,
    /// TLS.
    #[error("https is not spoken here: send to a forwarder on this node that does")]
    Tls,
    /// Another machine.
    #[error("records are not sent over a network without TLS: only 127.0.0.1, [::1] or localhost")]
    Remote,
    /// It has none of the forms.
    #[error("neither http://127.0.0.1:PORT/PATH nor unix:/SOCKET or unix:/SOCKET:/PATH")]
    Url,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.strip_prefix("unix:").unwrap_or(text);
        if path.starts_with('/') {
            return Ok(Self::Unix(path.into()));
        }
        text.parse().map(Self::Tcp).map_err(|_neither| AddressError::Listen)
    }
}

/// Where audit records are posted to: on this node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Endpoint {
    pub(crate) address: Address,
    /// For the header of that name.
    pub(crate) host: String,
    /// What follows the host, with its slash.
    pub(crate) path: String,
}

impl FromStr for Endpoint {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains(|letter: char| letter.is_control() || letter == ' ') {
            return Err(AddressError::Url);
        }
        if let Some(rest) = text.strip_prefix("unix:") {
            let (socket, path) = rest.split_once(':').unwrap_or((rest, "/"));
            if !socket.starts_with('/') || !path.starts_with('/') {
                return Err(AddressError::Url);
            }
            let (host, path) = ("localhost".to_owned(), path.to_owned());
            return Ok(Self { address: Address::Unix(socket.into()), host, path });
        }
        if text.starts_with("https:") {
            return Err(AddressError::Tls);
        }
        let rest = text.strip_prefix("http://").ok_or(AddressError::Url)?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        // Not looked up: who answers for names decides who gets the records.
        let number = host.strip_prefix("localhost").map(|port| format!("127.0.0.1{port}"));
        let number = number.as_deref().unwrap_or(host);
        let with_port = number.parse::<SocketAddr>().ok();
        let address = with_port.or_else(|| format!("{number}:80").parse().ok());
        let address = address.ok_or(AddressError::Remote)?;
        if !address.ip().is_loopback() {
            return Err(AddressError::Remote);
        }
        let (host, path) = (host.to_owned(), format!("/{path}"));
        Ok(Self { address: Address::Tcp(address), host, path })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One connection, and when it is over at the latest.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: Socket,
    until: Instant,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Connects.
    pub(crate) fn connect(address: &Address, patience: Duration) -> io::Result<Self> {
        let until = Instant::now() + patience;
        let socket = match address {
            Address::Tcp(address) => Socket::Tcp(TcpStream::connect_timeout(address, patience)?),
            Address::Unix(path) => Socket::Unix(UnixStream::connect(path)?),
        };
        Ok(Self { socket, until })
    }

    /// Sets how long the next call may take: what is left.
    fn hurry(&self) -> io::Result<()> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        match &self.socket {
            Socket::Tcp(socket) => {
                socket.set_read_timeout(Some(left))?;
                socket.set_write_timeout(Some(left))
            }
            Socket::Unix(socket) => {
                socket.set_read_timeout(Some(left))?;
                socket.set_write_timeout(Some(left))
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.hurry()?;
        match &mut self.socket {
            Socket::Tcp(socket) => socket.read(bytes),
            Socket::Unix(socket) => socket.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hurry()?;
        match &mut self.socket {
            Socket::Tcp(socket) => socket.write(bytes),
            Socket::Unix(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where connections arrive.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens. The socket of an agent that is gone is replaced; any other file is not.
    pub(crate) fn open(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => TcpListener::bind(address).map(Self::Tcp),
            Address::Unix(path) => listen_at(path).map(Self::Unix),
        }
    }

    /// The next connection.
    pub(crate) fn accept(&self, patience: Duration) -> io::Result<Stream> {
        let socket = match self {
            Self::Tcp(listener) => Socket::Tcp(listener.accept()?.0),
            Self::Unix(listener) => Socket::Unix(listener.accept()?.0),
        };
        Ok(Stream { socket, until: Instant::now() + patience })
    }

    /// Where a port was left to the kernel.
    #[cfg(test)]
    pub(crate) fn address(&self) -> Address {
        match self {
            Self::Tcp(listener) => Address::Tcp(listener.local_addr().unwrap()),
            Self::Unix(_) => panic!("it has a path"),
        }
    }
}

fn listen_at(path: &Path) -> io::Result<UnixListener> {
    if fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o660))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_stay_on_the_node() {
        let endpoint = |text: &str| text.parse::<Endpoint>();
        let parts = |text| {
            let Endpoint { address, host, path } = endpoint(text).unwrap();
            (address.to_string(), host, path)
        };
        let owned = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            parts("http://localhost:8088/v1/in?a=b"),
            owned("127.0.0.1:8088", "localhost:8088", "/v1/in?a=b")
        );
        assert_eq!(parts("http://127.0.0.1"), owned("127.0.0.1:80", "127.0.0.1", "/"));
        assert_eq!(parts("http://[::1]:9/"), owned("[::1]:9", "[::1]:9", "/"));
        assert_eq!(parts("unix:/run/a.sock"), owned("unix:/run/a.sock", "localhost", "/"));
        assert_eq!(parts("unix:/run/a.sock:/in"), owned("unix:/run/a.sock", "localhost", "/in"));
        for text in ["http://10.0.0.1/", "http://example.org/", "http://localhost.example.org/"] {
            assert_eq!(endpoint(text), Err(AddressError::Remote), "{text}");
        }
        assert_eq!(endpoint("http://user@127.0.0.1/"), Err(AddressError::Remote));
        assert_eq!(endpoint("https://127.0.0.1/"), Err(AddressError::Tls));
        for text in ["", "127.0.0.1:80", "unix:run/a", "http://127.0.0.1/a\r\nHost: b"] {
            assert_eq!(endpoint(text), Err(AddressError::Url), "{text}");
        }
    }

    #[test]
    fn listening_is_by_number_or_by_full_path() {
        let address = |text: &str| text.parse::<Address>();
        assert_eq!(address("/run/m.sock"), Ok(Address::Unix("/run/m.sock".into())));
        assert_eq!(address("unix:/run/m.sock"), Ok(Address::Unix("/run/m.sock".into())));
        assert_eq!(address("127.0.0.1:9464").unwrap().to_string(), "127.0.0.1:9464");
        for text in ["", "9464", "localhost:9464", "run/m.sock"] {
            assert_eq!(address(text), Err(AddressError::Listen), "{text}");
        }
    }

    #[test]
    fn only_a_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.sock");
        for _ in 0..2 {
            drop(Listener::open(&Address::Unix(path.clone())).unwrap());
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(Listener::open(&Address::Unix(path.clone())).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_silent_peer_is_left_in_time() {
        let listener = Listener::open(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let patience = Duration::from_millis(30);
        let mut stream = Stream::connect(&listener.address(), patience).unwrap();
        let error = stream.read(&mut [0]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    }
}
