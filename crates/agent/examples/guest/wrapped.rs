//! A real wrapper under the real agent, with an HTTP double in place of OpenBao: as an ordinary user
//! and as the first process of its own namespace, as in a pod. It must get its guard, do its work
//! under it, and show nothing; others must get nothing by its socket.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cloudtaser_core::agent::{ANSWER_MAX, Answer, Question};
use cloudtaser_core::names::AGENT_SOCKET;
use cloudtaser_sys::roads::Attached;
use cloudtaser_sys::secretmem::SecretFile;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::unistd::Pid;
use serde_json::Value;

use crate::processes::{AGENT, CLI, GUEST, NEEDLE, Running, USER, plain, read, status};
use crate::scenario::Scenario;

const WRAPPER: &str = "/bin/cloudtaser-wrapper";
/// Where the double listens.
const OPENBAO: &str = "127.0.0.1:8200";
/// How long an app may take to end on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const REQUIRED: &str = "--require=agent=enforcing";
/// Who asks too much, so that its limit is its own.
const NOISY: &str = "/sys/fs/cgroup/noisy";

/// Answers look-ups of the token, and every read with the needle.
pub(crate) struct OpenBao(Arc<AtomicUsize>);

impl OpenBao {
    pub(crate) fn start() -> Self {
        read(plain(&["/bin/busybox", "ifconfig", "lo", "127.0.0.1", "up"]));
        let listener = TcpListener::bind(OPENBAO).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || serve(stream));
            }
        });
        Self(asked)
    }

    fn asked(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream) {
    let mut request = String::new();
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    while lines.read_line(&mut request).is_ok_and(|len| len > 2) {}
    let needle = fs::read_to_string(NEEDLE).unwrap();
    let body = match request.split(' ').nth(1).unwrap_or_default() {
        "/v1/auth/token/lookup-self" => r#"{"data":{"ttl":600,"renewable":false}}"#.to_owned(),
        _ => format!(r#"{{"data":{{"a":"{needle}"}}}}"#),
    };
    let len = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n");
    // Whoever hung up has what it wanted.
    drop(stream.write_all((head + &body).as_bytes()));
}

/// What an app says instead of its secret.
pub(crate) fn digest(secret: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    secret.hash(&mut hasher);
    hasher.finish()
}

/// A wrapper as a pod has it: uid 1000, no capability, PID 1. Its app is the second image.
fn wrapper(flags: &[&str]) -> Command {
    let mut start = plain(&["/bin/busybox", "unshare", "-m", "-p", "-f", "--mount-proc"]);
    start.args([GUEST, "as-user", WRAPPER, "run", "--log-format=json"]).args(flags);
    start.args(["--", "/bin/sh", "-c", "/bin/guest target & wait"]);
    start.env_clear().env("VAULT_ADDR", format!("http://{OPENBAO}")).env("VAULT_TOKEN", "s.t0k3n");
    start.env("GUEST_SECRET", "vault:kv1/data/x#a").current_dir("/tmp").stdin(Stdio::null());
    start
}

/// A wrapper whose app runs.
pub(crate) struct Wrapped {
    unshare: Running,
    pub(crate) wrapper: i32,
    pub(crate) app: i32,
    log: String,
    /// What the app said.
    line: String,
}

impl Wrapped {
    pub(crate) fn start(flags: &[&str]) -> Result<Self, String> {
        let log = format!("/tmp/wrapper-{}.log", flags.len());
        let mut start = wrapper(flags);
        start.stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut unshare = Running(start.spawn().unwrap());
        let mut output = BufReader::new(unshare.0.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let log = fs::read_to_string(&log).unwrap();
        if !line.contains("sealed") {
            return Err(format!("{line} {log}"));
        }
        thread::spawn(move || output.read_line(&mut String::new()));
        let wrapper = child_of(unshare.pid())?;
        let app = child_of(child_of(wrapper)?)?;
        Ok(Self { unshare, wrapper, app, log, line })
    }

    fn level(&self) -> Value {
        let lines = self.log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut levels = lines.filter(|line| line["cloudtaser"] == "protection-level");
        levels.next().map(|line| line["level"].clone()).unwrap_or_default()
    }

    /// `ok`, or what is not as it should be.
    fn is_claimed(&self, agent: &str) -> Result<(), String> {
        let level = self.level();
        let facets = &level["facets"];
        let sealed = facets["memory"] == "sealed"
            && facets["environ"] == "hidden"
            && (level["rows"][0]["verdict"] == "closed") == (agent == "enforcing");
        // Where the kernel seals nothing, the level does not say that it did.
        let plain = facets["memory"] != "sealed";
        let memory = if SecretFile::create(4096).is_ok() { sealed } else { plain };
        let right = facets["agent"] == agent && memory;
        right.then_some(()).ok_or_else(|| format!("{level} {}", self.log))
    }
}

fn child_of(pid: i32) -> Result<i32, String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |child: &i32| {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let behind = stat.rsplit_once(") ").map_or("", |(_, behind)| behind);
        behind.split(' ').nth(1).and_then(|parent| parent.parse().ok()) == Some(pid)
    };
    pids.into_iter().find(is_child).ok_or_else(|| format!("{pid} has no child"))
}

/// Before there is an agent: nothing is asked of OpenBao where one is required.
pub(crate) fn without_agent(own: &mut Scenario, bao: &OpenBao) {
    own.check("wrapper-demands-the-agent", refused(bao));
}

fn refused(bao: &OpenBao) -> Result<(), String> {
    let before = bao.asked();
    // So long it waits for one that might be coming.
    let output = wrapper(&[REQUIRED]).env("CLOUDTASER_DEADLINE", "1s").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let right = output.status.code() == Some(77)
        && bao.asked() == before
        && said.contains("agent=enforcing is required, agent=off");
    right.then_some(()).ok_or(said)
}

/// With the agent: the guard, the work under it, the attacks, and the strangers.
pub(crate) fn with_agent(own: &mut Scenario, expected: &str) {
    let enforcing = expected.starts_with("ENFORCING");
    let (agent, flags) =
        if enforcing { ("enforcing", &[REQUIRED][..]) } else { ("degraded", &[][..]) };
    match Wrapped::start(flags) {
        Ok(mut wrapped) => {
            let wanted = format!("{}", digest(&fs::read_to_string(NEEDLE).unwrap()));
            let delivered = wrapped.line.split_whitespace().last() == Some(&wanted);
            let line = wrapped.line.clone();
            own.check("wrapped-app-has-its-value", delivered.then_some(()).ok_or(line));
            own.check("wrapper-claims-the-agent", wrapped.is_claimed(agent));
            own.check("registration-is-recorded", recorded(&wrapped));
            for (name, pid) in [("wrapper", wrapped.wrapper), ("wrapped-app", wrapped.app)] {
                for attacker in ["root", "user"] {
                    own.check(&format!("probe-{name}-{attacker}"), attack(pid, attacker));
                }
            }
            own.check("wrapper-ends-with-its-app", ends(&mut wrapped));
        }
        Err(why) => own.check("wrapped-app-starts", Err(why)),
    }
    let outcome =
        Wrapped::start(&[]).and_then(|mut wrapped| ends_by(&mut wrapped, Signal::SIGSEGV, 137));
    own.check("wrapper-hands-no-core-signal-on", outcome);
    strangers(own);
    traced(own);
    crowd(own, agent);
}

fn recorded(wrapped: &Wrapped) -> Result<(), String> {
    let log = fs::read_to_string("/tmp/agent.log").unwrap();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut records = lines.filter(|line| line["event"] == "guarded");
    let right = records.any(|line| {
        line["pid"] == wrapped.wrapper
            && line["uid"] == USER
            && line["cgroup"] == "/"
            && line["wrapper"].as_str().is_some_and(|text| text.starts_with("sha256:"))
    });
    right.then_some(()).ok_or(log)
}

/// Every road, and those that only show that they are open.
fn attack(pid: i32, attacker: &str) -> Result<(), String> {
    let mut probe = Command::new(CLI);
    probe.args(["probe", "--json", "--destructive", "--canary-file", NEEDLE]);
    if attacker == "user" {
        probe.arg(format!("--as-uid={USER}:{USER}"));
    }
    let output = probe.arg(pid.to_string()).output().unwrap();
    let Ok(report) = serde_json::from_slice::<Value>(&output.stdout) else {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    };
    let roads = report["processes"][0]["roads"].as_array().unwrap();
    let is_open = |road: &&Value| {
        let name = road["road"].as_str().unwrap();
        let only_opened =
            matches!(name, "dev-mem" | "kcore" | "perf-sample" | "uprobe" | "ptrace-inject");
        road["found"].as_u64() > Some(0) || road["access"] == "open" && only_opened
    };
    let open: Vec<&Value> = roads.iter().filter(is_open).map(|road| &road["road"]).collect();
    if open.is_empty() && !roads.is_empty() { Ok(()) } else { Err(format!("{open:?}")) }
}

/// A stop reaches the app, and its end is the wrapper's.
fn ends(wrapped: &mut Wrapped) -> Result<(), String> {
    ends_by(wrapped, Signal::SIGTERM, 143)
}

/// A signal from root to the wrapper, which hands it on from inside the guarded tree.
fn ends_by(wrapped: &mut Wrapped, signal: Signal, code: i32) -> Result<(), String> {
    kill(Pid::from_raw(wrapped.wrapper), signal).unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        match wrapped.unshare.0.try_wait().unwrap() {
            Some(status) if status.code() == Some(code) => return Ok(()),
            Some(status) => return Err(status.to_string()),
            None if Instant::now() < until => thread::sleep(Duration::from_millis(50)),
            None => return Err("it lives".to_owned()),
        }
    }
}

