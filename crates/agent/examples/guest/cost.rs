//! What the agent costs, counted in instructions.
//!
//! The machine is run with one nanosecond of its clock for each instruction, so an interval is a
//! count, the same on a busy host. Each figure is the least of many batches: the rest is the timer.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::processes::{AGENT, GUEST, Running, guard, plain, read, status};

/// Batches of each operation; the least counts.
const BATCHES: u32 = 12;
/// Far more than a start needs, on a clock that stands still while the host is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures without the agent, beside it, and under its guard.
pub(crate) fn run(expected: &str) {
    // A kernel that has just come up is still busy with itself.
    phase(plain(&[GUEST, "cost-of", "warm-up"]));
    phase(plain(&[GUEST, "cost-of", "without"]));
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
    println!("@@STATE\t{}", status());
    println!("@@RC 0");
}

fn phase(command: Command) {
    println!("{}", read(command));
}

/// The agent's own memory, and what the kernel accounts to its maps.
fn memory(pid: i32) {
    let lines = |path: String| fs::read_to_string(path).unwrap_or_default();
    let number = |text: &str, key: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    let rss = number(&lines(format!("/proc/{pid}/status")), "VmRSS:") * 1024;
    println!("@@COST\tagent\tresident\t{rss}");
    let mut maps = std::collections::BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap().filter_map(Result::ok) {
        let text = lines(entry.path().display().to_string());
        // Two descriptors of one map count once; only those of maps have a type.
        if text.contains("map_type:") {
            maps.insert(number(&text, "map_id:"), number(&text, "memlock:"));
        }
    }
    println!("@@COST\tagent\tmaps\t{}", maps.values().sum::<u64>());
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
