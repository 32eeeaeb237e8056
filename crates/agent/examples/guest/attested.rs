//! Has the agent sign what the node is worth, as a wrapper does: guarded first, in a pod's cgroup.

use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;

use cloudtaser_core::agent::{Answer, EVIDENCE_MAX, Question};
use cloudtaser_core::names::AGENT_SOCKET;
use cloudtaser_core::node::Hash;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

/// Prints the evidence as JSON, or what the agent says instead.
pub(crate) fn attest(session: &str, sealing: &str) {
    let hash = |text| Hash::try_from(text).unwrap();
    let question = Question::Attest { session: hash(session), sealing: hash(sealing) };
    println!("@@UNGUARDED\t{}", ask(&question).text);
    assert!(ask(&Question::Guard).done, "not guarded");
    let answer = ask(&question);
    match answer.evidence {
        Some(evidence) => println!("@@EVIDENCE\t{}", serde_json::to_string(&evidence).unwrap()),
        None => println!("@@REFUSED\t{}", answer.text),
    }
}

fn ask(question: &Question) -> Answer {
    let own = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None);
    let own = own.unwrap();
    connect(own.as_raw_fd(), &UnixAddr::new(AGENT_SOCKET).unwrap()).unwrap();
    let mut agent = UnixStream::from(own);
    agent.write_all(&question.to_packet()).unwrap();
    let mut packet = vec![0; EVIDENCE_MAX];
    let len = agent.read(&mut packet).unwrap();
    Answer::parse(&packet[..len]).unwrap()
}
