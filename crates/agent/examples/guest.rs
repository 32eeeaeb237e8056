//! What runs inside the virtual machine of `cargo xtask vm test`: a target that holds a secret, the
//! attacks on it without and with the agent, and one line of output per finding.
//!
//! Lines: `@@ROW`, phase, attacker, road, result; `@@CHECK`, name, `ok` or what went wrong; both with
//! tabs between. It expects to be root in a machine of its own, which it leaves in any state.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "its output is its result")]
#![expect(clippy::unwrap_used, reason = "it has nobody to hand an error to but the test")]
#![expect(clippy::expect_used, reason = "it has nobody to hand an error to but the test")]
#![expect(clippy::panic, reason = "it has nobody to hand an error to but the test")]
#![expect(clippy::indexing_slicing, reason = "it reads JSON of ours")]

#[path = "guest/wrapped.rs"]
mod wrapped;

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cloudtaser_sys::roads;
use cloudtaser_sys::secretmem::SecretFile;
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const AGENT: &str = "/bin/cloudtaser-agent";
const CLI: &str = "/bin/cloudtaser";
const GUEST: &str = "/bin/guest";
/// The user that the target runs as, and the weaker attacker with it.
const USER: u32 = 1000;
/// Where the needle is for the attacker's own use; nobody else's memory has it from there.
const NEEDLE: &str = "/tmp/needle";
/// An agent under emulation needs seconds to load, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["run", expected] => Scenario::run(expected),
        ["target"] => target(),
        ["as-user", ..] => as_user(&words[1..]),
        ["traceme"] => println!("{:?}", nix::sys::ptrace::traceme()),
        ["look-around"] => look_around(),
        ["ask", question] => wrapped::ask(question),
        ["crowd"] => wrapped::connect_without_end(),
        ["trace", pid] => wrapped::trace(pid),
        _ => panic!("unknown: {words:?}"),
    }
}

/// Holds the secret in its environment, its heap and a sealed page whose descriptor stays open.
fn target() {
    let secret = env::var("GUEST_SECRET").unwrap();
    // An app whose crashes somebody wants to see: the worst case for a core file.
    let none = nix::libc::RLIM_INFINITY;
    setrlimit(Resource::RLIMIT_CORE, none, none).unwrap();
    match SecretFile::create(4096) {
        Ok(file) => {
            let mut page = file.map().unwrap();
            assert!(page.write(0, secret.as_bytes()));
            println!("sealed {}", wrapped::digest(&secret));
            thread::spawn(thread::park);
            thread::park();
            drop((page, file));
        }
        Err(error) => {
            println!("not sealed: {error}");
            thread::park();
        }
    }
}

/// Becomes a program of an ordinary user.
fn as_user(command: &[&str]) {
    let error = Command::new(command[0]).args(&command[1..]).uid(USER).gid(USER).exec();
    panic!("{error}");
}

