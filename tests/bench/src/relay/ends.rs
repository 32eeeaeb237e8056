//! The two ends that all relays stand between.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// Far longer than anything takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Both ends of one tunnel.
pub(crate) type Tunnel = (TcpStream, TcpStream);

/// The port that is tried next. Each is offered once: one that was only looked for is somebody's soon.
static NEXT: AtomicU16 = AtomicU16::new(20_000);
/// Below the range of ports from which connections take theirs.
const LAST: u16 = 32_000;

/// Addresses that one relay is dialled by; all listen on every address.
const ADDRESSES: u8 = 4;

/// A listener behind a relay.
pub(crate) fn listener() -> anyhow::Result<(TcpListener, SocketAddr)> {
    loop {
        let port = NEXT.fetch_add(7, Ordering::Relaxed);
        ensure!(port < LAST, "no port is free");
        if let Ok(listener) = TcpListener::bind(("0.0.0.0", port)) {
            return Ok((listener, SocketAddr::from(([127, 0, 0, 1], port))));
        }
    }
}

/// A port that nobody has just now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(listener()?.1.port())
}

/// Dials, with what all ends have; by another address of the loopback each time, so that ports do
/// not run out.
pub(crate) fn dial(address: SocketAddr) -> anyhow::Result<TcpStream> {
    static TURN: AtomicU8 = AtomicU8::new(0);
    let last = TURN.fetch_add(1, Ordering::Relaxed) % ADDRESSES + 1;
    let address = SocketAddr::from(([127, 0, 0, last], address.port()));
    prepared(TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?)
}

/// No delay, and no waiting for ever.
pub(crate) fn prepared(stream: TcpStream) -> anyhow::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The first record of TLS, and nothing behind it.
pub(crate) fn read_record(stream: &mut TcpStream) -> anyhow::Result<()> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let [.., high, low] = head;
    stream.read_exact(&mut vec![0; usize::from(u16::from_be_bytes([high, low]))])?;
    Ok(())
}

/// One byte there and back, so that the tunnel stands.
pub(crate) fn settle(near: &mut TcpStream, far: &mut TcpStream) -> anyhow::Result<()> {
    let mut byte = [0];
    near.write_all(&[7])?;
    far.read_exact(&mut byte)?;
    far.write_all(&byte)?;
    near.read_exact(&mut byte)?;
    Ok(())
}
