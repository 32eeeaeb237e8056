//! Other products on the agent's hooks, before it and after it: each holds its own verdicts, the
//! agent says who is asked when, and what would read the memory of processes is refused or told.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::listed::{IMAGE, RUNTIME, write_image};
use crate::modules;
use crate::processes::{
    AGENT, GUEST, LOADER, NEEDLE, Running, SMALL, denied, guard, plain, read, status, write_needle,
};
use crate::records;
use crate::scale::yes;
use crate::scenario::{PATIENCE, Scenario};
use crate::second::{As, Second};

/// Who copies what processes write, or their functions are given.
const TRACERS: [(As, &str); 3] =
    [(As::Tracer, "tracer"), (As::Tail, "tail-call"), (As::Uprobe, "uprobe")];

/// The whole of it.
pub(crate) fn run(expected: &str) {
    let mut own = Scenario::new();
    write_needle();
    drop(fs::write("/proc/sys/kernel/yama/ptrace_scope", "0"));
    own.an_earlier_tracer_is_told();
    records::collect();
    let how = if expected.contains("(lsm") { As::Module } else { As::Front };
    let first = Second::start(GUEST, how);
    write_image(IMAGE);
    if how == As::Module {
        fs::create_dir_all("/usr/bin").unwrap();
        write_image(RUNTIME);
    }
    let content = read(plain(&[AGENT, "loader", IMAGE]));
    let both = ["--allow-loader", LOADER, "--allow-loader", &content];
    modules::stand_in();
    let listed = if how == As::Module { &both[..] } else { &[] };
    let agent = own.agent("state", expected, &[&modules::WANTED, listed].concat());
    own.modules_were_asked_for();
    own.beside(first, how, expected);
    let said = status();
    own.check("state-at-the-end", yes(said.starts_with(expected), || said.clone()));
    println!("@@STATE\t{}", status());
    if how == As::Module {
        own.goes_when_its_runtime_asks(agent);
    }
    own.end();
}

impl Scenario {
    /// A tracer that was there before the agent reads what guarded processes write: the agent
    /// cannot undo that, and says so.
    fn an_earlier_tracer_is_told(&mut self) {
        for (what, name) in TRACERS {
            self.an_earlier_one_is_told(what, name);
        }
    }

