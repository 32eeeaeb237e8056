//! A double of the node agent: guards everybody, and signs whatever the test has it sign.

use std::{
    io::{Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::net::UnixListener},
    path::{Path, PathBuf},
    thread,
};

use cloudtaser_core::{
    agent::{Answer, Question},
    node::{Hash, NodeEvidence},
};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};

use crate::scratch::Scratch;

/// Somebody who listens in the agent's place.
#[derive(Debug)]
pub struct FalseAgent {
    path: PathBuf,
    _scratch: Scratch,
}

impl FalseAgent {
    /// Starts one that answers a launch's session and sealing key by this.
    pub fn start(mut sign: impl FnMut(Hash, Hash) -> NodeEvidence + Send + 'static) -> Self {
        let scratch = Scratch::new();
        let path = scratch.path().join("agent.sock");
        let flags = SockFlag::SOCK_CLOEXEC;
        let own = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).expect("a socket");
        bind(own.as_raw_fd(), &UnixAddr::new(&path).expect("a path")).expect("a place");
        listen(&own, Backlog::new(8).expect("a number")).expect("a listener");
        let own = UnixListener::from(own);
        thread::spawn(move || {
            for mut peer in own.incoming().flatten() {
                let mut packet = [0; 4096];
                let len = peer.read(&mut packet).unwrap_or(0);
                let evidence = match Question::parse(&packet[..len]) {
                    Ok(Question::Guard) => None,
                    Ok(Question::Attest { session, sealing }) => Some(sign(session, sealing)),
                    other => panic!("{other:?}"),
                };
                // Whoever hung up has what it wanted.
                drop(peer.write_all(&answer(evidence).to_packet()));
            }
        });
        Self { path, _scratch: scratch }
    }

    /// Its socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn answer(evidence: Option<NodeEvidence>) -> Answer {
    let text = r#"{"done":true,"state":"enforcing","tier":"lsm","text":"ENFORCING(lsm)"}"#;
    Answer { evidence, ..Answer::parse(text.as_bytes()).expect("an answer") }
}
