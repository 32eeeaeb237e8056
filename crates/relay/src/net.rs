//! What all sockets of ours have in common.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd as _},
    time::Duration,
};

use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use tokio::{
    io::Interest,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Below the idle timers of the clouds' gateways (AWS 350 s, Azure 240 s).
const KEEPALIVE_IDLE_SECONDS: u32 = 75;
const KEEPALIVE_INTERVAL_SECONDS: u32 = 15;
const KEEPALIVE_PROBES: u32 = 3;
/// How long data may go unacknowledged before the connection is given up.
const USER_TIMEOUT_MS: u32 = 30_000;

/// No delay for small messages; a peer that is gone is noticed by the kernel, without a wake-up.
///
/// KERNEL: what is set on a listener its connections inherit, so a beacon pays for it once.
pub(crate) fn prepare(stream: &impl AsFd) -> io::Result<()> {
    setsockopt(stream, sockopt::TcpNoDelay, &true)?;
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

/// How long a connection waits in the kernel's queue, where there is no descriptor for it.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// The next connection, and whose it is.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, canonical(peer)),
            Err(_exhausted) => sleep(EXHAUSTED_PAUSE).await,
        }
    }
}

/// How long one of several that could be dialled is left alone.
const HEAD_START: Duration = Duration::from_millis(250);

/// Dials several in turn, each a little after the one before or as soon as that one failed, and
/// takes the first that answers; else which was last, and why.
pub(crate) async fn dial_any(
    addresses: Vec<String>,
    patience: Duration,
) -> Result<TcpStream, (String, io::Error)> {
    let mut last = (String::new(), io::Error::from(io::ErrorKind::NotFound));
    let mut dialling = JoinSet::new();
    let mut addresses = addresses.into_iter();
    loop {
        if let Some(address) = addresses.next() {
            dialling.spawn(async move {
                let dialled = dial(&address, patience).await;
                dialled.map_err(|error| (address, error))
            });
        }
        let next = sleep(if addresses.len() == 0 { Duration::MAX } else { HEAD_START });
        tokio::select! {
            done = dialling.join_next() => match done {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(error))) => last = error,
                Some(Err(_ended)) => {}
                None => return Err(last),
            },
            () = next => {}
        }
    }
}

/// Reads what is there, without asking a second time whether that was all.
///
/// KERNEL: readiness is told by edges. Where less comes than fits, the buffer of the kernel is empty,
/// and what comes later is another edge; that a peer has ended the runtime remembers apart.
pub(crate) fn read(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut partly = 0;
    let whole = stream.try_io(Interest::READABLE, || {
        match recv(stream.as_raw_fd(), buffer, MsgFlags::empty())? {
            len if len == 0 || len == buffer.len() => Ok(len),
            len => {
                partly = len;
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
    });
    if partly > 0 { Ok(partly) } else { whole }
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn what_a_listener_is_given_its_connections_have() {
        use nix::sys::socket::getsockopt;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        prepare(&listener).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert!(getsockopt(&stream, sockopt::TcpNoDelay).unwrap());
        assert!(getsockopt(&stream, sockopt::KeepAlive).unwrap());
        let got = [
            getsockopt(&stream, sockopt::TcpKeepIdle).unwrap(),
            getsockopt(&stream, sockopt::TcpKeepInterval).unwrap(),
            getsockopt(&stream, sockopt::TcpKeepCount).unwrap(),
            getsockopt(&stream, sockopt::TcpUserTimeout).unwrap(),
        ];
        let wanted =
            [KEEPALIVE_IDLE_SECONDS, KEEPALIVE_INTERVAL_SECONDS, KEEPALIVE_PROBES, USER_TIMEOUT_MS];
        assert_eq!(got, wanted);
    }

    #[tokio::test]
    async fn whatever_comes_is_read_however_it_is_cut_and_the_end_is_seen() {
        use tokio::io::AsyncWriteExt as _;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 8];
        let mut next = async || loop {
            far.readable().await.unwrap();
            match read(&far, &mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read.map(|len| buffer[..len].to_vec()).unwrap(),
            }
        };
        for text in [&b"a"[..], b"12345678", b"1234567"] {
            near.write_all(text).await.unwrap();
            let mut came = Vec::new();
            while came.len() < text.len() {
                came.extend(next().await);
            }
            assert_eq!(came, text);
        }
        // The end comes with the last bytes, so that there is one edge for both.
        near.write_all(b"last").await.unwrap();
        near.shutdown().await.unwrap();
        sleep(Duration::from_millis(50)).await;
        assert_eq!(next().await, b"last");
        assert_eq!(next().await, b"");
    }

    #[tokio::test]
    async fn of_several_the_first_that_answers_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap().to_string();
        let closed = "127.0.0.1:1".to_owned();
        // One that never answers: its queue is full.
        let full = tokio::net::TcpSocket::new_v4().unwrap();
        full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = full.listen(1).unwrap();
        let silent = full.local_addr().unwrap();
        let mut waiting = Vec::new();
        for _ in 0..4 {
            waiting.push(tokio::spawn(TcpStream::connect(silent)));
        }
        sleep(Duration::from_millis(50)).await;
        let began = Instant::now();
        let all = vec![silent.to_string(), closed.clone(), good.clone()];
        let patience = Duration::from_secs(20);
        let stream = dial_any(all, patience).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().to_string(), good);
        assert!(began.elapsed() < Duration::from_secs(10), "the silent one was waited for");
        let (which, error) = dial_any(vec![closed.clone()], patience).await.unwrap_err();
        assert_eq!((which, error.kind()), (closed, io::ErrorKind::ConnectionRefused));
        assert!(dial_any(Vec::new(), patience).await.is_err());
    }
}
