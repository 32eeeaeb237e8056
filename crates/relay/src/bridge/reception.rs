//! The beginning of a session where enrolment is on: who has no certificate of this bridge gets no
//! further than a chance to enrol.

use std::{io, sync::Arc, time::Duration};

use cloudtaser_core::release::PROTOCOL as RELEASE_PROTOCOL;
use cloudtaser_tls::raw::PublicKey;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tracing::warn;

use super::{Shared, enrol, roster::Roster};
use crate::{
    clock::unix_seconds,
    proto::{
        credential::{MAX_PRESENTATION_LEN, Presentation, Reception},
        enrol::PROTOCOL as ENROL_PROTOCOL,
        session::PROXY_PROTOCOL,
    },
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Who was let in.
#[derive(Debug)]
pub(super) struct Guest {
    /// Where clusters enrol.
    pub(super) cluster: Option<PublicKey>,
    pub(super) name: String,
    /// What it wants to speak.
    pub(super) protocol: Vec<u8>,
}

/// How it ended for who was not let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Turned {
    /// In order: it enrolled, or the bridge was full.
    Away,
    /// It showed what it should not have; this counts against its tickets.
    Out,
}

/// Hears who it is, and answers.
pub(super) async fn receive(
    stream: &mut TlsStream<TcpStream>,
    session: PublicKey,
    full: bool,
    shared: &Shared,
    roster: &Arc<Roster>,
) -> Result<Guest, Turned> {
    if stream.get_ref().1.alpn_protocol() == Some(ENROL_PROTOCOL) {
        let honest = enrol::serve(stream, session, shared, roster).await;
        return Err(if honest { Turned::Away } else { Turned::Out });
    }
    let Ok(Ok(presented)) = timeout(PATIENCE, presentation(stream)).await else {
        return Err(Turned::Out);
    };
    let (answer, guest) = match judge(presented, &session, full, shared, roster) {
        Ok(guest) => (Reception::Admitted, Ok(guest)),
        Err(Reception::Busy) => (Reception::Busy, Err(Turned::Away)),
        // It is let in, and asked for what there is not: also how one asks whether it is.
        Err(Reception::Protocol) => (Reception::Protocol, Err(Turned::Away)),
        Err(other) => {
            warn!(%session, why = %other, "a cluster is not let in");
            (other, Err(Turned::Out))
        }
    };
    let told = async {
        stream.write_all(&[answer.code()]).await?;
        if guest.is_err() { stream.shutdown().await } else { stream.flush().await }
    };
    match timeout(PATIENCE, told).await {
        Ok(Ok(())) => guest,
        _ => Err(Turned::Away),
    }
}

async fn presentation(stream: &mut TlsStream<TcpStream>) -> io::Result<Option<Presentation>> {
    let len = usize::from(stream.read_u16().await?);
    if len > MAX_PRESENTATION_LEN {
        return Ok(None);
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await?;
    Ok(Presentation::decode(&body))
}

fn judge(
    presented: Option<Presentation>,
    session: &PublicKey,
    full: bool,
    shared: &Shared,
    roster: &Roster,
) -> Result<Guest, Reception> {
    let Presentation { protocol, credential } = presented.ok_or(Reception::Untrue)?;
    let bridge = shared.config.key.public();
    let cluster = credential.check(&bridge, session, unix_seconds())?;
    let name = roster.name_of(&cluster).ok_or(Reception::Revoked)?;
    let releases = shared.releaser.is_some() && protocol == RELEASE_PROTOCOL;
    if !releases && protocol != PROXY_PROTOCOL {
        return Err(Reception::Protocol);
    }
    if full {
        return Err(Reception::Busy);
    }
    Ok(Guest { cluster: Some(cluster), name, protocol })
}
