//! Asking the node agent to guard this process, before anything secret is in it.
//!
//! Whoever is guarded hands that on to every child before it runs, so the app is guarded before its
//! first instruction. One packet goes each way, and the answer is waited for no longer than a moment:
//! an agent that is not there fails at once, one that hangs is one that is not there. Where the launch
//! demands one, an agent that is about to be there is asked again
//! ([`Guard::is_coming`]).
//!
//! Not proved by an answer: that it is the agent's. It comes from a process of root, as the kernel
//! says, and another process of root could listen in the agent's place.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::net::UnixStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use cloudtaser_core::{
    agent::{ANSWER_MAX, Answer, EVIDENCE_MAX, MessageError, Question},
    level::{Agent, Requirement},
    names::AGENT_SOCKET,
    node::{Hash, NodeEvidence},
    plan::LaunchPlan,
};
use cloudtaser_road::Node;
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket, sockopt,
    },
};

use crate::chain::Chain;

/// An agent looks up at once; a loaded node makes that a second.
const PATIENCE: Duration = Duration::from_secs(2);

/// A TPM takes a second for a quote, and signs one after the other.
const QUOTE_PATIENCE: Duration = Duration::from_secs(15);

/// An agent that closes unheard is asked by too many; a little later there is room.
const PAUSE: Duration = Duration::from_millis(100);

