//! Ways around the places where the kernel asks: signals that nobody sends, core files that a process
//! brings about itself, memory that has no name, and where memory is swapped to.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use cloudtaser_sys::roads::{self, Shared};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::hardware;
use crate::orders;
use crate::processes::{
    AGENT, GUEST, NEEDLE, Running, denied, denied_by, guard, plain, read, status,
};
use crate::scale::{eventually, yes};
use crate::scenario::Scenario;

/// Which program gets core files; it keeps what it gets.
const PATTERN: &str = "/proc/sys/kernel/core_pattern";
const HELPER: &str = "|/bin/busybox dd of=/tmp/piped";
const PIPED: &str = "/tmp/piped";
/// What the machine has unless somebody changes it.
const PLAIN: &str = "core";

/// How a process comes to dump.
#[derive(Clone, Copy, Debug)]
enum Cause {
    /// A signal that a file sends: no process is asked for.
    File,
    /// Its own fault.
    Fault,
}

impl Scenario {
    /// A core file by a signal from outside; a signal that the process handles is not hindered.
    pub(crate) fn core_files(&mut self) {
        let dumping = ["/bin/sh", "-c", "ulimit -c unlimited; exec /bin/sleep 300"];
        for guarded in [false, true] {
            let mut start = if guarded { guard(&dumping) } else { plain(&dumping) };
            start.env("GUEST_SECRET", fs::read_to_string(NEEDLE).unwrap()).current_dir("/tmp");
            let mut target = Running(start.spawn().unwrap());
            let stat = format!("/proc/{}/comm", target.pid());
            while fs::read_to_string(&stat).unwrap() != "sleep\n" {
                thread::sleep(Duration::from_millis(20));
            }
            let sent = kill(Pid::from_raw(target.pid()), Signal::SIGABRT);
            if guarded {
                self.check("core-signal", denied_by(sent));
                continue;
            }
            target.0.wait().unwrap();
            let secret = fs::read(NEEDLE).unwrap();
            let core = fs::read("/tmp/core").unwrap_or_default();
            let found = core.windows(secret.len()).any(|part| part == secret);
            let words = || format!("core of {} bytes", core.len());
            self.check("core-file-without-guard", found.then_some(()).ok_or_else(words));
        }
        let mut shell = guard(&["/bin/sh", "-c", "trap '' QUIT; echo ready; read nothing"]);
        let mut shell =
            Running(shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(shell.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let sent = kill(Pid::from_raw(shell.pid()), Signal::SIGQUIT);
        self.check("handled-signal-passes", sent.map_err(|errno| errno.to_string()));
    }

    /// What the kernel shows of shared memory where no agent is: the secret.
    pub(crate) fn shared_memory_is_open(&mut self) {
        let (_free, path) = holder("share", false);
        let mut got = String::new();
        let read = File::open(path).and_then(|file| file.take(32).read_to_string(&mut got));
        let right = read.is_ok() && got == fs::read_to_string(NEEDLE).unwrap();
        self.check("shared-memory-without-the-agent", yes(right, || format!("{read:?}")));
    }

    /// All of it, where something refuses.
    pub(crate) fn around(&mut self, agent: &Running, expected: &str) {
        self.signals_of_files(agent, expected);
        self.cores();
        self.a_granted_core();
        self.memory_without_a_name();
        let swapped = roads::swap_to(Path::new(hardware::other()));
        self.check("no-more-swap", denied_by(swapped));
    }

    /// The agent is neither ended nor stopped by what a file sends.
    fn signals_of_files(&mut self, agent: &Running, expected: &str) {
        let mut free = Running(plain(&["/bin/sleep", "300"]).spawn().unwrap());
        roads::signal_by_file(Pid::from_raw(free.pid()), Signal::SIGKILL).unwrap();
        let ended = free.0.wait().unwrap().signal();
        self.check("a-file-ends-others", yes(ended == Some(9), || format!("{ended:?}")));
        for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
            roads::signal_by_file(Pid::from_raw(agent.pid()), signal).unwrap();
            let said = status();
            let right = said.starts_with(expected);
            self.check(&format!("no-{signal}-of-a-file"), yes(right, || said.clone()));
        }
        let report = read(plain(&[AGENT, "status", "--json"]));
        let report: Value = serde_json::from_str(&report).unwrap_or_default();
        let denials = report["denials"].as_array().cloned().unwrap_or_default();
        let denied = denials.iter().find(|each| each[0] == "file_send_sigiotask");
        let count = denied.and_then(|each| each[1].as_u64()).unwrap_or_default();
        self.check("signals-of-files-are-counted", yes(count >= 2, || format!("{denials:?}")));
    }

    /// Root has core files handed to a program of its own, whatever their limit is.
    pub(crate) fn cores(&mut self) {
        fs::write(PATTERN, HELPER).unwrap();
        // With real-time preemption a beginning may be written, and the process ends in either way.
        let version = fs::read_to_string("/proc/version").unwrap();
        let is_exact = !version.contains("PREEMPT_RT");
        for cause in [Cause::File, Cause::Fault] {
            let name = format!("{cause:?}").to_lowercase();
            let ended = dumped(&mut start(cause, false), cause);
            let words = || format!("{ended:?}, {} bytes", piped().len());
            let found = ended.core_dumped() && eventually(has_needle);
            self.check(&format!("core-by-a-{name}-without-guard"), yes(found, words));
            drop(fs::remove_file(PIPED));
            let ended = dumped(&mut start(cause, true), cause);
            let words = || format!("{ended:?}, {} bytes", piped().len());
            let right = ended.signal() == Some(9) && !ended.core_dumped() && piped().is_empty();
            let right = right || (!is_exact && ended.signal().is_some());
            self.check(&format!("core-by-a-{name}"), yes(right, words));
        }
        fs::write(PATTERN, PLAIN).unwrap();
        let records = || fs::read_to_string(crate::records::FILE).unwrap_or_default();
        let told = eventually(|| records().contains(r#""road":"core-dump""#));
        self.check("core-is-recorded", yes(told, || "no record".to_owned()));
    }

    /// By an order a core file is made.
    fn a_granted_core(&mut self) {
        fs::write(PATTERN, HELPER).unwrap();
        let mut target = start(Cause::File, true);
        let pid = target.pid().to_string();
        let order = ["grant", "--pid", &pid, "--for", "10m", "--reason", "x", "--key"];
        let granted = orders::run(&[&order[..], &[orders::SECRET]].concat());
        let ended = dumped(&mut target, Cause::File);
        let found = granted.status.success() && ended.core_dumped() && eventually(has_needle);
        self.check("granted-core", yes(found, || format!("{granted:?} {ended:?}")));
        drop(fs::remove_file(PIPED));
        fs::write(PATTERN, PLAIN).unwrap();
    }

    /// Shared memory, and a memfd of huge pages.
    fn memory_without_a_name(&mut self) {
        let (free, path) = holder("huge", false);
        let opened = File::open(path).map(drop).map_err(|error| error.to_string());
        self.check("huge-memfd-without-guard", opened);
        drop(free);
        let (_guarded, path) = holder("huge", true);
        self.check("huge-memfd", denied(File::open(path)));
        // Whoever asks may have himself guarded.
        let (_guarded, path) = holder("share", true);
        self.check("shared-memory", denied(File::open(&path)));
        let said = read(guard(&[GUEST, "try", &path]));
        self.check("shared-memory-by-another-guarded", yes(said == "refused", || said.clone()));
    }
}

fn piped() -> Vec<u8> {
    fs::read(PIPED).unwrap_or_default()
}

fn has_needle() -> bool {
    let secret = fs::read(NEEDLE).unwrap();
    piped().windows(secret.len()).any(|part| part == secret)
}

/// A process with the secret in its environment, which waits for its cause.
fn start(cause: Cause, guarded: bool) -> Running {
    let script = match cause {
        Cause::File => "exec /bin/sleep 300",
        Cause::Fault => "read go; kill -SEGV $$",
    };
    let command = ["/bin/sh", "-c", script];
    let mut start = if guarded { guard(&command) } else { plain(&command) };
    start.env("GUEST_SECRET", fs::read_to_string(NEEDLE).unwrap()).current_dir("/tmp");
    let target = Running(start.stdin(Stdio::piped()).spawn().unwrap());
    let comm = format!("/proc/{}/comm", target.pid());
    let wanted = if matches!(cause, Cause::File) { "sleep\n" } else { "sh\n" };
    while fs::read_to_string(&comm).unwrap() != wanted {
        thread::yield_now();
    }
    target
}

/// Brings it about; how the process ended.
fn dumped(target: &mut Running, cause: Cause) -> ExitStatus {
    match cause {
        Cause::File => {
            roads::signal_by_file(Pid::from_raw(target.pid()), Signal::SIGABRT).unwrap();
        }
        // Its standard input ends.
        Cause::Fault => drop(target.0.stdin.take()),
    }
    target.0.wait().unwrap()
}

/// A process that holds such memory, and by which path others find it.
fn holder(kind: &str, guarded: bool) -> (Running, String) {
    let command = [GUEST, kind];
    let mut start = if guarded { guard(&command) } else { plain(&command) };
    let mut holder = Running(start.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(holder.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let path = format!("/proc/{}/{}", holder.pid(), line.trim());
    (holder, path)
}

/// The process of [`holder`], with memory that it shares with nobody.
pub(crate) fn share() {
    let shared = Shared::with(&fs::read(NEEDLE).unwrap()).unwrap();
    println!("map_files/{}", shared.name());
    thread::park();
    drop(shared);
}

/// The same with a memfd of huge pages, which it has read.
pub(crate) fn huge() {
    let file = File::from(memfd_create(c"huge", MFdFlags::MFD_HUGETLB).unwrap());
    file.set_len(2 << 20).unwrap();
    assert_eq!(file.read_at(&mut [0; 16], 0).unwrap(), 16);
    println!("fd/{}", file.as_raw_fd());
    thread::park();
}
