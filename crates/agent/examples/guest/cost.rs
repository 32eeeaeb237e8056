//! What the agent costs, counted in instructions.
//!
//! The machine is run with one nanosecond of its clock for each instruction, so an interval is a
//! count, the same on a busy host. Each figure is the least of many batches: the rest is the timer.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::processes::{AGENT, GUEST, Running, SMALL, guard, plain, read, status, write_needle};
use crate::scale::started;

/// Batches of each operation; the least counts.
const BATCHES: u32 = 12;
/// KERNEL: for its first seconds 6.12 measures higher wherever a process yields (half as much again
/// for a fork with its exec and its end), with or without an agent; what it does then was not found.
const SETTLED: Duration = Duration::from_secs(60);
/// Denials in a second, tried one after the other.
const RATES: [u32; 9] = [1000, 2000, 5000, 10_000, 20_000, 30_000, 50_000, 70_000, 100_000];
/// Pauses in a second.
const SLICES: u32 = 100;
/// Far more than a start needs, on a clock that stands still while the host is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures without the agent, beside programs that do nothing, beside the agent, and under its guard.
pub(crate) fn run(expected: &str) {
    write_needle();
    // A kernel that has just come up is still busy with itself.
    phase(plain(&[GUEST, "cost-of", "warm-up"]));
    thread::sleep(SETTLED);
    phase(plain(&[GUEST, "cost-of", "without"]));
    floor(if expected.contains("lsm") { "lsm_" } else { "fmod_" });
    let begin = Instant::now();
    let mut start = Command::new(AGENT);
    // Its canary would be part of every batch.
    start.args(["run", "--canary-every", "100000"]);
    start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let agent = Running(start.spawn().unwrap());
    while !status().starts_with(expected) {
        assert!(begin.elapsed() < PATIENCE, "the agent is {}", status());
        thread::sleep(Duration::from_millis(50));
    }
    println!("@@COST\tagent\tstart\t{}", begin.elapsed().as_nanos());
    phase(plain(&[GUEST, "cost-of", "beside"]));
    phase(guard(&[GUEST, "cost-of", "guarded"]));
    memory(agent.pid());
    events();
    println!("@@STATE\t{}", status());
    println!("@@RC 0");
}

/// Beside programs that do nothing, on the hooks that every open, read and write passes.
fn floor(tier: &str) {
    let (nothing, said) = started(plain(&[GUEST, "floor", tier]));
    assert_eq!(said, "attached 2");
    phase(plain(&[GUEST, "cost-of", "floor"]));
    drop(nothing);
    // The kernel takes the programs out when it comes to it.
    thread::sleep(Duration::from_secs(2));
}

fn phase(command: Command) {
    println!("{}", read(command));
}

/// Denials at a growing rate, until a report finds no room: the verdicts hold, the reports do not.
fn events() {
    let (target, _ready) = started(guard(&[SMALL, "hold", "target"]));
    let path = format!("/proc/{}/environ", target.pid());
    let mut kept = 0;
    for rate in RATES {
        let before = lost();
        let begin = Instant::now();
        for slice in 1..=SLICES {
            for _ in 0..rate / SLICES {
                assert!(File::open(&path).is_err(), "a verdict was lost");
            }
            let due = Duration::from_secs(1) * slice / SLICES;
            thread::sleep(due.saturating_sub(begin.elapsed()));
        }
        let took = begin.elapsed();
        // Its reader may still be behind.
        thread::sleep(Duration::from_secs(2));
        let reached = u128::from(rate) * 1_000_000_000 / took.as_nanos();
        let lost = lost() - before;
        println!("@@COST\tevents\t{reached}\t{lost}");
        if lost > 0 {
            break;
        }
        kept = reached;
    }
    println!("@@COST\tagent\tevents\t{kept}");
}

/// Reports that found no room, as the agent counts them.
fn lost() -> u64 {
    let report: Value =
        serde_json::from_str(&read(plain(&[AGENT, "status", "--json"]))).unwrap_or_default();
    report["lost_reports"].as_u64().unwrap()
}

/// The agent's own memory, and what the kernel accounts to its maps.
fn memory(pid: i32) {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let rss = number(&text, "VmRSS:") * 1024;
    println!("@@COST\tagent\tresident\t{rss}");
    let maps = bytes_of_maps(Path::new(&format!("/proc/{pid}/fdinfo")));
    println!("@@COST\tagent\tmaps\t{maps}");
}

/// What the kernel accounts to the maps among these descriptors.
pub(crate) fn bytes_of_maps(descriptors: &Path) -> u64 {
    let mut maps = BTreeMap::new();
    for entry in fs::read_dir(descriptors).into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        // Two descriptors of one map count once; only those of maps have a type.
        if text.contains("map_type:") {
            maps.insert(number(&text, "map_id:"), number(&text, "memlock:"));
        }
    }
    maps.values().sum()
}

fn number(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Prints the least cost of each operation.
pub(crate) fn measure(phase: &str) {
    let tell = |operation: &str, least: u64| println!("@@COST\t{phase}\t{operation}\t{least}");
    tell("open, close", least(400, || drop(File::open("/bin/guest").unwrap())));
    tell("open, close in /proc", least(400, || drop(File::open("/proc/self/stat").unwrap())));
    let mut zero = File::open("/dev/zero").unwrap();
    let mut bytes = [0_u8; 64];
    tell("read", least(1000, || zero.read_exact(&mut bytes).unwrap()));
    let mut null = File::options().write(true).open("/dev/null").unwrap();
    tell("write", least(1000, || null.write_all(&[7; 64]).unwrap()));
    let (mut one, mut other) = UnixStream::pair().unwrap();
    tell(
        "send, receive",
        least(400, || {
            one.write_all(&[7; 64]).unwrap();
            other.read_exact(&mut bytes).unwrap();
        }),
    );
    let socket = UdpSocket::bind("127.0.0.1:0");
    if let Ok(socket) = socket {
        tell("connect", least(400, || socket.connect("127.0.0.1:9").unwrap()));
    }
    tell("thread", least(60, || thread::spawn(|| ()).join().unwrap()));
    tell("ping-pong between threads", ping_pong());
    tell(
        "fork, exec, wait",
        least(20, || assert!(Command::new(GUEST).arg("nothing").status().unwrap().success())),
    );
}

/// The least time of one turn.
fn least(turns: u32, mut turn: impl FnMut()) -> u64 {
    let batch = |turn: &mut dyn FnMut()| {
        let begin = Instant::now();
        for _ in 0..turns {
            turn();
        }
        u64::try_from(begin.elapsed().as_nanos()).unwrap() / u64::from(turns)
    };
    batch(&mut turn);
    (0..BATCHES).map(|_| batch(&mut turn)).min().unwrap()
}

fn ping_pong() -> u64 {
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let echo = thread::spawn(move || {
        let mut byte = [0];
        while there.read_exact(&mut byte).is_ok() {
            there.write_all(&byte).unwrap();
        }
    });
    let mut byte = [0];
    let cost = least(200, || {
        here.write_all(&[1]).unwrap();
        here.read_exact(&mut byte).unwrap();
    });
    drop(here);
    echo.join().unwrap();
    cost
}
