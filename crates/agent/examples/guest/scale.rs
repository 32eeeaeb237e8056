//! Many of everything: processes, children of children without end, numbers that are used again,
//! threads. Each has the right identity, the tables stay within their bounds, and afterwards they
//! are as empty as before.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::processes::{
    AGENT, NEEDLE, Running, SMALL, denied, guard, plain, read, start_target, status, write_needle,
};
use crate::scenario::{PATIENCE, Scenario};
use crate::strange;

/// Guarded processes at once.
const CROWD: usize = 10_000;
/// What a bomb may grow to.
const BOMB: usize = 1000;
/// Small enough that every number is used many times.
const NUMBERS: &str = "1024";
/// Processes that come and go meanwhile, guarded and not.
const CHURN: &str = "3000";
const THREADS: &str = "20000";
/// An entry of the table, with what the kernel keeps beside it, and of a task's own storage.
const MOST_BYTES_EACH: u64 = 512;
const BOMBED: &str = "/sys/fs/cgroup/bomb";

/// The whole of it.
pub(crate) fn run(expected: &str) {
    let mut own = Scenario::new();
    write_needle();
    crate::refused::run(&mut own);
    let agent = own.agent("state", expected, &[]);
    let before = guarded();
    own.crowd(expected, before);
    own.bomb(before);
    own.numbers(before);
    own.threads();
    strange::run(&mut own);
    own.emptied("after-all", before);
    let said = status();
    own.check("state-at-the-end", said.starts_with(expected).then_some(()).ok_or(said));
    println!("@@STATE\t{}", status());
    drop(agent);
    own.end();
}

impl Scenario {
    /// As many processes as a large node has.
    fn crowd(&mut self, expected: &str, before: u64) {
        let free = memory("MemAvailable:");
        let unlimited = guard(&[SMALL, "crowd", &CROWD.to_string()]);
        let (mut crowd, said) = started(unlimited);
        let made: usize = said.parse().unwrap_or(0);
        self.check("crowd-is-there", yes(made == CROWD, || said));
        let each = children_of(crowd.pid());
        let count = guarded();
        let words = || format!("{count} guarded, {} children", each.len());
        let right = each.len() == made && count > before + u64::try_from(made).unwrap();
        self.check("crowd-is-counted", yes(right, words));
        let open: Vec<&i32> =
            each.iter().filter(|pid| denied(open_environ(**pid)).is_err()).collect();
        self.check("crowd-is-guarded", yes(open.is_empty(), || format!("open: {open:?}")));
        let said = status();
        self.check("crowd-leaves-the-state", yes(said.starts_with(expected), || said.clone()));
        let target = start_target(false);
        let read = open_environ(target.pid());
        self.check("crowd-guards-nobody-else", read.map(drop).map_err(|e| e.to_string()));
        let used = maps_of_agent();
        let bound = MOST_BYTES_EACH * 65536;
        self.check("crowd-in-bounded-maps", yes(used < bound, || format!("{used} bytes")));
        println!("@@FIGURE\tbytes of maps at {made} guarded processes\t{used}");
        drop(crowd.0.stdin.take());
        crowd.0.wait().unwrap();
        drop(target);
        self.emptied("crowd", before);
        // What the kernel frees late, and what it keeps for the next crowd, is below this.
        let kept = free.saturating_sub(memory("MemAvailable:"));
        let words = || format!("{kept} KiB are not given back");
        self.check("crowd-gives-memory-back", yes(kept < 64 * 1024, words));
    }

