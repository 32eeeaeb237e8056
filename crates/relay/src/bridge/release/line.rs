//! Carries the dialogue over a session of TLS.
//!
//! Waiting is done by the runtime, on ciphertext; what opens records, reads messages and asks
//! OpenBao runs on a thread that may block, whose stack is wiped before it does anything else.

use std::{
    io::{self, Read as _, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use cloudtaser_core::release::{
    BridgeToWrapper, Denial, EXPORTER_LABEL, Ends, Operation, Refused, WrapperToBridge,
    frame::{decode, encode},
};
use cloudtaser_sys::harden::wipe_stack;
use cloudtaser_tls::raw::PublicKey;
use rustls::ServerConnection;
use tokio::{
    net::TcpStream,
    runtime::Handle,
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::server::TlsStream;
use tracing::warn;
use zeroize::Zeroizing;

use super::{
    Releaser,
    dialogue::{Dialogue, Next},
};
use crate::control::told;

/// For the rest of a message that has begun, and for each answer to be taken.
const PATIENCE: Duration = Duration::from_secs(30);
/// A client that was let in says who it is by then.
const HELLO_PATIENCE: Duration = Duration::from_secs(60);
/// More than TLS, JSON and HTTP use of a thread's stack.
const STACK_BYTES: usize = 256 << 10;
const READ_LEN: usize = 16 << 10;

/// A session and its dialogue.
struct Talk {
    socket: TcpStream,
    tls: ServerConnection,
    received: Zeroizing<Vec<u8>>,
    dialogue: Dialogue,
}

/// Whose session it is.
#[derive(Debug)]
pub(in crate::bridge) struct Parties {
    /// The client's name.
    pub(in crate::bridge) client: String,
    /// The key that the client proved.
    pub(in crate::bridge) key: PublicKey,
    /// The bridge's key.
    pub(in crate::bridge) bridge: PublicKey,
}

/// What is done on a thread that may block.
type Doing = fn(&mut Talk) -> io::Result<Step>;

/// Whether a session goes on.
enum Step {
    Ended,
    Waits,
}

/// Speaks with a client that was let in, until one of both ends it.
pub(in crate::bridge) async fn serve(
    stream: TlsStream<TcpStream>,
    releaser: Arc<Releaser>,
    parties: Parties,
    mut stopping: watch::Receiver<bool>,
    cut: impl Future<Output = ()>,
) -> io::Result<()> {
    tokio::pin!(cut);
    let (socket, tls) = stream.into_inner();
    let talk = begin(socket, tls, releaser, parties)?;
    let mut talk = exchange(talk, Talk::greet).await?.0;
    let began = Instant::now();
    let mut half = None;
    let inbox = talk.dialogue.inbox();
    loop {
        // For all of a message, and not since its last byte.
        half = (!talk.received.is_empty()).then(|| half.unwrap_or_else(Instant::now));
        let hello = talk.dialogue.is_idle().then_some(began + HELLO_PATIENCE);
        let end = half.map(|half| half + PATIENCE).or(hello);
        let late = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            () = &mut cut => {
                let dialogue = talk.dialogue;
                spawn_blocking(move || dialogue.cut()).await.map_err(io::Error::other)?;
                let why = "the cluster was revoked";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
            }
            readable = talk.socket.readable() => readable.map(|()| Talk::step as Doing),
            () = inbox.due() => Ok(Talk::tell as Doing),
            () = late => Err(io::ErrorKind::TimedOut.into()),
            () = told(&mut stopping) => Err(io::ErrorKind::ConnectionAborted.into()),
        };
        let Ok(event) = event else {
            talk.dialogue.lost();
            return Ok(());
        };
        let (next, step) = exchange(talk, event).await?;
        match step {
            Step::Waits => talk = next,
            Step::Ended => {
                next.dialogue.lost();
                return Ok(());
            }
        }
    }
}

/// What a bridge says that carries as much as it may.
pub(in crate::bridge) fn busy() -> Vec<u8> {
    let meaning = "it carries as many sessions as it may (max_sessions)".to_owned();
    let refused = Refused::denied(Operation::Login, Denial::Busy, meaning);
    // A short text fits into every frame.
    encode(&BridgeToWrapper::Refused(refused)).map(|bytes| bytes.to_vec()).unwrap_or_default()
}

fn begin(
    socket: TcpStream,
    tls: ServerConnection,
    releaser: Arc<Releaser>,
    parties: Parties,
) -> io::Result<Talk> {
    let Parties { client, key, bridge } = parties;
    let mut nonce = [0; 32];
    cloudtaser_tls::random(&mut nonce).map_err(io::Error::other)?;
    let exporter =
        tls.export_keying_material([0; 32], EXPORTER_LABEL, None).map_err(io::Error::other)?;
    let ends = Ends {
        exporter: &exporter,
        nonce: &nonce,
        client: key.as_bytes(),
        bridge: bridge.as_bytes(),
    };
    let binding = releaser.digest.sha256(&ends.parts());
    let dialogue = Dialogue::new(releaser, client, nonce, binding);
    let received = Zeroizing::new(Vec::new());
    Ok(Talk { socket, tls, received, dialogue })
}

/// Does one step on a thread that may block.
async fn exchange(mut talk: Talk, step: Doing) -> io::Result<(Talk, Step)> {
    let done = spawn_blocking(move || {
        // SECURITY: also where it panics, plaintext does not stay on the stack.
        let step = catch_unwind(AssertUnwindSafe(|| step(&mut talk)));
        wipe_stack(STACK_BYTES);
        let failed = |_panic| Err(io::Error::other("a defect of the bridge"));
        (talk, step.unwrap_or_else(failed))
    });
    let (talk, step) = done.await.map_err(io::Error::other)?;
    match step {
        Ok(step) => Ok((talk, step)),
        Err(error) => {
            if error.kind() != io::ErrorKind::UnexpectedEof {
                warn!(error = %error, "a session broke");
            }
            Ok((talk, Step::Ended))
        }
    }
}

impl Talk {
    fn greet(&mut self) -> io::Result<Step> {
        let welcome = self.dialogue.welcome();
        self.send(&welcome)?;
        Ok(Step::Waits)
    }

    /// Says what nobody has asked for.
    fn tell(&mut self) -> io::Result<Step> {
        if let Some(told) = self.dialogue.tell() {
            self.send(&told)?;
        }
        Ok(Step::Waits)
    }

    /// Reads what has come, and answers each message that is whole.
    fn step(&mut self) -> io::Result<Step> {
        loop {
            if let Step::Ended = self.answer_all()? {
                return Ok(Step::Ended);
            }
            match self.tls.read_tls(&mut Socket(&self.socket)) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Waits),
                Err(error) => return Err(error),
            }
            let state = self.tls.process_new_packets().map_err(io::Error::other);
            // An alert that says why.
            if state.is_err() {
                let _gone = self.flush();
            }
            self.take(state?.plaintext_bytes_to_read())?;
        }
    }

    /// Takes the plaintext out of TLS.
    fn take(&mut self, len: usize) -> io::Result<()> {
        let mut left = len;
        let mut chunk = Zeroizing::new([0; READ_LEN]);
        while left > 0 {
            let read = self.tls.reader().read(&mut *chunk)?;
            let part = chunk.get(..read).unwrap_or_default();
            self.received.extend_from_slice(part);
            left = left.saturating_sub(read.max(1));
        }
        Ok(())
    }

    fn answer_all(&mut self) -> io::Result<Step> {
        let odd = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        while let Some((message, len)) = decode::<WrapperToBridge>(&self.received).map_err(odd)? {
            let rest = self.received.get(len..).unwrap_or_default().to_vec();
            self.received = Zeroizing::new(rest);
            match self.dialogue.next(message) {
                Next::Answer(answer) => self.send(&answer)?,
                Next::Last(answer) => {
                    self.send(&answer)?;
                    return self.end();
                }
                Next::End => return self.end(),
            }
        }
        Ok(Step::Waits)
    }

    fn end(&mut self) -> io::Result<Step> {
        self.tls.send_close_notify();
        self.flush()?;
        Ok(Step::Ended)
    }

    fn send(&mut self, message: &BridgeToWrapper) -> io::Result<()> {
        let bytes =
            encode(message).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let taken = self.tls.writer().write(rest)?;
            rest = rest.get(taken..).unwrap_or_default();
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Socket(&self.socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let late = |_late| io::Error::from(io::ErrorKind::TimedOut);
                    let wait = async { timeout(PATIENCE, self.socket.writable()).await };
                    Handle::current().block_on(wait).map_err(late)??;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The runtime's socket, for those who do not wait.
struct Socket<'a>(&'a TcpStream);

impl io::Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl io::Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, bytes: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
