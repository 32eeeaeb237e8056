//! Everybody who is connected: heard as they come, none waited for.
//!
//! Each connection is one question and one answer. A peer that is silent, slow, or speaks something
//! else is dropped when its time is over; one that asks too often, or while too many wait, is
//! closed at once. All of these are counted. Nothing here blocks but the one wait for all of them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cloudtaser_core::agent::{Answer, QUESTION_MAX, Question};
use cloudtaser_core::level;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use serde_json::json;

use crate::caller::{Caller, Rank, has_ended};
use crate::events;
use crate::limit::Limits;
use crate::socket::Listener;
use crate::wrappers::{Digest, Stranger, Wrappers};

/// A question follows its connection at once.
const PATIENCE: Duration = Duration::from_secs(1);
/// Peers that have not asked yet.
const WAITING: usize = 128;
/// The same, of one cgroup.
const WAITING_OF_ONE: usize = 16;
/// Those that root of the node may have besides.
const WAITING_OF_ROOT: usize = 32;
/// Connections taken at a time, so that those that are there get their turn.
const AT_ONCE: usize = 64;
/// A descriptor may be free again by then.
const BREATH: Duration = Duration::from_millis(50);
/// Refusals that are logged in a second.
const LINES: u32 = 20;

/// What was not answered, or with a no.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Refused {
    /// Asked for what only root may ask, or is no wrapper.
    pub(crate) strangers: u64,
    /// Too often, or too many at a time: closed unheard.
    pub(crate) suppressed: u64,
    /// Said nothing in time, or nothing that is a question.
    pub(crate) unusable: u64,
}

/// The socket and all who are connected.
#[derive(Debug)]
pub(crate) struct Peers {
    listener: Listener,
    wrappers: Wrappers,
    limits: Limits,
    waiting: Vec<Waiting>,
    refused: Refused,
    told: Told,
}

/// A question that may be answered.
#[derive(Debug)]
pub(crate) struct Asked {
    peer: UnixStream,
    /// Who asks.
    pub(crate) caller: Caller,
    /// What is asked.
    pub(crate) question: Question,
    /// What the caller was recognised by, where it had to be.
    pub(crate) wrapper: Option<Digest>,
}

#[derive(Debug)]
struct Waiting {
    peer: UnixStream,
    caller: Caller,
    until: Instant,
}

/// What became of a peer that was listened to.
enum Heard {
    Asked(Box<Asked>),
    Nothing,
    Unusable,
}

impl Peers {
    /// Hears whoever comes.
    pub(crate) fn new(listener: Listener, wrappers: Wrappers) -> Self {
        Self {
            listener,
            wrappers,
            limits: Limits::default(),
            waiting: Vec::new(),
            refused: Refused::default(),
            told: Told::new(),
        }
    }

    /// What was refused since the start.
    pub(crate) const fn refused(&self) -> Refused {
        self.refused
    }

    /// Digests of the wrappers that are known.
    pub(crate) fn wrappers(&self) -> Vec<String> {
        self.wrappers.digests().collect()
    }