    /// Children of children without end, within the limit of their cgroup.
    fn bomb(&mut self, before: u64) {
        fs::create_dir_all(BOMBED).unwrap();
        drop(fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+pids"));
        fs::write(format!("{BOMBED}/pids.max"), BOMB.to_string()).unwrap();
        // It enters the cgroup first, and is guarded and loose afterwards.
        let script = format!(
            "echo $$ > {BOMBED}/cgroup.procs; exec {AGENT} guard --degraded -- {SMALL} bomb"
        );
        let bomb = Running(Command::new("/bin/sh").args(["-c", &script]).spawn().unwrap());
        let count = || fs::read_to_string(format!("{BOMBED}/pids.current")).unwrap();
        let full = eventually(|| count().trim().parse().is_ok_and(|now: usize| now == BOMB));
        self.check("bomb-is-full", yes(full, count));
        let procs = fs::read_to_string(format!("{BOMBED}/cgroup.procs")).unwrap();
        let pids: Vec<i32> = procs.lines().filter_map(|line| line.parse().ok()).collect();
        let open: Vec<&i32> =
            pids.iter().filter(|pid| denied(open_environ(**pid)).is_err()).collect();
        let words = || format!("of {} open: {open:?}", pids.len());
        self.check("bomb-is-guarded", yes(open.is_empty() && pids.len() > BOMB / 2, words));
        fs::write(format!("{BOMBED}/cgroup.kill"), "1").unwrap();
        drop(bomb);
        let gone = eventually(|| count().trim() == "0");
        self.check("bomb-is-gone", yes(gone, count));
        self.emptied("bomb", before);
    }

    /// Numbers that were a guarded process's are an ordinary one's a moment later, and back.
    fn numbers(&mut self, before: u64) {
        fs::write("/proc/sys/kernel/pid_max", NUMBERS).unwrap();
        let storms = [guard(&[SMALL, "churn", CHURN]), plain(&[SMALL, "churn", CHURN])];
        let mut storms = storms.map(|mut storm| Running(storm.spawn().unwrap()));
        let (mut guarded, mut plain_ones) = (BTreeSet::new(), BTreeSet::new());
        let (mut wrong, mut turns) = (Vec::new(), 0);
        while storms.iter_mut().any(|storm| storm.0.try_wait().unwrap().is_none()) || turns < 40 {
            turns += 1;
            let (inside, _said) = started(guard(&[SMALL, "hold", "inside"]));
            let (outside, _said) = started(plain(&[SMALL, "hold", "outside"]));
            if denied(open_environ(inside.pid())).is_err() {
                wrong.push(format!("{} is open", inside.pid()));
            }
            if let Err(error) = open_environ(outside.pid()) {
                wrong.push(format!("{} is closed: {error}", outside.pid()));
            }
            guarded.insert(inside.pid());
            plain_ones.insert(outside.pid());
        }
        fs::write("/proc/sys/kernel/pid_max", "65536").unwrap();
        self.check("numbers-used-again", yes(wrong.is_empty(), || wrong.join(", ")));
        println!("@@FIGURE\tprocesses started under {NUMBERS} numbers\t{}", 2 * 3000 + 2 * turns);
        let both = guarded.intersection(&plain_ones).count();
        println!("@@FIGURE\tnumbers seen on both sides of the guard\t{both}");
        drop(storms);
        self.emptied("numbers", before);
    }

    /// Threads that come and go, each with a storage of its own.
    fn threads(&mut self) {
        let slab = memory("Slab:");
        let mut threads = Running(guard(&[SMALL, "threads", THREADS]).spawn().unwrap());
        let (mut tries, mut wrong) = (0, Vec::new());
        while threads.0.try_wait().unwrap().is_none() {
            let pid = threads.pid();
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            for task in tasks {
                tries += 1;
                // One that is not executed yet is no business of ours, and one that is ending opens,
                // with nothing in it.
                let environ = File::open(task.path().join("environ"));
                let len = environ.and_then(|mut environ| environ.read(&mut [0; 64]));
                if len.is_ok_and(|len| len > 0) && comm(pid) == "threads" {
                    wrong.push(task.path());
                }
            }
        }
        let words = || format!("open: {wrong:?}");
        self.check("threads-are-guarded", yes(wrong.is_empty() && tries > 100, words));
        println!("@@FIGURE\topens of a thread's environ while {THREADS} came and went\t{tries}");
        let kept = memory("Slab:").saturating_sub(slab);
        self.check("threads-leave-nothing", yes(kept < 16 * 1024, || format!("{kept} KiB")));
    }

    /// The table is what it was.
    fn emptied(&mut self, what: &str, before: u64) {
        // The canary's own child comes and goes.
        let right = eventually(|| guarded() <= before + 2);
        self.check(&format!("{what}-leaves-no-entry"), yes(right, || guarded().to_string()));
    }
}

/// Starts it, with a pipe for its input, and waits for its first line.
pub(crate) fn started(mut start: Command) -> (Running, String) {
    start.env("GUEST_SECRET", fs::read_to_string(NEEDLE).unwrap());
    let mut child = Running(start.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().to_owned())
}

pub(crate) fn yes(right: bool, words: impl FnOnce() -> String) -> Result<(), String> {
    right.then_some(()).ok_or_else(words)
}

pub(crate) fn eventually(mut right: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + PATIENCE;
    loop {
        if right() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

pub(crate) fn open_environ(pid: i32) -> std::io::Result<File> {
    File::open(format!("/proc/{pid}/environ"))
}

pub(crate) fn comm(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// How many are guarded, the agent's own included.
pub(crate) fn guarded() -> u64 {
    let report: Value =
        serde_json::from_str(&read(plain(&[AGENT, "status", "--json"]))).unwrap_or_default();
    report["guarded"].as_u64().unwrap_or(u64::MAX)
}

fn children_of(pid: i32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// A line of `/proc/meminfo`, in KiB.
fn memory(key: &str) -> u64 {
    // Slabs that are empty are freed when somebody asks.
    drop(fs::write("/proc/sys/vm/drop_caches", "3"));
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap()
}

/// What the kernel accounts to the agent's maps.
fn maps_of_agent() -> u64 {
    let agent = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        (comm(pid) == "cloudtaser-agen").then_some(pid)
    });
    let folders = agent.map(|pid| format!("/proc/{pid}/fdinfo"));
    folders.map(|folder| crate::cost::bytes_of_maps(Path::new(&folder))).max().unwrap_or(0)
}

/// Ends a process of a guarded tree as its own parent would.
pub(crate) fn end(pid: i32) {
    // It may have gone with another one.
    let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
}
