//! A leg: dialled, idle, and then a session.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cloudtaser_tls::MacKey;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};

use super::{Shared, session, strikes::Strikes};
use crate::{
    net,
    proto::{
        frame::SessionId,
        leg::{GO_LEN, Go, Preamble},
    },
};

const DIAL_PATIENCE: Duration = Duration::from_secs(5);

/// What all legs of one control connection have in common.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) shared: Arc<Shared>,
    pub(super) address: String,
    pub(super) session: SessionId,
    pub(super) key: MacKey,
    pub(super) counter: AtomicU64,
    pub(super) max_legs: u16,
    pub(super) strikes: Strikes,
}

/// What became of an idle leg.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// It could not be dialled, or it ended before a client came.
    Failed,
    /// A client came; the session goes on by itself.
    Paired,
}

/// Dials after a pause, and waits for a client.
pub(super) async fn wait(leg: Arc<Leg>, pause: Duration) -> Outcome {
    sleep(pause).await;
    match arrived(&leg).await {
        Ok((stream, go)) => {
            tokio::spawn(session::serve(stream, go, leg));
            Outcome::Paired
        }
        Err(_again) => Outcome::Failed,
    }
}

async fn arrived(leg: &Leg) -> io::Result<(TcpStream, Go)> {
    let mut stream = net::dial(&leg.address, DIAL_PATIENCE).await?;
    let counter = leg.counter.fetch_add(1, Ordering::Relaxed);
    let digest = leg.shared.digest;
    stream.write_all(&Preamble::encode(digest, &leg.key, leg.session, counter)).await?;
    let mut bytes = [0; GO_LEN];
    stream.read_exact(&mut bytes).await?;
    let go = Go::decode(&bytes).ok_or(io::ErrorKind::InvalidData)?;
    Ok((stream, go))
}