/// Ordinary users who are no wrapper.
fn strangers(own: &mut Scenario) {
    fs::copy(GUEST, "/tmp/cloudtaser-wrapper").unwrap();
    for (name, program, question) in [
        ("stranger-guard", GUEST, "guard"),
        ("stranger-protect", GUEST, "protect"),
        ("stranger-status", GUEST, "status"),
        ("stranger-by-name", "/tmp/cloudtaser-wrapper", "guard"),
    ] {
        let said = read(plain(&[GUEST, "as-user", program, "ask", question]));
        let answer = Answer::parse(said.as_bytes());
        let right = answer
            .is_ok_and(|answer| !answer.done && answer.tier.is_none() && answer.reasons.is_empty());
        own.check(name, right.then_some(()).ok_or(said));
    }
}

/// Asks one question of the agent and prints the answer's packet.
pub(crate) fn ask(question: &str) {
    let question = match question {
        "guard" => Question::Guard,
        "protect" => Question::Protect { pid: 1 },
        _ => Question::Status,
    };
    let mut agent = dial();
    agent.write_all(&question.to_packet()).unwrap();
    let mut packet = vec![0; ANSWER_MAX];
    let len = agent.read(&mut packet).unwrap();
    println!("{}", String::from_utf8_lossy(&packet[..len]));
}

