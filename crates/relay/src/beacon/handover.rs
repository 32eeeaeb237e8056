//! One beacon takes another's place, and no connection is lost by it.
//!
//! The one that runs listens on a socket of its machine. The one that is to follow it connects there
//! and is given the very descriptor on which connections arrive, so that there is one queue of them
//! all the while; and then every connection that is no tunnel yet, since of such a one nothing was
//! taken. Tunnels stay where they are until they end.
//!
//! What is said is one byte each, with a descriptor where one goes along:
//!
//! ```text
//! old: LISTENER + descriptor    new: READY      it has all that it needs
//! old: YOURS                    new: SERVING    the old one takes nothing any more
//! old: CONNECTION + descriptor, as many as there are, and the end
//! ```
//!
//! Until SERVING is heard the old one keeps its listener, and goes on where the new one fails.
//!
//! Invariant: nothing is given to a process of another user, and nothing taken of one.

use std::{
    fs::{self, Permissions},
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::{SocketAddr, TcpListener, TcpStream as StdStream},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sys::socket::{getsockopt, sockopt},
    unistd::geteuid,
};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::{
    io::Interest,
    net::{TcpStream, UnixListener, UnixStream},
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tracing::warn;

const LISTENER: u8 = b'L';
const READY: u8 = b'R';
const YOURS: u8 = b'Y';
const SERVING: u8 = b'S';
const CONNECTION: u8 = b'C';

/// How long either waits for the other's next word.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two who ask, where the first did not go on.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections on their way to the one that sends them.
const QUEUE_LEN: usize = 64;
/// Who else than the owner may write to a folder or connect to a socket.
const OTHERS_WRITE: u32 = 0o022;

/// Why a beacon cannot take another's place, or let another take its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// The one there is of somebody else.
    #[error("{} is listened on by user {uid}: nothing is taken of another user", path.display())]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// The one there is of another address.
    #[error(
        "the beacon there listens on {found} and not on {wanted}: stop it, and start this one without --take-over"
    )]
    Address {
        /// Its address.
        found: SocketAddr,
        /// That of the configuration.
        wanted: SocketAddr,
    },
    /// Others could put a socket of their own in the place of this one.
    #[error("{} has mode {mode:o} and is of user {uid}: the folder of handover_socket has to be its user's, and nobody else's to write to", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// Its owner.
        uid: u32,
    },
    /// The socket cannot be made or used.
    #[error("cannot use the socket {}", path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The other one does not go on.
    #[error("the beacon there does not give its place away")]
    Talk(#[source] io::Error),
}

/// Where the beacon that is to follow this one asks for its place.
#[derive(Debug)]
pub(super) struct Hatch(UnixListener);

impl Hatch {
    /// Begins to listen, in the place of whoever did there before.
    pub(super) fn open(path: &Path) -> Result<Self, HandoverError> {
        let failed = |source| HandoverError::Socket { path: path.to_owned(), source };
        is_of_its_user(path)?;
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let made = PathBuf::from(name);
        // One that a killed process of this number has left.
        let _none = fs::remove_file(&made);
        let listener = UnixListener::bind(&made).map_err(failed)?;
        fs::set_permissions(&made, Permissions::from_mode(0o600)).map_err(failed)?;
        // It is never taken away: by then it may be another's.
        fs::rename(&made, path).map_err(failed)?;
        Ok(Self(listener))
    }

    /// The next one that asks for this beacon's place, has been given its listener and says that it
    /// is ready.
    pub(super) async fn asked(&self, listener: BorrowedFd<'_>) -> Successor {
        loop {
            match self.ask(listener).await {
                Ok(successor) => return successor,
                Err(error) => {
                    warn!(error = %error, "another asked for this beacon's place in vain")
                }
            }
            sleep(PAUSE).await;
        }
    }

    async fn ask(&self, listener: BorrowedFd<'_>) -> io::Result<Successor> {
        let (stream, _) = self.0.accept().await?;
        let uid = getsockopt(&stream, sockopt::PeerCredentials)?.uid();
        // SECURITY: whoever has the listener has all who connect. Root may have it by other roads.
        if uid != geteuid().as_raw() {
            return Err(io::Error::other(format!("it is of user {uid}")));
        }
        let successor = Successor(stream);
        say(&successor.0, LISTENER, Some(listener)).await?;
        expect(&successor.0, READY).await?;
        Ok(successor)
    }
}

/// SECURITY: in a folder that others write to they could listen in the beacon's name. They would get
/// nothing by it, for either end looks who the other is; but no beacon could be replaced.
fn is_of_its_user(path: &Path) -> Result<(), HandoverError> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let failed = |source| HandoverError::Socket { path: path.to_owned(), source };
    let found = fs::metadata(folder).map_err(failed)?;
    let (uid, mode) = (found.uid(), found.mode() & 0o7777);
    let ours = uid == geteuid().as_raw() || uid == 0;
    if ours && mode & OTHERS_WRITE == 0 {
        return Ok(());
    }
    Err(HandoverError::Folder { path: folder.to_owned(), mode, uid })
}

/// The beacon that follows, as the one that goes sees it.
#[derive(Debug)]
pub(super) struct Successor(UnixStream);

impl Successor {
    /// Says that nothing is taken here any more; an error means that the other one does not go on,
    /// so that this one has to.
    pub(super) async fn is_followed(&self) -> io::Result<()> {
        say(&self.0, YOURS, None).await?;
        expect(&self.0, SERVING).await
    }

