//! A session: the end of the road that nobody on the way can open.

use std::{io, sync::Arc, time::Duration};

use cloudtaser_tls::raw;
use tokio::{
    io::{AsyncWriteExt as _, copy_bidirectional},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{info, warn};

use cloudtaser_core::release::PROTOCOL as RELEASE_PROTOCOL;

use super::{Shared, leg::Leg, release};
use crate::{
    net,
    proto::{leg::Go, session::Verdict},
};

const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
const OPENBAO_PATIENCE: Duration = Duration::from_secs(5);

/// Serves the client that arrived on a leg.
pub(super) async fn serve(stream: TcpStream, go: Go, leg: Arc<Leg>) {
    let shared = &leg.shared;
    let place = shared.sessions.try_acquire();
    let refusal = shared.refusals.try_acquire();
    if place.is_err() && refusal.is_err() {
        return;
    }
    // Those that are served need no place among those that are not.
    let refusal = refusal.ok().filter(|_| place.is_err());
    let accepted = TlsAcceptor::from(Arc::clone(&shared.inner)).accept(stream);
    let mut stream = match timeout(HANDSHAKE_PATIENCE, accepted).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            leg.strikes.count(go.tag);
            return warn!(tag = %go.tag, from = %go.client, error = %error, "no session");
        }
        Err(_late) => {
            leg.strikes.count(go.tag);
            return warn!(tag = %go.tag, from = %go.client, "no session in time");
        }
    };
    let key = raw::peer_key(stream.get_ref().1.peer_certificates());
    let known = key.and_then(|key| shared.config.client_of(&key));
    let client = known.map_or("?", |client| &*client.name).to_owned();
    let began = Instant::now();
    let wants_release = stream.get_ref().1.alpn_protocol() == Some(RELEASE_PROTOCOL);
    if let (true, Some(releaser), Ok(_place), Some(known)) =
        (wants_release, &shared.releaser, &place, known)
    {
        let (who, own) = ((client.clone(), known.key), shared.config.key.public());
        let stopping = shared.stopping.subscribe();
        let done = release::serve(stream, Arc::clone(releaser), who, own, stopping).await;
        let error = done.err().map(|error| error.to_string());
        let seconds = began.elapsed().as_secs();
        return info!(client, from = %go.client, seconds, error, "release session ended");
    }
    let done = match place {
        // Nothing that a busy bridge says in the other protocol would be understood in this one.
        _ if wants_release => stream.shutdown().await.map(|()| (0, 0)),
        Ok(_place) if known.is_none_or(|client| !client.door) => {
            refuse(&mut stream, Verdict::Forbidden).await
        }
        Ok(_place) => proxy(&mut stream, shared).await,
        Err(_full) => refuse(&mut stream, Verdict::Busy).await,
    };
    drop(refusal);
    let (up_bytes, down_bytes) = *done.as_ref().unwrap_or(&(0, 0));
    let error = done.err().map(|error| error.to_string());
    let seconds = began.elapsed().as_secs();
    info!(client, from = %go.client, up_bytes, down_bytes, seconds, error, "session ended");
}

async fn proxy(stream: &mut TlsStream<TcpStream>, shared: &Shared) -> io::Result<(u64, u64)> {
    let mut openbao = match net::dial(&shared.config.openbao, OPENBAO_PATIENCE).await {
        Ok(openbao) => openbao,
        Err(error) => {
            refuse(stream, Verdict::Unreachable).await?;
            return Err(error);
        }
    };
    stream.write_all(&[Verdict::Connected.code()]).await?;
    stream.flush().await?;
    let done = copy_bidirectional(stream, &mut openbao).await;
    if done.is_err() {
        // What was cut on the way must not look whole to OpenBao.
        net::reset(&openbao);
    }
    done
}

async fn refuse(stream: &mut TlsStream<TcpStream>, verdict: Verdict) -> io::Result<(u64, u64)> {
    stream.write_all(&[verdict.code()]).await?;
    stream.shutdown().await?;
    Ok((0, 0))
}
