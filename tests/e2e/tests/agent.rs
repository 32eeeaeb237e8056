//! The wrapper and the node agent: what is claimed with which answer, and that nothing is handed
//! over before the guard that was required is there.
//!
//! The agent is a double that answers as a script says; the real one is attacked in virtual
//! machines (`cargo xtask vm test`), with a real wrapper under it.

#[cfg(test)]
mod common;

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::{fd::AsRawFd as _, unix::net::UnixListener},
        path::PathBuf,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
        time::{Duration, Instant},
    };

    use cloudtaser_e2e::{Launch, Scratch, is_root};
    use nix::sys::{
        signal::Signal,
        socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket},
    };

    use super::common::{Double, at, level, refused};

    const ENFORCING: &str =
        r#"{"done":true,"state":"enforcing","tier":"lsm","text":"ENFORCING(lsm)"}"#;
    const DEGRADED: &str = r#"{"done":true,"state":"degraded","tier":"lsm","reasons":["open: kcore"],"text":"DEGRADED(lsm: open: kcore)"}"#;
    const OFF: &str =
        r#"{"done":true,"state":"off","reasons":["not root"],"text":"OFF(not root)"}"#;
    const REFUSED: &str = r#"{"done":false,"state":"off","text":"its program is none"}"#;
    /// Takes the question and says nothing.
    const SILENCE: &str = "";

    /// Answers the n-th question with the n-th answer, and all later ones with the last.
    struct Agent {
        path: PathBuf,
        questions: Arc<AtomicUsize>,
        _scratch: Scratch,
    }

    impl Agent {
        fn start(answers: &'static [&'static str]) -> Self {
            let scratch = Scratch::new();
            let path = scratch.path().join("agent.sock");
            let own =
                socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
                    .unwrap();
            bind(own.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
            listen(&own, Backlog::new(8).unwrap()).unwrap();
            let (own, questions) = (UnixListener::from(own), Arc::new(AtomicUsize::new(0)));
            let count = Arc::clone(&questions);
            thread::spawn(move || {
                for mut peer in own.incoming().flatten() {
                    let mut question = [0; 64];
                    let len = peer.read(&mut question).unwrap_or(0);
                    assert_eq!(&question[..len], br#""guard""#);
                    let nth = count.fetch_add(1, Ordering::SeqCst);
                    match answers[nth.min(answers.len() - 1)] {
                        SILENCE => {
                            let _until_it_gives_up = peer.read(&mut [0]);
                        }
                        answer => peer.write_all(answer.as_bytes()).unwrap(),
                    }
                }
            });
            Self { path, questions, _scratch: scratch }
        }

        fn asked(&self) -> usize {
            self.questions.load(Ordering::SeqCst)
        }

        fn launch(&self, double: &Double) -> Launch {
            at(double).env("CLOUDTASER_AGENT", &self.path)
        }
    }

    fn is_ready() -> bool {
        let root = is_root();
        if !root {
            println!("SKIP: only root can pose as the agent");
        }
        root
    }

    const APP: [&str; 2] = ["echo", "started"];

    #[test]
    fn what_the_agent_says_is_what_the_level_says() {
        if !is_ready() {
            return;
        }
        for (answer, agent, row, reason) in [
            (&[ENFORCING], "enforcing", "denies the active roads", ""),
            (&[DEGRADED], "degraded", "cannot close every", "node agent: open: kcore"),
            (&[OFF], "off", "no node agent", "node agent: not root"),
            (
                &[REFUSED],
                "off",
                "no node agent",
                "refuses to guard this process: its program is none",
            ),
        ] {
            let (agent_double, double) = (Agent::start(answer), Double::good());
            let output = agent_double.launch(&double).run(APP).ok();
            assert_eq!(output.text(), "started\n");
            let level = level(&output.stderr);
            assert_eq!(level["facets"]["agent"], agent, "{level}");
            assert!(level["rows"][2]["because"].to_string().contains(row), "{level}");
            let reasons = level["reasons"].as_array().unwrap();
            assert_eq!(reasons.len(), usize::from(!reason.is_empty()), "{level}");
            assert!(reasons.iter().all(|told| told.as_str().unwrap().contains(reason)), "{level}");
            assert_eq!(agent_double.asked(), 2, "before the login, and before the start");
        }
    }

    #[test]
    fn nothing_is_handed_over_without_the_guard_that_is_required() {
        if !is_ready() {
            return;
        }
        let required = "agent=enforcing is required, agent=";
        for (answer, reason) in [
            (&[DEGRADED], "open: kcore"),
            (&[OFF], "not root"),
            (&[REFUSED], "its program is none"),
            (&["garbage"], "its answer cannot be read"),
            (&[SILENCE], "did not answer in"),
        ] {
            let (agent, double) = (Agent::start(answer), Double::good());
            let begin = Instant::now();
            let launch = agent.launch(&double).flag("--require=agent=enforcing");
            // One that does not answer may be about to: it is asked again for so long.
            let launch = launch.env("VAULT_CLIENT_TIMEOUT", "3s");
            refused(&launch.run(APP), 77, &[required, reason]);
            assert!(begin.elapsed() < Duration::from_secs(15), "{reason}");
            assert!(double.seen().is_empty(), "OpenBao was asked: {:?}", double.seen());
        }
        let double = Double::good();
        let nobody = at(&double).env("CLOUDTASER_AGENT", "/nowhere/agent.sock");
        let nobody = nobody.flag("--require=agent=degraded").run(APP);
        refused(&nobody, 77, &["agent=degraded is required, agent=off", "nobody listens at"]);
        assert!(double.seen().is_empty(), "OpenBao was asked: {:?}", double.seen());
    }

    #[test]
    fn an_agent_that_takes_over_and_does_not_answer_yet_is_waited_for() {
        if !is_ready() {
            return;
        }
        let (agent, double) = (Agent::start(&[SILENCE, ENFORCING]), Double::good());
        let launch = agent.launch(&double).flag("--require=agent=enforcing");
        let output = launch.run(APP).ok();
        assert_eq!((output.text().as_str(), agent.asked()), ("started\n", 3));
    }

    #[test]
    fn an_agent_that_weakens_during_the_fetch_ends_the_launch() {
        if !is_ready() {
            return;
        }
        let (agent, double) = (Agent::start(&[ENFORCING, DEGRADED]), Double::good());
        let launch = agent.launch(&double).flag("--require=agent=enforcing");
        let output = launch.run(APP);
        refused(&output, 77, &["agent=enforcing is required, agent=degraded", "open: kcore"]);
        assert_eq!(double.reads(), 1, "this time the value was read");
        // One that was weaker before is not forgiven.
        let (agent, double) = (Agent::start(&[DEGRADED, ENFORCING]), Double::good());
        let level = level(&agent.launch(&double).run(APP).ok().stderr);
        assert_eq!(level["facets"]["agent"], "degraded", "{level}");
    }

    /// Otherwise whoever may signal the wrapper would have the app's memory in a core file, by way
    /// of the one process that the guard lets through.
    #[test]
    fn a_signal_that_would_dump_a_guarded_app_ends_it_without() {
        if !is_ready() {
            return;
        }
        let told = |answers, script: &str, signal| {
            let (agent, double) = (Agent::start(answers), Double::good());
            let mut app = agent.launch(&double).spawn(["sh", "-c", script]);
            app.until_stdout("the start", |text| text.starts_with(b"started"));
            app.signal(signal);
            app.wait()
        };
        let asleep = "echo started; exec sleep 60";
        let caught = "trap 'echo caught; exit 3' QUIT; echo started; while :; do sleep 0.1; done";
        assert_eq!(told(&[OFF], asleep, Signal::SIGQUIT).code(), 131);
        for answers in [&[ENFORCING], &[DEGRADED]] {
            assert_eq!(told(answers, asleep, Signal::SIGQUIT).code(), 137);
            assert_eq!(told(answers, asleep, Signal::SIGTERM).code(), 143);
            assert_eq!(told(answers, caught, Signal::SIGQUIT).code(), 3);
        }
    }

    #[test]
    fn explain_says_what_the_agent_says() {
        if !is_ready() {
            return;
        }
        let (agent, double) = (Agent::start(&[DEGRADED]), Double::good());
        let text = agent.launch(&double).flag("--explain").run(APP).ok().text();
        assert!(text.contains("agent=degraded, which says DEGRADED(lsm: open: kcore)"), "{text}");
        assert!(text.contains("- node agent: open: kcore"), "{text}");
    }
}
