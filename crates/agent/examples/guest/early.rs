//! A pod that is there before the agent.

use std::fs::{self, File};
use std::process::Stdio;

use cloudtaser_sys::roads;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::processes::{GUEST, Running, denied, denied_by, plain, read, status};
use crate::scenario::Scenario;
use crate::wrapped::Wrapped;

/// A wrapper with its app, and another one that somebody traces.
pub(crate) struct Early {
    quiet: Wrapped,
    traced: Wrapped,
    tracer: Running,
}

impl Drop for Early {
    fn drop(&mut self) {
        for wrapped in [&self.quiet, &self.traced] {
            // The first of its namespace: all others go with it.
            let _gone = kill(Pid::from_raw(wrapped.wrapper), Signal::SIGKILL);
        }
    }
}

impl Early {
    pub(crate) fn start() -> Self {
        let quiet = Wrapped::start(&[]).unwrap();
        let traced = Wrapped::start(&[]).unwrap();
        let mut tracer = plain(&[GUEST, "trace", &traced.app.to_string()]);
        let tracer = Running(tracer.stdout(Stdio::null()).spawn().unwrap());
        let status = format!("/proc/{}/status", traced.app);
        while fs::read_to_string(&status).unwrap().contains("TracerPid:\t0") {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Self { quiet, traced, tracer }
    }
}

impl Scenario {
    /// Wrapper, app, and what the app starts later are guarded; who traces one of them is told.
    pub(crate) fn early(&mut self, early: &Early) {
        let own = [("wrapper", early.quiet.wrapper), ("app", early.quiet.app)];
        for (name, pid) in own {
            self.check(
                &format!("early-{name}-environ"),
                denied(File::open(format!("/proc/{pid}/environ"))),
            );
            let attached = roads::Attached::to(Pid::from_raw(pid));
            self.check(&format!("early-{name}-ptrace"), denied_by(attached.map(drop)));
        }
        let mem = File::open(format!("/proc/{}/task/{}/mem", early.traced.app, early.traced.app));
        self.check("early-traced-mem", denied(mem));
        let log = fs::read_to_string("/tmp/agent.log").unwrap();
        let told = log.lines().filter(|line| line.contains("found running")).count();
        let traced = format!("\"traced\":{{\"{}\":{}}}", early.traced.app, early.tracer.pid());
        let right = told == 2 && log.contains(&traced);
        self.check("early-pods-are-told-with-who-traces-them", right.then_some(()).ok_or(log));
        let said = status();
        let right =
            said.contains("2 wrappers ran before the agent") && said.contains("1 of them traced");
        self.check("status-names-early-pods", right.then_some(()).ok_or(said));
        let ps = read(plain(&["/bin/ps"]));
        self.check("early-pods-are-seen", ps.contains("guest").then_some(()).ok_or(ps));
    }
}
