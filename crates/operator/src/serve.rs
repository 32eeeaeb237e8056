//! Connections: accepted, limited, served until they end or the program does.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tracing::warn;

use crate::metrics::Metrics;

/// More than all API servers of a cluster keep open; each costs some ten kilobytes.
const MOST: usize = 1024;
/// A handshake is two round trips in one cluster.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// How long the head of a request may take, idle time between requests included. API servers close
/// what was idle for 90 s: they shall be the first, or a review meets a connection that just ended.
const HEAD_TIME: Duration = Duration::from_secs(120);
/// Connections from one address: an API server keeps a few dozen, and nobody else needs any.
const MOST_OF_ONE: usize = 256;
/// Heads of reviews are a few hundred bytes.
const MAX_HEAD_LEN: usize = 64 << 10;

/// A port that is listened on.
pub(crate) struct Port {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Port {
    /// Listens, by TLS where a configuration is given.
    ///
    /// # Errors
    /// Where the address cannot be had.
    pub(crate) async fn bind(address: SocketAddr, tls: Option<ServerConfig>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, tls: tls.map(|config| TlsAcceptor::from(Arc::new(config))) })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` is true, then lets each connection end the request that it is at.
    pub(crate) async fn serve(
        self,
        router: Router,
        metrics: Arc<Metrics>,
        mut stop: watch::Receiver<bool>,
    ) {
        let places = Arc::new(Semaphore::new(MOST));
        let peers = Peers::default();
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await.ok();
                (place, self.listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                next = next => next,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let (stream, peer) = match accepted {
                Ok((stream, peer)) => (stream, peer.ip()),
                Err(error) => {
                    // Descriptors are short, or the peer is gone: nothing to do but wait.
                    warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Some(seat) = peers.seat(peer) else { continue };
            let (router, tls) = (router.clone(), self.tls.clone());
            let (metrics, stop) = (Arc::clone(&metrics), stop.clone());
            tokio::spawn(async move {
                metrics.connections.inc();
                connection(stream, tls, router, &metrics, stop).await;
                metrics.connections.dec();
                drop((place, seat));
            });
        }
        drop(self.listener);
        // All places are free when every connection has ended.
        let all = u32::try_from(MOST).unwrap_or(u32::MAX);
        let _ended = timeout(Duration::from_secs(10), places.acquire_many(all)).await;
    }
}

/// How many connections each address has.
#[derive(Clone, Debug, Default)]
struct Peers(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// One connection of an address; it counts until this is dropped.
struct Seat {
    peers: Peers,
    peer: IpAddr,
}

impl Peers {
    fn seat(&self, peer: IpAddr) -> Option<Seat> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_default();
        if *count >= MOST_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Seat { peers: self.clone(), peer })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    metrics: &Metrics,
    stop: watch::Receiver<bool>,
) {
    // An answer is one write; waiting for more would only make it late.
    let _unusual = stream.set_nodelay(true);
    let Some(tls) = tls else { return requests(stream, router, stop).await };
    match timeout(HANDSHAKE_TIME, tls.accept(stream)).await {
        Ok(Ok(stream)) => requests(stream, router, stop).await,
        Ok(Err(_)) | Err(_) => {
            metrics.handshakes_failed.inc();
        }
    }
}

async fn requests<S>(stream: S, router: Router, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = TowerToHyperService::new(router);
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_LEN)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        _ended = serving.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => serving.as_mut().graceful_shutdown(),
    }
    let _ended = serving.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_places() {
        let (peers, one, other) = (Peers::default(), [127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let mut seats: Vec<_> = (0..MOST_OF_ONE).map(|_| peers.seat(one).unwrap()).collect();
        assert!(peers.seat(one).is_none());
        assert!(peers.seat(other).is_some());
        seats.pop();
        assert!(peers.seat(one).is_some());
        drop(seats);
        assert!(peers.0.lock().unwrap().is_empty());
    }
}
