//! The agent's socket, `SOCK_SEQPACKET`, which no other product on the node filters, and asking
//! over it.
//!
//! Everybody may connect; who is heard is decided in [`crate::peers`].

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context as _, ensure};
use cloudtaser_core::agent::{Answer, Question, REPORT_MAX};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};

/// Those who come while the agent is busy wait in the kernel.
const BACKLOG: i32 = 128;

/// Where questions arrive.
#[derive(Debug)]
pub(crate) struct Listener(UnixListener);

impl Listener {
    /// Listens, in the place of an agent that is gone or about to go: at each moment somebody connects
    /// to one of the two, and waits in the kernel until this one hears.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) {
            let shown = folder.display();
            fs::create_dir_all(folder).with_context(|| format!("in {shown}"))?;
            // Whatever the umask of whoever started us.
            fs::set_permissions(folder, Permissions::from_mode(0o755))
                .with_context(|| format!("in {shown}"))?;
        }
        let aside = path.with_extension("next");
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| aside.display().to_string());
            }
            _ => {}
        }
        let own = seqpacket(SockFlag::SOCK_NONBLOCK)?;
        bind(own.as_raw_fd(), &UnixAddr::new(&aside)?)?;
        // A pod's wrapper is an ordinary user.
        fs::set_permissions(&aside, Permissions::from_mode(0o666))?;
        listen(&own, Backlog::new(BACKLOG)?)?;
        fs::rename(&aside, path).with_context(|| path.display().to_string())?;
        Ok(Self(own.into()))
    }

    /// The next connection, if there is one; nothing is waited for on it either.
    pub(crate) fn accept(&self) -> io::Result<Option<UnixStream>> {
        match self.0.accept() {
            Ok((peer, _nameless)) => {
                peer.set_nonblocking(true)?;
                Ok(Some(peer))
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Asks the agent that listens at a path.
pub(crate) fn ask(path: &Path, question: &Question) -> anyhow::Result<Answer> {
    let mut own = dial(path)?;
    // One packet each way: a second write or read would be another question.
    let packet = question.to_packet();
    ensure!(own.write(&packet)? == packet.len(), "the question was cut");
    let mut packet = vec![0; REPORT_MAX];
    let len = own.read(&mut packet)?;
    ensure!(len > 0, "the agent did not answer: it hears too many questions");
    Ok(Answer::parse(packet.get(..len).unwrap_or_default())?)
}

/// Connects.
pub(crate) fn dial(path: &Path) -> anyhow::Result<UnixStream> {
    let own = seqpacket(SockFlag::empty())?;
    connect(own.as_raw_fd(), &UnixAddr::new(path)?)
        .with_context(|| format!("no agent listens at {}", path.display()))?;
    Ok(own.into())
}

fn seqpacket(flags: SockFlag) -> nix::Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::SeqPacket, flags | SockFlag::SOCK_CLOEXEC, None)
}