/// What the agent of this node does for this process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Guard {
    /// What a launch may claim.
    pub(crate) agent: Agent,
    /// Why it is not more.
    pub(crate) reasons: Vec<String>,
    /// What the agent says of itself, for people.
    pub(crate) said: Option<String>,
    /// Whether nobody listened, or heard.
    pub(crate) nobody: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    /// It hung up, or hung up on everybody.
    #[error("the agent hears too many questions")]
    Closed,
    /// No socket, or nobody behind it.
    #[error("nobody listens at {path}")]
    Connect {
        /// Where.
        path: String,
        /// Why not.
        source: Errno,
    },
    /// The answer is none.
    #[error("its answer cannot be read")]
    Message(#[source] MessageError),
    /// Somebody who could not be the agent.
    #[error("whoever listens at {path} is not root but uid {uid}")]
    NotRoot {
        /// Where.
        path: String,
        /// Who, as seen from here.
        uid: u32,
    },
    /// It hangs.
    #[error("it did not answer in {} s", PATIENCE.as_secs())]
    Silent,
    /// The kernel refuses sockets.
    #[error("it cannot be asked")]
    Socket(#[from] io::Error),
}

impl Guard {
    /// Has this process guarded by the agent that the plan names.
    pub(crate) fn ask(plan: &LaunchPlan) -> Self {
        match ask(place(plan), &Question::Guard, Instant::now() + PATIENCE) {
            Ok(answer) => Self::from(answer),
            Err(error) => Self {
                agent: Agent::Off,
                reasons: vec![format!("no guard by a node agent: {}", Chain(&error))],
                said: None,
                nobody: error.is_nobody(),
            },
        }
    }

    /// Whether an agent that the launch demands may be there in a moment: its folder is there, and nobody
    /// listens, or listens and does not hear yet. A node that boots starts agent and pods together, and an agent that is replaced is away
    /// for seconds: a launch that gave up at once would be a Job that failed.
    pub(crate) fn is_coming(&self, plan: &LaunchPlan) -> bool {
        let demanded = plan.require.iter().any(|each| matches!(each, Requirement::Agent(_)));
        demanded && self.nobody && place(plan).parent().is_some_and(Path::is_dir)
    }

    /// Of two answers the one that claims less: a launch was guarded as well as it was at its worst.
    pub(crate) fn or_weaker(self, later: Self) -> Self {
        if later.agent < self.agent { later } else { self }
    }
}

/// The agent that guards this process, as who signs for the node.
#[derive(Clone, Debug)]
pub(crate) struct Attesting(Option<String>);

impl Attesting {
    /// By the agent that the plan names, where it guards this process.
    pub(crate) fn by(guard: &Guard, plan: &LaunchPlan) -> Self {
        // Who is not guarded is told nothing, and an agent that is not there is not waited for.
        let path = || plan.agent.clone().unwrap_or_else(|| AGENT_SOCKET.to_owned());
        Self((guard.said.is_some()).then(path))
    }
}

impl Node for Attesting {
    fn attest(&self, session: Hash, sealing: Hash) -> Option<NodeEvidence> {
        let question = Question::Attest { session, sealing };
        let until = Instant::now() + QUOTE_PATIENCE;
        // Once: an agent of before does not know the question, and closes.
        let answer = exchange(Path::new(self.0.as_deref()?), &question, until).ok()?;
        answer.evidence.filter(|_signed| answer.done)
    }
}

impl From<Answer> for Guard {
    fn from(answer: Answer) -> Self {
        let agent = answer.facet();
        let reasons = if answer.done {
            answer.reasons.iter().map(|reason| format!("node agent: {reason}")).collect()
        } else {
            vec![format!("the node agent refuses to guard this process: {}", answer.text)]
        };
        let reasons = match agent {
            Agent::Enforcing => Vec::new(),
            Agent::Degraded | Agent::Off => reasons,
        };
        Self { agent, reasons, said: Some(answer.text).filter(|_text| answer.done), nobody: false }
    }
}

impl AskError {
    /// Whether there is no socket, nobody behind it any more, or somebody who is not ready: an agent
    /// that takes over listens before it has proved what it attached.
    const fn is_nobody(&self) -> bool {
        let gone =
            matches!(self, Self::Connect { source: Errno::ENOENT | Errno::ECONNREFUSED, .. });
        gone || matches!(self, Self::Silent)
    }
}

fn place(plan: &LaunchPlan) -> &Path {
    Path::new(plan.agent.as_deref().unwrap_or(AGENT_SOCKET))
}

fn ask(path: &Path, question: &Question, until: Instant) -> Result<Answer, AskError> {
    loop {
        match exchange(path, question, until) {
            Err(AskError::Closed) if until > Instant::now() + PAUSE => thread::sleep(PAUSE),
            other => return other,
        }
    }
}

fn exchange(path: &Path, question: &Question, until: Instant) -> Result<Answer, AskError> {
    let shown = || path.display().to_string();
    let refused = |source| AskError::Connect { path: shown(), source };
    let own = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None);
    let mut agent = UnixStream::from(own.map_err(io::Error::from)?);
    // KERNEL: it also limits how long a connection waits for a full queue.
    agent.set_write_timeout(Some(left(until)))?;
    match connect(agent.as_raw_fd(), &UnixAddr::new(path).map_err(refused)?) {
        Ok(()) => {}
        Err(Errno::EAGAIN) => return Err(AskError::Silent),
        Err(source) => return Err(refused(source)),
    }
    // SECURITY: the kernel took these down when somebody began to listen; nobody else can answer.
    let uid = getsockopt(&agent, sockopt::PeerCredentials).map_err(io::Error::from)?.uid();
    if uid != 0 {
        return Err(AskError::NotRoot { path: shown(), uid });
    }
    agent.write(&question.to_packet()).map_err(timely)?;
    let most = if matches!(question, Question::Attest { .. }) { EVIDENCE_MAX } else { ANSWER_MAX };
    let mut packet = vec![0; most + 1];
    agent.set_read_timeout(Some(left(until)))?;
    let len = agent.read(&mut packet).map_err(timely)?;
    if len > most {
        return Err(AskError::Message(MessageError::TooLong { most }));
    }
    match Answer::parse(packet.get(..len).unwrap_or_default()) {
        Err(MessageError::Empty) => Err(AskError::Closed),
        parsed => parsed.map_err(AskError::Message),
    }
}

/// The kernel takes a limit of nothing for none.
fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn timely(error: io::Error) -> AskError {
    match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => AskError::Closed,
        ErrorKind::WouldBlock | ErrorKind::TimedOut => AskError::Silent,
        _ => AskError::Socket(error),
    }
}

#[cfg(test)]
mod tests;
