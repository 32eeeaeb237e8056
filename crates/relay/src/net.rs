//! What all sockets of ours have in common.

use std::{io, net::SocketAddr, time::Duration};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::{net::TcpStream, time::timeout};

/// Below the idle timers of the clouds' gateways (AWS 350 s, Azure 240 s).
const KEEPALIVE_IDLE_SECONDS: u32 = 75;
const KEEPALIVE_INTERVAL_SECONDS: u32 = 15;
const KEEPALIVE_PROBES: u32 = 3;
/// How long data may go unacknowledged before the connection is given up.
const USER_TIMEOUT_MS: u32 = 30_000;

/// No delay for small messages; a peer that is gone is noticed by the kernel, without a wake-up.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &KEEPALIVE_IDLE_SECONDS)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &KEEPALIVE_INTERVAL_SECONDS)?;
    setsockopt(stream, sockopt::TcpKeepCount, &KEEPALIVE_PROBES)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &USER_TIMEOUT_MS)?;
    Ok(())
}

/// Dials `host:port`, each of its addresses in turn, for this long in all.
pub(crate) async fn dial(address: &str, patience: Duration) -> io::Result<TcpStream> {
    let stream = timeout(patience, TcpStream::connect(address))
        .await
        .map_err(|_late| io::Error::from(io::ErrorKind::TimedOut))??;
    prepare(&stream)?;
    Ok(stream)
}

/// Ends a connection at once, so that the peer sees a failure and not an end.
pub(crate) fn reset(stream: &TcpStream) {
    // Where it fails the connection is gone already.
    let _gone = stream.set_zero_linger();
}

/// The peer's address, with IPv4 in its own form.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
