//! The agent's socket: one question, one answer, by `SOCK_SEQPACKET`, which no other product on the
//! node filters.
//!
//! Only root may ask. Whoever asks is known by what the kernel says of the connection
//! (`SO_PEERCRED`, and `SO_PEERPIDFD` where there is one), never by what it writes. There is no
//! question that takes a mark away.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cloudtaser_sys::roads;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen,
    socket, sockopt,
};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// No question is longer; an answer may be.
const QUESTION: usize = 256;
/// A status report with all counts has about 4 KiB.
const ANSWER: usize = 64 * 1024;
/// A peer that is slower holds up the others.
const PATIENCE: Duration = Duration::from_secs(1);

/// What can be asked.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Question {
    /// Guard whoever asks.
    Guard,
    /// Guard another process, which runs already.
    Protect {
        /// Its number in the host's namespace.
        pid: i32,
    },
    /// What the agent is worth.
    Status,
}

/// What is answered.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Answer {
    /// Whether what was asked was done.
    pub(crate) done: bool,
    /// The state's word: `enforcing`, `degraded`, `off`.
    pub(crate) state: String,
    /// What is in the way, or the state in full.
    pub(crate) text: String,
    /// The report, when that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) report: Option<serde_json::Value>,
}

/// Where questions arrive.
#[derive(Debug)]
pub(crate) struct Listener(UnixListener);

/// A question with the peer that the kernel names.
#[derive(Debug)]
pub(crate) struct Asked {
    peer: UnixStream,
    /// What was asked.
    pub(crate) question: Question,
    /// Who asked.
    pub(crate) pid: Pid,
    /// The same process, whatever becomes of its number.
    pub(crate) process: OwnedFd,
}

impl Listener {
    /// Listens, and replaces the socket of an agent that is gone.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("in {}", folder.display()))?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| path.display().to_string());
            }
            _ => {}
        }
        let own = seqpacket(SockFlag::SOCK_NONBLOCK)?;
        bind(own.as_raw_fd(), &UnixAddr::new(path)?)?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        listen(&own, Backlog::new(16)?)?;
        Ok(Self(own.into()))
    }

    /// The next question, if its peer may ask and asks in time.
    pub(crate) fn next(&self) -> anyhow::Result<Asked> {
        let (mut peer, _nameless) = self.0.accept()?;
        let credentials = getsockopt(&peer, sockopt::PeerCredentials)?;
        ensure!(credentials.uid() == 0, "uid {} may not ask", credentials.uid());
        let pid = Pid::from_raw(credentials.pid());
        // KERNEL: SO_PEERPIDFD since 6.5. Before, a peer that ends at once and whose number is given
        // away within microseconds has a stranger guarded in its place.
        let process = match getsockopt(&peer, sockopt::PeerPidfd) {
            Ok(process) => process,
            Err(_older) => roads::open_process(pid)?,
        };
        peer.set_read_timeout(Some(PATIENCE))?;
        let mut bytes = [0; QUESTION];
        let len = peer.read(&mut bytes)?;
        let question = serde_json::from_slice(bytes.get(..len).unwrap_or_default())?;
        Ok(Asked { peer, question, pid, process })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Asked {
    /// Answers. A peer that went away, or does not read, misses it.
    pub(crate) fn answer(&mut self, answer: &Answer) {
        let Ok(bytes) = serde_json::to_vec(answer) else { return };
        drop(self.peer.set_write_timeout(Some(PATIENCE)));
        drop(self.peer.write(&bytes));
    }
}

/// Asks the agent that listens at a path.
pub(crate) fn ask(path: &Path, question: Question) -> anyhow::Result<Answer> {
    let own = seqpacket(SockFlag::empty())?;
    connect(own.as_raw_fd(), &UnixAddr::new(path)?)
        .with_context(|| format!("no agent listens at {}", path.display()))?;
    let mut own = UnixStream::from(own);
    // One packet each way: a second write or read would be another question.
    let question = serde_json::to_vec(&question)?;
    ensure!(own.write(&question)? == question.len(), "the question was cut");
    let mut bytes = vec![0; ANSWER];
    let len = own.read(&mut bytes)?;
    ensure!(len > 0, "the agent did not answer: only root may ask");
    Ok(serde_json::from_slice(bytes.get(..len).unwrap_or_default())?)
}

fn seqpacket(flags: SockFlag) -> nix::Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::SeqPacket, flags | SockFlag::SOCK_CLOEXEC, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_arrives_with_the_process_that_the_kernel_names() {
        if !nix::unistd::geteuid().is_root() {
            println!("SKIP: only root may ask");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let listener = Listener::open(&path).unwrap();
        let asking = std::thread::spawn(move || ask(&path, Question::Protect { pid: 7 }));
        let mut asked = loop {
            match listener.next() {
                Ok(asked) => break asked,
                Err(_nobody_yet) => std::thread::yield_now(),
            }
        };
        assert_eq!((asked.question, asked.pid), (Question::Protect { pid: 7 }, Pid::this()));
        let state = "degraded".to_owned();
        asked.answer(&Answer { done: true, state, text: "so".to_owned(), report: None });
        let answer = asking.join().unwrap().unwrap();
        assert_eq!(
            (answer.done, answer.state.as_str(), answer.text.as_str()),
            (true, "degraded", "so")
        );
    }

    #[test]
    fn there_is_no_question_that_takes_a_mark_away() {
        for text in [r#""unprotect""#, r#""unload""#, r#"{"protect":{"pid":1,"off":true}}"#] {
            assert!(serde_json::from_str::<Question>(text).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Question>(r#"{"protect":{"pid":1}}"#).is_ok());
    }
}
