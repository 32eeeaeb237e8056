//! Carries frames over the TLS connection between bridge and beacon.

use std::{io, time::Duration};

use cloudtaser_tls::{MacKey, TlsError};
use rustls::ConnectionCommon;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};
use zeroize::Zeroizing;

use crate::proto::{
    frame::{self, Frame},
    leg::EXPORTER_LABEL,
};

/// How often either side asks whether the other is there.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(20);
/// How long silence is borne.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(50);
/// How long one frame may take to leave.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
const READ_LEN: usize = 4096;

/// One end of a control connection.
#[derive(Debug)]
pub(crate) struct Control<S> {
    stream: S,
    received: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Control<S> {
    pub(crate) const fn new(stream: S) -> Self {
        Self { stream, received: Vec::new() }
    }

    /// The next frame; an end of the connection is an error. Safe to be cancelled.
    pub(crate) async fn next<F: Frame>(&mut self) -> io::Result<F> {
        loop {
            if let Some(frame) = frame::decode(&mut self.received).map_err(io::Error::other)? {
                return Ok(frame);
            }
            self.received.reserve(READ_LEN);
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    pub(crate) async fn send<F: Frame>(&mut self, frames: &[F]) -> io::Result<()> {
        let mut bytes = Zeroizing::new(Vec::new());
        frames.iter().for_each(|frame| frame.write(&mut bytes));
        let sent = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        };
        let late = |_late| io::Error::from(io::ErrorKind::TimedOut);
        timeout(WRITE_PATIENCE, sent).await.map_err(late)?
    }
}

/// The key of the legs, which only the two ends of this connection can know.
pub(crate) fn leg_key<D>(connection: &ConnectionCommon<D>) -> Result<MacKey, TlsError> {
    let key = connection.export_keying_material([0; MacKey::LEN], EXPORTER_LABEL, None);
    key.map(|key| MacKey::new(&key)).map_err(TlsError::Refused)
}

/// Waits until it is said that all this ends.
#[cfg(feature = "bridge")]
pub(crate) async fn told(stop: &mut tokio::sync::watch::Receiver<bool>) {
    // An error means that the one who would say it is gone, which says as much.
    let _gone = stop.wait_for(|stop| *stop).await.map(drop);
}
