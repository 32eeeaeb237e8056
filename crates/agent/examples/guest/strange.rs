//! Processes of every kind that the kernel can make, and attackers of another kind than usual:
//! through io_uring's workers, and through the calls of 32 bits.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsFd as _;

use cloudtaser_sys::roads;
use nix::unistd::Pid;

use crate::processes::{SMALL, SMALL_32, denied, denied_by, guard, plain, read, start_target};
use crate::scale::{comm, end, eventually, started, yes};
use crate::scenario::Scenario;

/// Made by `small odd`; the kernel's way to make each is in its name.
const ODD: [&str; 16] = [
    "odd-below",
    "odd-exec",
    "odd-files",
    "odd-first",
    "odd-fork",
    "odd-namespace",
    "odd-newns",
    "odd-newpid",
    "odd-numbered",
    "odd-orphan",
    "odd-parent",
    "odd-sighand",
    "odd-untraced",
    "odd-vfork",
    "odd-vm",
    "odd-waiting",
];

/// A number far from those that the machine has used.
const NUMBER: &str = "31999";
/// What the kernel answers a 32-bit program or a worker with.
const REFUSALS: [&str; 2] = ["-1", "-13"];

/// The whole of it.
pub(crate) fn run(own: &mut Scenario) {
    odd(own);
    rings(own);
    attackers(own);
    narrow(own);
}

/// Every kind is guarded, and reached by no road.
fn odd(own: &mut Scenario) {
    let (_first, _ready) = started(guard(&[SMALL, "odd", NUMBER]));
    let right = eventually(|| ODD.iter().all(|kind| all().contains_key(*kind)));
    let there = all();
    let missing = ODD.iter().filter(|kind| !there.contains_key(**kind)).collect::<Vec<_>>();
    own.check("every-kind-of-process", yes(right, || format!("missing: {missing:?}")));
    for (kind, pid) in &there {
        own.check(kind, closed(*pid));
    }
    for pid in there.values() {
        end(*pid);
    }
    let gone = eventually(|| all().is_empty());
    own.check("odd-ones-are-gone", yes(gone, || format!("{:?}", all())));
}

/// Odd processes by their names.
fn all() -> BTreeMap<String, i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let named = pids.map(|pid| (comm(pid), pid)).filter(|(name, pid)| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        name.starts_with("odd-") && !stat.contains(") Z ")
    });
    named.collect()
}

/// Roads that need nothing of the target but its number.
fn closed(pid: i32) -> Result<(), String> {
    let target = Pid::from_raw(pid);
    for file in ["environ", "mem", "maps", "pagemap"] {
        denied(File::open(format!("/proc/{pid}/{file}")))
            .map_err(|why| format!("{file}: {why}"))?;
    }
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| error.to_string())?;
    for task in tasks.flatten() {
        let path = task.path().join("environ");
        denied(File::open(&path)).map_err(|why| format!("{}: {why}", path.display()))?;
    }
    let read = roads::read_memory(target, 8, &mut [0]).map(drop);
    denied_by(read).map_err(|why| format!("process_vm_readv: {why}"))?;
    let process = roads::open_process(target).map_err(|errno| errno.to_string())?;
    let taken = roads::take_descriptor(process.as_fd(), 0).map(drop);
    denied_by(taken).map_err(|why| format!("pidfd_getfd: {why}"))?;
    denied_by(roads::Attached::to(target).map(drop)).map_err(|why| format!("ptrace: {why}"))
}

/// Workers that the kernel makes for a guarded process: threads that no `clone` made.
fn rings(own: &mut Scenario) {
    let (process, _said) = started(guard(&[SMALL, "ring"]));
    let pid = process.pid();
    let workers = || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.starts_with("iou-")).count()
    };
    let there = eventually(|| workers() >= 2);
    own.check("workers-are-there", yes(there, || workers().to_string()));
    own.check("workers-are-guarded", closed(pid));
}

/// Who opens and reads through a worker, or as a 32-bit program.
fn attackers(own: &mut Scenario) {
    for guarded in [false, true] {
        let target = start_target(guarded);
        let environ = format!("/proc/{}/environ", target.pid());
        let mem = format!("/proc/{}/mem", target.pid());
        let pid = target.pid().to_string();
        let attacks: [(&str, &[&str]); 4] = [
            ("worker-environ", &[SMALL, "ring-attack", &environ]),
            ("worker-mem", &[SMALL, "ring-attack", &mem]),
            ("narrow-environ", &[SMALL_32, "attack", &environ]),
            ("narrow-peek", &[SMALL_32, "peek", &pid]),
        ];
        for (name, attack) in attacks {
            let said = read(plain(attack));
            let refused = said.lines().all(|line| REFUSALS.contains(&line)) && !said.is_empty();
            let phase = if guarded { "with" } else { "without" };
            own.check(&format!("{name}-{phase}"), yes(refused == guarded, || said.clone()));
        }
    }
}

/// A program of 32 bits is guarded as any other, and does all that it did before.
fn narrow(own: &mut Scenario) {
    let (process, said) = started(guard(&[SMALL_32, "hold", "narrow"]));
    own.check("narrow-runs", yes(said == "ready", || said.clone()));
    own.check("narrow-is-guarded", closed(process.pid()));
    let (mut crowd, said) = started(guard(&[SMALL_32, "crowd", "20"]));
    own.check("narrow-children", yes(said == "20", || said.clone()));
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", crowd.pid())).unwrap();
    let open = children.split_whitespace().find_map(|pid| closed(pid.parse().unwrap()).err());
    own.check("narrow-children-are-guarded", open.map_or(Ok(()), Err));
    // It ends its children before itself.
    drop(crowd.0.stdin.take());
    crowd.0.wait().unwrap();
}