fn dial() -> UnixStream {
    try_dial().unwrap()
}

fn try_dial() -> nix::Result<UnixStream> {
    let own = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect(own.as_raw_fd(), &UnixAddr::new(AGENT_SOCKET)?)?;
    Ok(own.into())
}

/// Asks once, at this moment.
pub(crate) fn is_answered() -> Result<(), String> {
    let mut agent = try_dial().map_err(|errno| format!("nobody listens: {errno}"))?;
    agent.write_all(&Question::Status.to_packet()).map_err(|error| error.to_string())?;
    let len = agent.read(&mut vec![0; ANSWER_MAX]).map_err(|error| error.to_string())?;
    (len > 0).then_some(()).ok_or_else(|| "it closed without an answer".to_owned())
}

/// A process that somebody traces already is not called guarded.
fn traced(own: &mut Scenario) {
    let target = Running(Command::new("/bin/sleep").arg("300").spawn().unwrap());
    let pid = target.pid();
    let mut start = plain(&[GUEST, "trace", &pid.to_string()]);
    let mut tracer = Running(start.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(tracer.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let protect = Command::new(AGENT).args(["protect", &pid.to_string()]).output().unwrap();
    let said = String::from_utf8_lossy(&protect.stdout).into_owned();
    let right = !protect.status.success() && said.contains("is traced by process");
    own.check("traced-is-not-guarded", right.then_some(()).ok_or(said));
}

/// Attaches to a process and stays.
pub(crate) fn trace(pid: &str) {
    let _attached = Attached::to(Pid::from_raw(pid.parse().unwrap())).unwrap();
    println!("attached");
    thread::park();
}

/// One who connects without end, in a cgroup of its own, holds up neither root nor a wrapper.
fn crowd(own: &mut Scenario, agent: &str) {
    fs::create_dir_all(NOISY).unwrap();
    let mut start = plain(&[GUEST, "as-user", GUEST, "crowd"]);
    let mut crowd = Running(start.stdout(Stdio::piped()).spawn().unwrap());
    fs::write(format!("{NOISY}/cgroup.procs"), crowd.pid().to_string()).unwrap();
    let mut line = String::new();
    BufReader::new(crowd.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let begin = Instant::now();
    let said = status();
    let right = begin.elapsed() < Duration::from_secs(5) && !said.starts_with("OFF");
    own.check("crowd-does-not-hold-up-root", right.then_some(()).ok_or(said));
    let outcome = Wrapped::start(&[]).and_then(|mut wrapped| {
        wrapped.is_claimed(agent)?;
        ends(&mut wrapped)
    });
    own.check("crowd-does-not-hold-up-a-wrapper", outcome);
    let report = Command::new(AGENT).args(["status", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&report.stdout).unwrap_or_default();
    let counted = report["refused"]["suppressed"].as_u64() > Some(0);
    own.check("crowd-is-counted", counted.then_some(()).ok_or_else(|| report.to_string()));
}

/// Connects again and again, and says nothing.
pub(crate) fn connect_without_end() {
    thread::sleep(Duration::from_secs(1)); // until it is in its cgroup
    let mut open = Vec::new();
    for nth in 0_u32.. {
        open.push(dial());
        if open.len() > 200 {
            open.clear();
        }
        if nth == 200 {
            println!("crowded");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// The agent dies as nothing but a cgroup kills it: apps go on, and new launches notice. What comes
/// back is the next agent.
pub(crate) fn after_the_agent(
    own: &mut Scenario,
    bao: &OpenBao,
    mut agent: Running,
    expected: &str,
) -> Running {
    let wrapped = Wrapped::start(&[]);
    own.the_end_of_the_agent(&mut agent);
    drop(agent);
    own.check("wrapper-demands-the-agent-that-died", refused(bao));
    let outcome = wrapped.and_then(|mut wrapped| ends(&mut wrapped));
    own.check("wrapper-outlives-the-agent", outcome);
    let agent = own.agent("state-of-the-next-agent", expected, &[]);
    let enforcing = expected.starts_with("ENFORCING");
    let outcome = Wrapped::start(&[]).and_then(|mut wrapped| {
        wrapped.is_claimed(if enforcing { "enforcing" } else { "degraded" })?;
        ends(&mut wrapped)
    });
    own.check("wrapper-finds-the-next-agent", outcome);
    agent
}
