//! A session: the end of the road that nobody on the way can open.

use std::{io, sync::Arc, time::Duration};

use cloudtaser_tls::raw::{self, PublicKey};
use tokio::{
    io::{AsyncWriteExt as _, copy_bidirectional},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{info, warn};

use cloudtaser_core::release::PROTOCOL as RELEASE_PROTOCOL;

use super::{
    Shared,
    leg::Leg,
    reception::{self, Guest, Turned},
    release,
};
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
    let Some(key) = raw::peer_key(stream.get_ref().1.peer_certificates()) else { return };
    let guest = match &shared.roster {
        None => Guest {
            cluster: None,
            name: shared.config.name_of(&key).to_owned(),
            protocol: stream.get_ref().1.alpn_protocol().unwrap_or_default().to_vec(),
        },
        Some(roster) => {
            match reception::receive(&mut stream, key, place.is_err(), shared, roster).await {
                Ok(guest) => guest,
                Err(Turned::Away) => return,
                Err(Turned::Out) => return leg.strikes.count(go.tag),
            }
        }
    };
    let Guest { cluster, name: client, protocol } = guest;
    let began = Instant::now();
    if protocol == RELEASE_PROTOCOL {
        let done = match (&shared.releaser, place) {
            (Some(releaser), Ok(_place)) => {
                let ends = release::Parties {
                    client: client.clone(),
                    key,
                    bridge: shared.config.key.public(),
                };
                let stopping = shared.stopping.subscribe();
                let cut = revoked(shared, cluster);
                release::serve(stream, Arc::clone(releaser), ends, stopping, cut).await
            }
            _ => match stream.write_all(&release::busy()).await {
                Ok(()) => stream.shutdown().await,
                Err(error) => Err(error),
            },
        };
        let error = done.err().map(|error| error.to_string());
        let seconds = began.elapsed().as_secs();
        return info!(client, from = %go.client, seconds, error, "release session ended");
    }
    let open = shared.releaser.as_ref().is_none_or(|releaser| releaser.has_door(&client));
    let done = tokio::select! {
        done = async {
            match place {
                Ok(_place) if !open => refuse(&mut stream, Verdict::Forbidden).await,
                Ok(_place) => proxy(&mut stream, shared).await,
                Err(_full) => refuse(&mut stream, Verdict::Busy).await,
            }
        } => done,
        () = revoked(shared, cluster) => {
            net::reset(stream.get_ref().0);
            Err(io::Error::new(io::ErrorKind::PermissionDenied, "the cluster was revoked"))
        }
    };
    drop(refusal);
    let (up_bytes, down_bytes) = *done.as_ref().unwrap_or(&(0, 0));
    let error = done.err().map(|error| error.to_string());
    let seconds = began.elapsed().as_secs();
    info!(client, from = %go.client, up_bytes, down_bytes, seconds, error, "session ended");
}

/// Ends when the cluster of a session is let in no longer.
async fn revoked(shared: &Shared, cluster: Option<PublicKey>) {
    match (&shared.roster, cluster) {
        (Some(roster), Some(cluster)) => roster.revoked(&cluster).await,
        _ => std::future::pending().await,
    }
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
