use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;

use tempfile::TempDir;

use super::*;
use crate::socket::{ask, dial};

/// An agent's socket and its folder.
struct Place {
    _folder: TempDir,
    path: PathBuf,
    peers: Peers,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let peers = Peers::new(Listener::open(&path).unwrap(), Wrappers::open(&[]).unwrap());
        Self { _folder: folder, path, peers }
    }

    /// Takes questions until there is one.
    fn first(&mut self) -> Asked {
        (0..1000)
            .find_map(|_| self.peers.next(Duration::from_millis(10)).unwrap().pop())
            .expect("nobody asked")
    }

    fn dial(&self) -> UnixStream {
        dial(&self.path).unwrap()
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn a_question_arrives_with_the_process_that_the_kernel_names() {
    if !is_root() {
        println!("SKIP: only root may ask this");
        return;
    }
    let mut place = Place::new();
    let path = place.path.clone();
    let asking = thread::spawn(move || ask(&path, &Question::Protect { pid: 7 }));
    let mut asked = place.first();
    assert_eq!(asked.question, Question::Protect { pid: 7 });
    assert_eq!(asked.caller.pid, nix::unistd::Pid::this());
    let answer = Answer {
        done: true,
        state: level::Agent::Degraded,
        tier: None,
        reasons: vec!["so".to_owned()],
        text: "so".to_owned(),
        report: None,
        evidence: None,
    };
    asked.answer(&answer);
    assert_eq!(asking.join().unwrap().unwrap(), answer);
}

#[test]
fn one_who_says_nothing_holds_up_nobody_and_is_dropped_in_the_end() {
    if !is_root() {
        println!("SKIP: only root may ask this");
        return;
    }
    let mut place = Place::new();
    let silent: Vec<UnixStream> = (0..20).map(|_| place.dial()).collect();
    let path = place.path.clone();
    let asking = thread::spawn(move || ask(&path, &Question::Status));
    let mut asked = place.first();
    assert_eq!(place.peers.waiting.len(), silent.len());
    asked.answer(&Answer::parse(br#"{"done":true,"state":"off"}"#).unwrap());
    assert!(asking.join().unwrap().unwrap().done);
    for waiting in &mut place.peers.waiting {
        waiting.until = Instant::now();
    }
    assert!(place.peers.next(Duration::ZERO).unwrap().is_empty());
    assert!(place.peers.waiting.is_empty());
    assert_eq!(place.peers.refused().unusable, 20);
    for mut peer in silent {
        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "it is told by a closed connection");
    }
}

#[test]
fn garbage_huge_packets_and_hangups_leave_nothing_behind() {
    let mut place = Place::new();
    let packets: [&[u8]; 4] = [b"\0", b"\"guard\" ", &[b' '; 100_000], b"{\"protect\":"];
    let mut kept = Vec::new();
    for packet in packets.iter().filter(|packet| **packet != b"\"guard\" ") {
        let mut peer = place.dial();
        assert_eq!(peer.write(packet).unwrap(), packet.len());
        kept.push(peer);
    }
    drop(place.dial());
    for _ in 0..10 {
        assert!(place.peers.next(Duration::from_millis(1)).unwrap().is_empty());
    }
    assert!(place.peers.waiting.is_empty());
    assert_eq!(place.peers.refused().unusable, 3);
}

#[test]
fn there_is_room_for_so_many_and_no_more() {
    let mut place = Place::new();
    // Without the limit of the backlog, which would stop this thread.
    let most = if is_root() { WAITING + WAITING_OF_ROOT } else { WAITING_OF_ONE };
    let mut peers = Vec::new();
    for _ in 0..(most + 9) {
        peers.push(place.dial());
        assert!(place.peers.next(Duration::ZERO).unwrap().is_empty());
    }
    assert_eq!(place.peers.waiting.len(), most);
    assert_eq!(place.peers.refused().suppressed, 9);
}

/// The caller as it would be in a pod, whoever runs this test.
fn as_pod(peer: UnixStream, question: Question) -> Asked {
    let caller = Caller { rank: Rank::Pod, uid: 1000, ..Caller::of(&peer).unwrap() };
    Asked { peer, caller, question, wrapper: None }
}

#[test]
fn a_pod_asks_for_itself_only_and_only_as_a_wrapper() {
    let mut place = Place::new();
    let order = Question::Order { text: String::new(), signature: String::new() };
    let questions =
        [Question::Guard, Question::Status, Question::Protect { pid: 1 }, Question::Orders, order];
    for question in questions {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        assert!(place.peers.permitted(as_pod(ours, question.clone())).is_none());
        let mut packet = [0; 4096];
        let len = theirs.read(&mut packet).unwrap();
        let answer = Answer::parse(&packet[..len]).unwrap();
        assert!(!answer.done && answer.state == level::Agent::Off, "{answer:?}");
        assert!(answer.report.is_none() && answer.reasons.is_empty(), "{answer:?}");
        let asked_more = answer.text == "only root of the node may ask that";
        assert_eq!(asked_more, question != Question::Guard, "{answer:?}");
    }
    assert_eq!(place.peers.refused().strangers, 5);
}

#[test]
fn a_wrapper_that_is_known_may_ask_for_itself_and_for_nothing_else() {
    let own = std::env::current_exe().unwrap();
    let mut place = Place::new();
    place.peers.wrappers = Wrappers::open(&[crate::wrappers::Named::File(own)]).unwrap();
    let pair = || UnixStream::pair().unwrap().0;
    match place.peers.permitted(as_pod(pair(), Question::Guard)) {
        Some(asked) => assert!(asked.wrapper.is_some()),
        None => println!("SKIP: this test's own program lies where nothing is read"),
    }
    assert!(place.peers.permitted(as_pod(pair(), Question::Status)).is_none());
    assert!(place.peers.permitted(as_pod(pair(), Question::Protect { pid: 1 })).is_none());
}
