//! Connections: accepted, limited, served until they end or the program does.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

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
/// How long the head of a request may take, idle time between requests included.
const HEAD_TIME: Duration = Duration::from_secs(90);
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
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let stream = match accepted {
                Ok((stream, _peer)) => stream,
                Err(error) => {
                    // Descriptors are short, or the peer is gone: nothing to do but wait.
                    warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (router, tls) = (router.clone(), self.tls.clone());
            let (metrics, stop) = (Arc::clone(&metrics), stop.clone());
            tokio::spawn(async move {
                metrics.connections.inc();
                connection(stream, tls, router, &metrics, stop).await;
                metrics.connections.dec();
                drop(place);
            });
        }
        drop(self.listener);
        // All places are free when every connection has ended.
        let all = u32::try_from(MOST).unwrap_or(u32::MAX);
        let _ended = timeout(Duration::from_secs(10), places.acquire_many(all)).await;
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