    /// Sends all that is no tunnel yet after the listener; how many.
    pub(super) async fn gets_all(self, succession: &Succession) -> usize {
        let (give, mut given) = mpsc::channel(QUEUE_LEN);
        succession.0.send_replace(Some(Heir(give)));
        let mut sent = 0;
        let all = async {
            loop {
                let stream = tokio::select! {
                    biased;
                    Some(stream) = given.recv() => stream,
                    () = succession.0.closed() => match given.try_recv() {
                        Ok(stream) => stream,
                        Err(_none) => return Ok::<_, io::Error>(()),
                    },
                };
                say(&self.0, CONNECTION, Some(TcpStream::as_fd(&stream))).await?;
                sent += 1;
            }
        };
        // What is a tunnel in a moment is not waited for longer than clients wait.
        if let Ok(Err(error)) = timeout(PATIENCE, all).await {
            warn!(error = %error, "the beacon that follows has gone");
        }
        sent
    }
}

/// The beacon that goes, as the one that follows sees it.
#[derive(Debug)]
pub(super) struct Predecessor(UnixStream);

impl Predecessor {
    /// Asks the beacon there for its listener; `None` where there is none.
    pub(super) async fn find(path: &Path) -> Result<Option<(Self, TcpListener)>, HandoverError> {
        let stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            Err(error) if is_nobody(&error) => return Ok(None),
            Err(source) => return Err(HandoverError::Socket { path: path.to_owned(), source }),
        };
        let credentials = getsockopt(&stream, sockopt::PeerCredentials);
        let uid = credentials.map_err(|error| HandoverError::Talk(error.into()))?.uid();
        // SECURITY: a listener of somebody else could have anybody's connections in its queue.
        if uid != geteuid().as_raw() {
            return Err(HandoverError::Stranger { path: path.to_owned(), uid });
        }
        let heard = hear(&stream).await.map_err(HandoverError::Talk)?;
        let Some((LISTENER, Some(listener))) = heard else {
            return Err(HandoverError::Talk(io::ErrorKind::InvalidData.into()));
        };
        Ok(Some((Self(stream), listener.into())))
    }

    /// Says that this one is ready, and waits until the other takes nothing any more.
    pub(super) async fn retires(&self) -> Result<(), HandoverError> {
        let retired = async {
            say(&self.0, READY, None).await?;
            expect(&self.0, YOURS).await
        };
        retired.await.map_err(HandoverError::Talk)
    }

    /// Says that this one serves.
    pub(super) async fn is_free(&self) -> io::Result<()> {
        say(&self.0, SERVING, None).await
    }

    /// The next connection that was no tunnel yet; `None` after the last.
    pub(super) async fn next(&self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        let stream = match receive(&self.0).await? {
            None => return Ok(None),
            Some((CONNECTION, Some(stream))) => StdStream::from(stream),
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
        };
        stream.set_nonblocking(true)?;
        let peer = stream.peer_addr()?;
        Ok(Some((TcpStream::from_std(stream)?, peer)))
    }
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Whether another has taken this beacon's place, told to each connection that is no tunnel yet.
#[derive(Debug)]
pub(super) struct Succession(watch::Sender<Option<Heir>>);

/// Kept for as long as a connection is no tunnel and was not refused.
#[derive(Debug)]
pub(super) struct Undecided(watch::Receiver<Option<Heir>>);

/// To whom such connections go.
#[derive(Clone, Debug)]
pub(super) struct Heir(mpsc::Sender<TcpStream>);

impl Succession {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(super) fn enter(&self) -> Undecided {
        Undecided(self.0.subscribe())
    }
}

impl Undecided {
    /// Waits until there is an heir; safe to be cancelled.
    pub(super) async fn heir(&mut self) -> Heir {
        match self.0.wait_for(Option::is_some).await.map(|heir| heir.clone()) {
            Ok(Some(heir)) => heir,
            _ => std::future::pending().await,
        }
    }
}

impl Heir {
    /// Gives a connection of which nothing was taken.
    pub(super) async fn gets(self, stream: TcpStream) {
        // Where the heir has died, its clients have lost it as they lose any beacon that dies.
        let _died = self.0.send(stream).await;
    }
}

/// Says a word, and sends a descriptor with it.
async fn say(stream: &UnixStream, word: u8, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let said = stream.async_io(Interest::WRITABLE, || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut along = SendAncillaryBuffer::new(&mut space);
        if descriptor.is_some() {
            along.push(SendAncillaryMessage::ScmRights(descriptor.as_slice()));
        }
        let word = [word];
        Ok(sendmsg(stream, &[IoSlice::new(&word)], &mut along, SendFlags::NOSIGNAL)?)
    });
    in_time(said).await.map(drop)
}

/// Hears a word with what comes along; `None` at the end.
async fn hear(stream: &UnixStream) -> io::Result<Option<(u8, Option<OwnedFd>)>> {
    in_time(receive(stream)).await
}

async fn receive(stream: &UnixStream) -> io::Result<Option<(u8, Option<OwnedFd>)>> {
    let read = stream.async_io(Interest::READABLE, || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut along = RecvAncillaryBuffer::new(&mut space);
        let mut word = [0];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let got = recvmsg(stream, &mut [IoSliceMut::new(&mut word)], &mut along, flags)?;
        let sent = along.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let [word] = word;
        Ok((got.bytes > 0).then_some((word, sent)))
    });
    read.await
}

async fn expect(stream: &UnixStream, word: u8) -> io::Result<()> {
    match hear(stream).await? {
        Some((heard, None)) if heard == word => Ok(()),
        Some(_) => Err(io::ErrorKind::InvalidData.into()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_late| io::Error::from(io::ErrorKind::TimedOut);
    timeout(PATIENCE, work).await.map_err(late)?
}
