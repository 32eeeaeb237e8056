//! What is tried, in which order, and what must come of it.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{panic, thread};

use cloudtaser_sys::roads;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::earlier::Earlier;
use crate::early;
use crate::halfway;
use crate::hardware;
use crate::orders;
use crate::outlive;
use crate::processes::{
    AGENT, CLI, GUEST, LOADER, NEEDLE, Running, STORM, USER, denied, denied_by, guard, is_zombie,
    plain, read, read_all_environments, start_target, status, write_needle,
};
use crate::records;
use crate::scale::eventually;
use crate::wrapped;

/// An agent under emulation needs seconds to load, and the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// The whole of a run.
pub(crate) struct Scenario {
    failures: u32,
}

/// What agents said last, of which one may not be there any more.
fn show_logs() {
    for entry in fs::read_dir("/tmp").into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let log = fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        for line in &lines[lines.len().saturating_sub(10)..] {
            println!("@@LOG\t{}: {line}", path.display());
        }
    }
}

impl Scenario {
    /// One in which nothing was tried yet.
    pub(crate) fn new() -> Self {
        orders::write_keys();
        Self { failures: 0 }
    }

    /// Says that all was tried.
    pub(crate) fn end(&self) {
        println!("@@RC {}", self.failures);
    }

    /// Runs it against the state that the agent must come to.
    pub(crate) fn run(expected: &str) {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |why| {
            show_logs();
            usual(why);
        }));
        let mut own = Self::new();
        write_needle();
        // Yama would hide from the same-uid attacker what the agent has to close.
        drop(fs::write("/proc/sys/kernel/yama/ptrace_scope", "0"));
        if expected.contains("no hook") {
            // Roads are open and known to be: what counts is that the agent says so.
            let _agent = own.start_agent(expected);
            println!("@@STATE\t{}", status());
            own.end();
            return;
        }
        own.inert_programs_are_noticed(expected);
        own.missing_bpffs_is_said();
        own.limits(expected);
        own.attack("without", false);
        own.shared_memory_is_open();
        let bao = wrapped::OpenBao::start();
        wrapped::without_agent(&mut own, &bao);
        let earlier = Earlier::open();
        let hardware = hardware::Before::open();
        let early = early::Early::start();
        let mut cutter = halfway::Cutter::start();
        let agent = own.start_agent(expected);
        own.attack("with", true);
        own.early(&early);
        drop(early);
        own.what_was_opened_before(&earlier);
        own.identity();
        own.storm(expected);
        own.core_files();
        own.hardware(&hardware);
        own.around(&agent, expected);
        let left = own.code();
        own.self_guard(&agent);
        own.loaders(expected);
        own.neighbours();
        own.orders(expected);
        wrapped::with_agent(&mut own, expected);
        own.code_is_let_go(&left);
        own.state_after(expected);
        println!("@@STATE\t{}", status());
        let next = wrapped::after_the_agent(&mut own, &bao, agent, expected);
        own.outlives(next, expected);
        let agent = own.unloads(expected);
        own.halfway(agent, &mut cutter, expected);
        own.end();
    }

    /// Prints one finding.
    pub(crate) fn check(&mut self, name: &str, outcome: Result<(), String>) {
        let words = match outcome {
            Ok(()) => "ok".to_owned(),
            Err(words) => {
                self.failures += 1;
                if words.contains("no agent listens") {
                    show_logs();
                }
                let words = words.replace(['\n', '\t'], " ");
                if words.trim().is_empty() { "it is not so".to_owned() } else { words }
            }
        };
        println!("@@CHECK\t{name}\t{words}");
    }

    /// `lsm/` programs attach without `bpf` in lsm= and never run: the agent must say OFF.
    fn inert_programs_are_noticed(&mut self, expected: &str) {
        if expected.contains("lsm") {
            return;
        }
        let output = Command::new(AGENT).args(["run", "--once", "--tier", "lsm"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let right = output.status.code() == Some(71) && said.contains("do not run");
        self.check("inert-programs-are-off", right.then_some(()).ok_or(said));
    }

    /// Without a bpffs of the host nothing outlives the agent, and it says so.
    fn missing_bpffs_is_said(&mut self) {
        let done = |command: &[&str]| assert!(plain(command).status().unwrap().success());
        done(&["/bin/umount", "/sys/fs/bpf"]);
        let output = Command::new(AGENT).args(["run", "--once"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let right = said.contains("DEGRADED") && said.contains("the host has no bpffs");
        self.check("missing-bpffs-degrades", right.then_some(()).ok_or(said));
        done(&["/bin/mount", "-t", "bpf", "none", "/sys/fs/bpf"]);
    }

    /// Attacks a target of its own per attacker, on every road.
    fn attack(&mut self, phase: &str, guarded: bool) {
        for attacker in ["root", "user"] {
            let target = start_target(guarded);
            let mut probe = Command::new(CLI);
            // Core files have a check of their own: the target's runtime handles the probe's signal.
            probe.args(["probe", "--json", "--canary-file", NEEDLE]);
            if attacker == "user" {
                probe.arg(format!("--as-uid={USER}:{USER}"));
            }
            let output = probe.arg(target.pid().to_string()).output().unwrap();
            let Ok(report) = serde_json::from_slice::<Value>(&output.stdout) else {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                self.check(&format!("probe-{phase}-{attacker}"), Err(said));
                continue;
            };
            for road in report["processes"][0]["roads"].as_array().unwrap() {
                self.row(phase, attacker, road);
            }
            let found = report["found"].as_bool().unwrap();
            let right = found != guarded;
            let outcome = right.then_some(()).ok_or_else(|| format!("found: {found}"));
            self.check(&format!("probe-{phase}-{attacker}"), outcome);
        }
    }

    fn row(&mut self, phase: &str, attacker: &str, road: &Value) {
        let name = road["road"].as_str().unwrap();
        let access = road["access"].as_str().unwrap();
        let only_opened =
            matches!(name, "dev-mem" | "kcore" | "perf-sample" | "ports" | "swap" | "uprobe");
        let result = match access {
            _ if road["found"].as_u64() > Some(0) => "GOT IT".to_owned(),
            "open" if !only_opened => "nothing".to_owned(),
            "closed" => road["errno"].as_str().unwrap_or("closed").to_owned(),
            other => other.to_owned(),
        };
        println!("@@ROW\t{phase}\t{attacker}\t{name}\t{result}");
        if phase == "with" && only_opened && access == "open" {
            self.check(&format!("{attacker}-{name}"), Err("is open".to_owned()));
        }
    }

    fn start_agent(&mut self, expected: &str) -> Running {
        records::collect();
        // The other tier cannot keep foreign code out of a loader, and says so.
        let listed = if expected.contains("(lsm") { &["--allow-loader", LOADER][..] } else { &[] };
        let agent = self.agent("state", expected, listed);
        self.show_canary();
        agent
    }

    /// Prints what the agent's own canary showed.
    pub(crate) fn show_canary(&mut self) {
        let report = Command::new(AGENT).args(["status", "--json"]).output().unwrap();
        let report: Value = serde_json::from_slice(&report.stdout).unwrap_or_default();
        for road in report["roads"].as_array().into_iter().flatten() {
            let word = |key: &str| road[key].as_str().unwrap_or("?").to_owned();
            println!("@@CANARY\t{}\t{}\t{}", word("road"), word("before"), word("now"));
            // The canary makes these files itself: where the road is absent, it did not.
            if matches!(&*word("road"), "code-write" | "memfd-read" | "more-swap" | "shared-memory")
            {
                let was = word("before");
                let name = format!("canary-has-{}", word("road"));
                self.check(&name, (was == "open").then_some(()).ok_or(was));
            }
        }
        for program in report["verified_instructions"].as_array().into_iter().flatten() {
            println!("@@COST\t{}\t{}", program[0].as_str().unwrap_or("?"), program[1]);
        }
    }

    /// Starts the agent, and checks that its state begins like this.
    pub(crate) fn agent(&mut self, name: &str, expected: &str, more: &[&str]) -> Running {
        let log = File::create("/tmp/agent.log").unwrap();
        let mut agent = Command::new(AGENT);
        agent.args(["run", "--canary-every", "5", "--metrics", records::METRICS]).stderr(log);
        agent.args(["--operator-key", orders::PUBLIC]);
        agent.args(["--audit-file", records::FILE, "--audit-url", records::COLLECTOR]);
        let agent = Running(agent.args(more).spawn().unwrap());
        self.check(&format!("{name}-is-said-when-it-can-be-asked"), asked_at_its_word());
        let until = Instant::now() + PATIENCE;
        let mut said = status();
        while said.starts_with("OFF") && Instant::now() < until {
            thread::sleep(Duration::from_millis(200));
            said = status();
        }
        let log = || fs::read_to_string("/tmp/agent.log").unwrap_or_default();
        let outcome =
            said.starts_with(expected).then_some(()).ok_or_else(|| format!("{said} {}", log()));
        self.check(name, outcome);
        agent
    }

    fn identity(&mut self) {
        let mut shell = guard(&["/bin/sh", "-c", "/bin/sleep 300 & echo $!; wait"]);
        shell.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut shell = Running(shell.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(shell.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let child = line.trim();
        self.check("child-is-guarded", denied(File::open(format!("/proc/{child}/environ"))));
        let said = read(guard(&[GUEST, "look-around"]));
        self.check("own-tree-stays-open", (said == "Ok(())").then_some(()).ok_or(said));
        let said = read(guard(&[GUEST, "traceme"]));
        self.check("traceme", (said == "Err(EPERM)").then_some(()).ok_or(said));
        kill(Pid::from_raw(child.parse().unwrap()), Signal::SIGTERM).unwrap();
        let ended = eventually(|| {
            !fs::exists(format!("/proc/{child}/environ")).unwrap() || is_zombie(child)
        });
        self.check(
            "sigterm-still-ends-it",
            ended.then_some(()).ok_or_else(|| "it lives".to_owned()),
        );
    }

    /// Two readers as root go through all processes, again and again, while guarded ones come and go.
    fn storm(&mut self, expected: &str) {
        let over = AtomicBool::new(false);
        let secret = fs::read_to_string(NEEDLE).unwrap();
        let (tries, found) = thread::scope(|scope| {
            let readers = [(); 2].map(|()| scope.spawn(|| read_all_environments(&over, &secret)));
            let said = guard(&[GUEST, "storm"]).status();
            over.store(true, Ordering::Relaxed);
            assert!(said.unwrap().success());
            let each = readers.map(|reader| reader.join().unwrap());
            (each[0].0 + each[1].0, each[0].1 + each[1].1)
        });
        println!("@@RACE\tenviron of {STORM} starts\t{tries}\t{found}");
        let right = found == 0 || expected.starts_with("DEGRADED");
        let words = || format!("{found} of {tries} reads gave the secret");
        self.check("fork-and-exec-storm", right.then_some(()).ok_or_else(words));
    }

    /// A listed loader may load, and nobody gets into it. Only where the tier can hold that.
    fn loaders(&mut self, expected: &str) {
        let said = read(plain(&[GUEST, "load"]));
        self.check("unlisted-loader", (said == "Err(EPERM)").then_some(()).ok_or(said));
        if !expected.contains("(lsm") {
            return;
        }
        let said = read(plain(&[LOADER, "load"]));
        self.check("listed-loader", (said == "Ok(())").then_some(()).ok_or(said));
        let said = read(plain(&[LOADER, "secure"]));
        self.check("listed-loader-is-secure", (said == "Some(1)").then_some(()).ok_or(said));
        let said = read(plain(&[GUEST, "secure"]));
        self.check("others-are-not", (said == "Some(0)").then_some(()).ok_or(said));
        let running = Running(plain(&[LOADER, "wait"]).spawn().unwrap());
        let attached = roads::Attached::to(Pid::from_raw(running.pid()));
        self.check("attach-to-loader", denied_by(attached.map(drop)));
        drop(running);
        // As long as anything of the last one is left, the kernel itself refuses: the file is busy.
        let mut said = Ok(());
        eventually(|| {
            said = denied(OpenOptions::new().write(true).open(LOADER));
            said.is_ok()
        });
        self.check("write-into-loader", said);
        fs::copy(GUEST, "/bin/new").unwrap();
        let renamed = fs::rename("/bin/new", LOADER).map_err(|error| error.to_string());
        self.check("loader-can-be-renamed-over", renamed);
        let said = read(plain(&[LOADER, "load"]));
        self.check("and-is-no-loader-then", (said == "Err(EPERM)").then_some(()).ok_or(said));
    }

    fn self_guard(&mut self, agent: &Running) {
        let pid = agent.pid();
        for signal in [Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGTERM] {
            let sent = kill(Pid::from_raw(pid), signal);
            self.check(&format!("agent-{signal}"), denied_by(sent));
        }
        self.check("agent-limits", denied_by(roads::rewrite_core_limit(Pid::from_raw(pid))));
        self.check("agent-mem", denied(File::open(format!("/proc/{pid}/mem"))));
    }

    pub(crate) fn neighbours(&mut self) {
        let target = start_target(true);
        let pid = target.pid();
        for file in
            ["stat", "status", "cmdline", "comm", "cgroup", "mountinfo", "loginuid", "limits"]
        {
            let read = fs::read(format!("/proc/{pid}/{file}"));
            self.check(&format!("neighbour-{file}"), read.map(drop).map_err(|e| e.to_string()));
        }
        for link in ["exe", "cwd", "root", "ns/pid", "ns/mnt"] {
            let read = fs::read_link(format!("/proc/{pid}/{link}"));
            let name = link.replace('/', "-");
            self.check(&format!("neighbour-{name}"), read.map(drop).map_err(|e| e.to_string()));
        }
        let ps = read(Command::new("/bin/ps"));
        self.check("neighbour-ps", ps.contains("guest").then_some(()).ok_or(ps));
        // An unguarded process is nobody's business.
        let other = Running(Command::new("/bin/sleep").arg("300").spawn().unwrap());
        let environ = fs::read(format!("/proc/{}/environ", other.pid()));
        self.check("unguarded-environ", environ.map(drop).map_err(|e| e.to_string()));
    }

    /// A cgroup's killing asks nobody; what is pinned stays.
    pub(crate) fn the_end_of_the_agent(&mut self, agent: &mut Running) {
        let target = start_target(true);
        outlive::end_by_cgroup(&mut agent.0);
        let environ = File::open(format!("/proc/{}/environ", target.pid()));
        self.check("without-the-agent-all-stays-closed", denied(environ));
        let said = status();
        self.check("and-status-says-off", said.starts_with("OFF(").then_some(()).ok_or(said));
    }

    /// After all this the canary still survives.
    fn state_after(&mut self, expected: &str) {
        thread::sleep(Duration::from_secs(6));
        let said = status();
        self.check("state-at-the-end", said.starts_with(expected).then_some(()).ok_or(said));
        let log = fs::read_to_string("/tmp/agent.log").unwrap();
        let told = log.contains(r#""event":"denied""#);
        self.check("denials-are-logged", told.then_some(()).ok_or(log));
        for (name, outcome) in records::all(&status()) {
            self.check(name, outcome);
        }
    }
}

/// Whoever waited for the agent's word on its state may rely on it: at that moment it answers.
fn asked_at_its_word() -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let log = fs::read_to_string("/tmp/agent.log").unwrap_or_default();
        if log.contains(r#""event":"state""#) {
            return wrapped::is_answered().map_err(|why| format!("{why}: {log}"));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err("it never said one".to_owned())
}