/// What a guarded process must still be able to do: read its own files and those of its children.
fn look_around() {
    let own = fs::read("/proc/self/maps").and_then(|_maps| fs::read("/proc/self/environ"));
    let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
    let child_environ = fs::read(format!("/proc/{}/environ", child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    println!("{:?}", own.and(child_environ).map(|_bytes| ()));
}

/// A child that is ended with the scenario that started it.
struct Running(Child);

impl Running {
    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The agent cannot be killed, which is one of its promises; the machine goes down with it.
        if self.0.kill().is_ok() {
            drop(self.0.wait());
        }
    }
}

struct Scenario {
    failures: u32,
}

/// Open handles from before the agent's start.
struct Earlier {
    kcore: File,
    ftrace: File,
    environ: File,
    mem: File,
    target: Running,
}

impl Scenario {
    fn run(expected: &str) {
        let mut own = Self { failures: 0 };
        write_needle();
        // Yama would hide from the same-uid attacker what the agent has to close.
        drop(fs::write("/proc/sys/kernel/yama/ptrace_scope", "0"));
        if expected.contains("no hook") {
            // Roads are open and known to be: what counts is that the agent says so.
            let _agent = own.start_agent(expected);
            println!("@@STATE\t{}", status());
            println!("@@RC {}", own.failures);
            return;
        }
        own.inert_programs_are_noticed(expected);
        own.attack("without", false);
        let bao = wrapped::OpenBao::start();
        wrapped::without_agent(&mut own, &bao);
        let earlier = Earlier::open();
        let agent = own.start_agent(expected);
        own.attack("with", true);
        own.what_was_opened_before(&earlier);
        own.identity();
        own.self_guard(&agent);
        own.neighbours();
        wrapped::with_agent(&mut own, expected);
        own.state_after(expected);
        println!("@@STATE\t{}", status());
        wrapped::after_the_agent(&mut own, &bao, agent, expected);
        println!("@@RC {}", own.failures);
    }

    fn check(&mut self, name: &str, outcome: Result<(), String>) {
        let words = match outcome {
            Ok(()) => "ok".to_owned(),
            Err(words) => {
                self.failures += 1;
                words.replace(['\n', '\t'], " ")
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

    /// Attacks a target of its own per attacker, on every road.
    fn attack(&mut self, phase: &str, guarded: bool) {
        for attacker in ["root", "user"] {
            let target = start_target(guarded);
            let mut probe = Command::new(CLI);
            probe.args(["probe", "--json", "--destructive", "--canary-file", NEEDLE]);
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
        let only_opened = matches!(name, "dev-mem" | "kcore" | "perf-sample" | "uprobe");
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
        let agent = self.agent("state", expected);
        let report = Command::new(AGENT).args(["status", "--json"]).output().unwrap();
        let report: Value = serde_json::from_slice(&report.stdout).unwrap_or_default();
        for road in report["roads"].as_array().into_iter().flatten() {
            let word = |key: &str| road[key].as_str().unwrap_or("?").to_owned();
            println!("@@CANARY\t{}\t{}\t{}", word("road"), word("before"), word("now"));
        }
        for program in report["verified_instructions"].as_array().into_iter().flatten() {
            println!("@@COST\t{}\t{}", program[0].as_str().unwrap_or("?"), program[1]);
        }
        agent
    }

    /// Starts the agent, and checks that its state begins like this.
    fn agent(&mut self, name: &str, expected: &str) -> Running {
        let log = File::create("/tmp/agent.log").unwrap();
        let agent = Command::new(AGENT).args(["run", "--canary-every", "5"]).stderr(log).spawn();
        let agent = Running(agent.unwrap());
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

    fn what_was_opened_before(&mut self, earlier: &Earlier) {
        self.check("earlier-kcore", denied(earlier.kcore.read_at(&mut [0; 64], 0)));
        self.check("earlier-ftrace-switch", denied((&earlier.ftrace).write(b"0\n")));
        let value = fs::read_to_string("/proc/sys/kernel/ftrace_enabled").unwrap();
        self.check("ftrace-is-on", (value.trim() == "1").then_some(()).ok_or(value));
        let pid = earlier.target.pid().to_string();
        let protect = Command::new(AGENT).args(["protect", &pid]).output().unwrap();
        let said = String::from_utf8_lossy(&protect.stderr).into_owned();
        self.check("protect-a-running-process", protect.status.success().then_some(()).ok_or(said));
        self.check("earlier-environ", denied(earlier.environ.read_at(&mut [0; 64], 0)));
        self.check("earlier-mem", denied(earlier.mem.read_at(&mut [0; 64], 0)));
        let opened = File::open(format!("/proc/{pid}/task/{pid}/maps"));
        self.check("late-maps", denied(opened));
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
        let ended = (0..50).any(|_| {
            thread::sleep(Duration::from_millis(100));
            !fs::exists(format!("/proc/{child}/environ")).unwrap() || is_zombie(child)
        });
        self.check(
            "sigterm-still-ends-it",
            ended.then_some(()).ok_or_else(|| "it lives".to_owned()),
        );
    }

    fn self_guard(&mut self, agent: &Running) {
        let pid = agent.pid();
        for signal in [Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGTERM] {
            let sent = kill(Pid::from_raw(pid), signal);
            self.check(&format!("agent-{signal}"), denied_by(sent));
        }
        self.check("agent-limits", denied_by(roads::rewrite_core_limit(Pid::from_raw(pid))));
        self.check("agent-mem", denied(File::open(format!("/proc/{pid}/mem"))));
        let second = Command::new(AGENT).args(["run", "--once"]).output().unwrap();
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        let right = second.status.code() == Some(71) && said.contains("lets nobody here load");
        self.check("no-second-loader", right.then_some(()).ok_or(said));
    }

    fn neighbours(&mut self) {
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

    /// After all this the canary still survives.
    fn state_after(&mut self, expected: &str) {
        thread::sleep(Duration::from_secs(6));
        let said = status();
        self.check("state-at-the-end", said.starts_with(expected).then_some(()).ok_or(said));
        let log = fs::read_to_string("/tmp/agent.log").unwrap();
        let told = log.contains(r#""event":"denied""#);
        self.check("denials-are-logged", told.then_some(()).ok_or(log));
    }
}

impl Earlier {
    fn open() -> Self {
        let target = start_target(false);
        let open = |path: &str| File::open(path).expect(path);
        let proc = |file: &str| format!("/proc/{}/{file}", target.pid());
        Self {
            kcore: open("/proc/kcore"),
            ftrace: OpenOptions::new().write(true).open("/proc/sys/kernel/ftrace_enabled").unwrap(),
            environ: open(&proc("environ")),
            mem: open(&proc("mem")),
            target,
        }
    }
}

/// A value that nothing else in the machine's memory has.
fn write_needle() {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(NEEDLE, text).unwrap();
    // The weaker attacker gets it over a descriptor.
    fs::set_permissions(NEEDLE, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// Starts the target and waits until it holds the secret.
fn start_target(guarded: bool) -> Running {
    let command = [GUEST, "as-user", GUEST, "target"];
    let mut start = if guarded { guard(&command) } else { plain(&command) };
    start.env_clear().env("GUEST_SECRET", fs::read_to_string(NEEDLE).unwrap()).current_dir("/tmp");
    let mut target = Running(start.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    let mut output = BufReader::new(target.0.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    assert!(line.contains("sealed"), "the target did not start: {line}");
    // Its standard output must stay open, or its next line would end it.
    thread::spawn(move || output.read_line(&mut String::new()));
    target
}

fn plain(command: &[&str]) -> Command {
    let mut start = Command::new(command[0]);
    start.args(&command[1..]);
    start
}

fn guard(command: &[&str]) -> Command {
    let mut start = Command::new(AGENT);
    start.args(["guard", "--degraded", "--"]).args(command);
    start
}

fn status() -> String {
    read(plain(&[AGENT, "status"]))
}

fn read(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn is_zombie(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|text| text.contains(") Z "))
}

fn denied<T>(result: std::io::Result<T>) -> Result<(), String> {
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(1 | 13)) => Ok(()),
        Err(error) => Err(format!("{error}, not a denial")),
        Ok(_) => Err("let through".to_owned()),
    }
}

fn denied_by(result: Result<(), Errno>) -> Result<(), String> {
    denied(result.map_err(std::io::Error::from))
}