    fn an_earlier_one_is_told(&mut self, what: As, name: &str) {
        let tracer = Second::start(GUEST, what);
        let pid = tracer.pid();
        let output = Command::new(AGENT).args(["run", "--once"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let told = said.contains("DEGRADED")
            && said.contains(&format!("can read the memory of processes: {}", what.programs()[0]))
            && said.contains(&format!("process {pid}"));
        self.check(&format!("an-earlier-{name}-is-told"), yes(told, || said.clone()));
        let (mut writer, secret) = if what == As::Uprobe { teller() } else { writer(false) };
        let copied = tracer.end_asked(&writer.pid().to_string());
        let found = yes(copied.contains(&secret), || copied.clone());
        self.check(&format!("an-earlier-{name}-does-read"), found);
        drop(writer.0.stdin.take());
    }

    /// Both orders, both facts.
    fn beside(&mut self, second: Second, how: As, expected: &str) {
        let behind = how.programs()[0];
        self.names("first", "behind", behind, GUEST);
        self.holds("first");
        if how == As::Module {
            let later = Second::start(LOADER, how);
            self.names("later", "before", behind, LOADER);
            self.metric("asked=\"before\"} 1");
            self.holds("later");
            let saw = later.end();
            self.check("later-sees-its-hooks", yes(saw == "true", || saw.clone()));
        }
        self.metric("asked=\"after\"} 1");
        let state = status();
        self.check("beside-state", yes(state.starts_with(expected), || state.clone()));
        let told = state.contains("others are asked after the agent at");
        self.check("beside-status-says-who", yes(told, || state.clone()));
        // Behind the agent what it refuses is not seen, and all else is.
        let saw = second.end();
        self.check("first-sees-its-hooks", yes(saw == "true", || saw.clone()));
        self.a_later_tracer_is_refused();
        if how == As::Module {
            self.contents();
            self.an_update_of_the_runtime_is_told();
        }
    }

    /// The other one refuses what it forbids, and ours holds beside it.
    fn holds(&mut self, name: &str) {
        let forbidden = File::create("/tmp/forbidden");
        self.check(&format!("{name}-refuses"), denied(forbidden));
        let target = Running(guard(&["/bin/sleep", "300"]).spawn().unwrap());
        let environ = format!("/proc/{}/environ", target.pid());
        let refused = until(|| denied(File::open(&environ)));
        self.check(&format!("{name}-beside-ours"), refused);
        let unguarded = Running(plain(&["/bin/sleep", "300"]).spawn().unwrap());
        let traced =
            cloudtaser_sys::roads::Attached::to(nix::unistd::Pid::from_raw(unguarded.pid()));
        self.check(&format!("{name}-traces-others"), traced.map(drop).map_err(|e| e.to_string()));
    }

    /// The agent names hook, order and owner.
    fn names(&mut self, name: &str, side: &str, program: &str, owner: &str) {
        let found = until(|| {
            let report: Value = serde_json::from_str(&json()).map_err(|error| error.to_string())?;
            let hooks = report["neighbours"]["hooks"].as_array().cloned().unwrap_or_default();
            let hook = hooks.iter().find(|hook| hook["hook"] == "file_open");
            let others = hook.and_then(|hook| hook[side].as_array().cloned()).unwrap_or_default();
            // The kernel keeps 15 letters of a name.
            let is_it = |other: &Value| {
                program.starts_with(other["name"].as_str().unwrap_or("?"))
                    && other["owner"]["exe"] == owner
            };
            let right = others.iter().any(is_it);
            yes(right, || format!("{}", report["neighbours"]))
        });
        self.check(&format!("{name}-is-{side}-the-agent"), found);
    }

    fn metric(&mut self, wanted: &str) {
        let found = until(|| {
            let mut stream =
                UnixStream::connect(records::METRICS).map_err(|error| error.to_string())?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").map_err(|e| e.to_string())?;
            let mut text = String::new();
            stream.read_to_string(&mut text).map_err(|error| error.to_string())?;
            let line = format!("cloudtaser_agent_other_programs{{hook=\"file_open\",{wanted}");
            yes(text.contains(&line), || text.clone())
        });
        let side = wanted.split('"').nth(1).unwrap();
        self.check(&format!("metric-of-those-asked-{side}"), found);
    }

    /// The same tracer later: refused, and its record names the setting.
    fn a_later_tracer_is_refused(&mut self) {
        // They stay until they were looked at.
        let tried = TRACERS.map(|(what, name)| (name, Second::try_start(GUEST, what)));
        for (name, tried) in &tried {
            let said = tried.as_ref().err().map_or("let in", |refused| &refused.said);
            let right = said.starts_with("refused");
            self.check(&format!("a-later-{name}-is-refused"), yes(right, || said.to_owned()));
        }
        let recorded = until(|| {
            let text = fs::read_to_string(records::FILE).unwrap_or_default();
            let wanted = format!("\"setting\":\"--allow-loader {GUEST}\"");
            let line = text.lines().find(|line| line.contains("\"road\":\"bpf-load\""));
            yes(text.contains(&wanted), || format!("{line:?}"))
        });
        self.check("a-refused-loader-is-told-the-setting", recorded);
    }
}

/// Hands the secret to a function again and again, as a string.
fn teller() -> (Running, String) {
    let secret = fs::read_to_string(NEEDLE).unwrap();
    let mut start = plain(&[SMALL, "tell"]);
    start.env_clear().env("GUEST_SECRET", &secret).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut teller = Running(start.spawn().unwrap());
    let mut lines = BufReader::new(teller.0.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    (teller, secret)
}

/// Writes the secret again and again: what a tracer of writes copies.
fn writer(guarded: bool) -> (Running, String) {
    const SCRIPT: &str = "while :; do echo \"$GUEST_SECRET\"; read -t 1 over || :; done";
    let secret = fs::read_to_string(NEEDLE).unwrap();
    let command = ["/bin/sh", "-c", SCRIPT];
    let mut start = if guarded { guard(&command) } else { plain(&command) };
    start.env("GUEST_SECRET", &secret).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut writer = Running(start.spawn().unwrap());
    let mut lines = BufReader::new(writer.0.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    thread::spawn(move || lines.lines().count());
    (writer, secret)
}

pub(crate) fn json() -> String {
    read(plain(&[AGENT, "status", "--json"]))
}

pub(crate) fn until(mut try_it: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    loop {
        match try_it() {
            Ok(()) => return Ok(()),
            Err(why) if Instant::now() > end => return Err(why),
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}