    /// Waits until somebody has asked, or for this long; gives the questions that may be answered.
    pub(crate) fn next(&mut self, patience: Duration) -> anyhow::Result<Vec<Asked>> {
        self.wait(patience)?;
        self.take_in()?;
        let mut asked = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            let overdue = waiting.until <= Instant::now();
            match waiting.hear() {
                Ok(heard) => match heard {
                    Heard::Asked(question) => asked.extend(self.permitted(*question)),
                    Heard::Nothing => {}
                    Heard::Unusable => self.refused.unusable += 1,
                },
                Err(_still) if overdue => self.refused.unusable += 1,
                Err(still) => self.waiting.push(*still),
            }
        }
        Ok(asked)
    }

    fn wait(&self, patience: Duration) -> anyhow::Result<()> {
        let now = Instant::now();
        let due = self.waiting.iter().map(|waiting| waiting.until.saturating_duration_since(now));
        let patience = due.min().map_or(patience, |due| due.min(patience));
        let mut polled = vec![PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        polled.extend(
            self.waiting.iter().map(|waiting| PollFd::new(waiting.peer.as_fd(), PollFlags::POLLIN)),
        );
        match poll(&mut polled, PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("the socket cannot be waited for"),
        }
    }

    fn take_in(&mut self) -> anyhow::Result<()> {
        for _ in 0..AT_ONCE {
            let peer = match self.listener.accept() {
                Ok(Some(peer)) => peer,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.told.line(&json!({"event": "no connection", "why": error.to_string()}));
                    std::thread::sleep(BREATH);
                    return Ok(());
                }
            };
            // Whoever is gone already wanted nothing.
            let Ok(caller) = Caller::of(&peer) else { continue };
            if self.has_room(&caller) {
                let until = Instant::now() + PATIENCE;
                self.waiting.push(Waiting { peer, caller, until });
            } else {
                self.refused.suppressed += 1;
                self.told.suppressed += 1;
            }
        }
        Ok(())
    }

    /// Whether this one is listened to at all.
    fn has_room(&mut self, caller: &Caller) -> bool {
        let of = |cgroup: &str| self.waiting.iter().filter(|w| w.caller.cgroup == cgroup).count();
        match caller.rank {
            Rank::Node => self.waiting.len() < WAITING + WAITING_OF_ROOT,
            Rank::Pod => {
                self.waiting.len() < WAITING
                    && of(&caller.cgroup) < WAITING_OF_ONE
                    && self.limits.admit(caller.uid, &caller.cgroup, Instant::now())
            }
        }
    }

    /// The question, if its caller may ask it; otherwise the caller hears no.
    fn permitted(&mut self, mut asked: Asked) -> Option<Asked> {
        if asked.caller.rank == Rank::Node {
            if matches!(asked.question, Question::Attest { .. }) {
                // Root may ask without one; the statement then names none.
                asked.wrapper = self.wrappers.recognise(asked.caller.pid).ok();
            }
            return Some(asked);
        }
        let why = match self.recognise(&asked) {
            Ok(digest) => {
                self.limits.give_back(asked.caller.uid);
                asked.wrapper = Some(digest);
                return Some(asked);
            }
            Err(why) => why,
        };
        self.refused.strangers += 1;
        self.told.line(&json!({
            "event": "refused",
            "pid": asked.caller.pid.as_raw(),
            "uid": asked.caller.uid,
            "cgroup": asked.caller.cgroup,
            "why": why,
        }));
        // SECURITY: the state is the answer to those who may have one.
        let state = level::Agent::Off;
        let answer = Answer {
            done: false,
            state,
            tier: None,
            reasons: Vec::new(),
            text: why,
            report: None,
            evidence: None,
        };
        asked.answer(&answer);
        None
    }

    fn recognise(&mut self, asked: &Asked) -> Result<Digest, String> {
        if !matches!(asked.question, Question::Guard | Question::Attest { .. }) {
            return Err("only root of the node may ask that".to_owned());
        }
        let digest = self.wrappers.recognise(asked.caller.pid);
        // The number was the caller's all the time if it is now.
        if has_ended(&asked.caller.process) {
            return Err("it has ended".to_owned());
        }
        digest.map_err(|stranger| match stranger {
            Stranger::Read(error) => format!("its program cannot be read: {error}"),
            other => other.to_string(),
        })
    }
}

impl Waiting {
    /// Looks whether it has asked; it waits on where it has not.
    fn hear(self) -> Result<Heard, Box<Self>> {
        // One more, so that a longer packet is seen to be longer.
        let mut packet = [0; QUESTION_MAX + 1];
        let len = match (&self.peer).read(&mut packet) {
            Ok(0) => return Ok(Heard::Nothing),
            Ok(len) => len,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return Err(Box::new(self));
            }
            Err(_gone) => return Ok(Heard::Nothing),
        };
        let Self { peer, caller, .. } = self;
        Ok(match Question::parse(packet.get(..len).unwrap_or_default()) {
            Ok(question) => Heard::Asked(Box::new(Asked { peer, caller, question, wrapper: None })),
            Err(_garbage) => Heard::Unusable,
        })
    }
}

impl Asked {
    /// Answers. A peer that went away, or has no room for a packet, misses it.
    pub(crate) fn answer(&mut self, answer: &Answer) {
        drop(self.peer.write(&answer.to_packet()));
    }
}

/// What is logged of refusals: so many lines a second, and a count of the others.
#[derive(Debug)]
struct Told {
    since: Instant,
    lines: u32,
    suppressed: u64,
}

impl Told {
    fn new() -> Self {
        Self { since: Instant::now(), lines: 0, suppressed: 0 }
    }

    fn line(&mut self, line: &serde_json::Value) {
        if self.since.elapsed() >= Duration::from_secs(1) {
            if self.suppressed > 0 {
                events::write(&json!({"event": "questions suppressed", "count": self.suppressed}));
            }
            *self = Self::new();
        }
        if self.lines < LINES {
            self.lines += 1;
            events::write(line);
        } else {
            self.suppressed += 1;
        }
    }
}

#[cfg(test)]
mod tests;
