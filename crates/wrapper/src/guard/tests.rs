use std::{os::unix::net::UnixListener, thread::JoinHandle};

use nix::sys::socket::{Backlog, bind, listen};
use tempfile::TempDir;

use super::*;

const ENFORCING: &[u8] =
    br#"{"done":true,"state":"enforcing","tier":"lsm","text":"ENFORCING(lsm)"}"#;

/// Somebody who listens, and does one thing with each connection.
struct Listening {
    folder: TempDir,
    thread: Option<JoinHandle<usize>>,
}

impl Listening {
    fn start(connections: usize, serve: impl Fn(usize, UnixStream) + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let flags = SockFlag::SOCK_CLOEXEC;
        let own = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        bind(own.as_raw_fd(), &UnixAddr::new(&folder.path().join("s")).unwrap()).unwrap();
        listen(&own, Backlog::new(8).unwrap()).unwrap();
        let own = UnixListener::from(own);
        let thread = thread::spawn(move || {
            for nth in 0..connections {
                serve(nth, own.accept().unwrap().0);
            }
            connections
        });
        Self { folder, thread: Some(thread) }
    }

    fn ask(&self) -> Guard {
        let agent = Some(self.folder.path().join("s").display().to_string());
        Guard::ask(&LaunchPlan { agent, ..LaunchPlan::default() })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take()
            && !thread::panicking()
        {
            assert!(thread.join().unwrap() > 0);
        }
    }
}

fn answering(packet: &'static [u8]) -> Guard {
    let listening = Listening::start(1, |_, mut peer| {
        let mut question = [0; 64];
        let len = peer.read(&mut question).unwrap_or(0);
        if len > 0 {
            assert_eq!(&question[..len], br#""guard""#);
            peer.write_all(packet).unwrap();
        }
    });
    listening.ask()
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("SKIP: only root can pose as the agent");
    }
    root
}

/// A launch that demands an agent, and where its socket would be.
fn demanding(path: &Path) -> LaunchPlan {
    LaunchPlan {
        agent: Some(path.display().to_string()),
        require: Requirement::parse_list("agent=enforcing").unwrap(),
        ..LaunchPlan::default()
    }
}

#[test]
fn a_demanded_agent_is_coming_where_its_folder_is_there_and_nobody_listens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let plan = demanding(&path);
    let is_coming = |plan: &LaunchPlan| Guard::ask(plan).is_coming(plan);
    assert!(is_coming(&plan), "it has not made its socket yet");
    // One that is gone has left its socket.
    let flags = SockFlag::SOCK_CLOEXEC;
    let gone = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
    bind(gone.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    drop(gone);
    assert!(is_coming(&plan), "it is replaced");
    assert!(!is_coming(&demanding(Path::new("/nowhere/agent.sock"))), "this node has none");
    assert!(!is_coming(&LaunchPlan { require: Vec::new(), ..plan }), "nobody asked for it");
    if !is_root() {
        return;
    }
    for answer in [ENFORCING, &br#"{"done":false,"state":"off","text":"no"}"#[..], b"garbage"] {
        let listening = Listening::start(1, move |_, mut peer| {
            assert!(peer.read(&mut [0; 64]).unwrap() > 0);
            peer.write_all(answer).unwrap();
        });
        let plan = demanding(&listening.folder.path().join("s"));
        assert!(!is_coming(&plan), "it answered");
    }
    let slow = Listening::start(1, |_, mut peer| {
        assert!(peer.read(&mut [0; 64]).unwrap() > 0);
        // Until whoever asks is gone.
        assert_eq!(peer.read(&mut [0; 64]).unwrap(), 0);
    });
    assert!(is_coming(&demanding(&slow.folder.path().join("s"))), "it is not ready yet");
}

#[test]
fn no_agent_is_one_reason_and_no_wait() {
    let begin = Instant::now();
    let agent = Some("/nowhere/agent.sock".to_owned());
    let guard = Guard::ask(&LaunchPlan { agent, ..LaunchPlan::default() });
    assert!(begin.elapsed() < PATIENCE / 4);
    assert_eq!(guard.agent, Agent::Off);
    assert_eq!(guard.reasons.len(), 1);
    assert!(guard.reasons[0].contains("nobody listens at /nowhere/agent.sock: ENOENT"));
}

#[test]
fn the_answer_is_the_facet_and_its_reasons() {
    if !is_root() {
        return;
    }
    let guard = answering(ENFORCING);
    assert_eq!((guard.agent, guard.reasons.len()), (Agent::Enforcing, 0));
    assert_eq!(guard.said.as_deref(), Some("ENFORCING(lsm)"));
    let guard = answering(
        br#"{"done":true,"state":"degraded","tier":"fmod_ret","reasons":["open: kcore"],"text":"x"}"#,
    );
    assert_eq!(
        (guard.agent, guard.reasons),
        (Agent::Degraded, vec!["node agent: open: kcore".to_owned()])
    );
    let guard = answering(br#"{"done":false,"state":"enforcing","text":"no wrapper"}"#);
    assert_eq!(guard.agent, Agent::Off);
    assert!(guard.reasons[0].contains("refuses to guard this process: no wrapper"), "{guard:?}");
}

#[test]
fn what_cannot_be_read_is_no_guard() {
    if !is_root() {
        return;
    }
    for packet in [&b"yes"[..], br#"{"done":true,"state":"perfect"}"#, &[b' '; ANSWER_MAX + 9]] {
        let guard = answering(packet);
        assert_eq!(guard.agent, Agent::Off);
        assert!(guard.reasons[0].contains("its answer cannot be read"), "{guard:?}");
    }
}

#[test]
fn an_agent_that_hangs_up_is_asked_again_and_one_that_hangs_is_not_waited_for() {
    if !is_root() {
        return;
    }
    let listening = Listening::start(3, |nth, mut peer| {
        if nth == 2 {
            let _question = peer.read(&mut [0; 64]).unwrap();
            peer.write_all(ENFORCING).unwrap();
        }
    });
    assert_eq!(listening.ask().agent, Agent::Enforcing);
    let silent = Listening::start(1, |_, mut peer| {
        // Until the other side gives up.
        while peer.read(&mut [0; 64]).unwrap() > 0 {}
    });
    let begin = Instant::now();
    let guard = silent.ask();
    assert!(begin.elapsed() < PATIENCE + Duration::from_secs(1));
    assert!(guard.reasons[0].contains("did not answer in 2 s"), "{guard:?}");
}

#[test]
fn somebody_who_is_not_root_is_not_even_asked() {
    if is_root() {
        return;
    }
    let guard = answering(ENFORCING);
    assert_eq!(guard.agent, Agent::Off);
    assert!(guard.reasons[0].contains("is not root but uid"), "{guard:?}");
}

#[test]
fn of_two_answers_the_weaker_one_counts() {
    let guard = |agent, why: &str| Guard {
        agent,
        reasons: vec![why.to_owned()],
        said: None,
        nobody: false,
    };
    let first = guard(Agent::Degraded, "first");
    assert_eq!(first.clone().or_weaker(guard(Agent::Enforcing, "")), first);
    assert_eq!(first.or_weaker(guard(Agent::Off, "then")).reasons, ["then"]);
}
