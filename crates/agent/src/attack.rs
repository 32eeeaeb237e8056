//! The attacker: a child of the agent, root and nothing more, that walks every road to a canary.
//!
//! It is a program of its own, started anew each time, since the agent's own process is let
//! through. It waits for a line on its standard input and answers with one line of JSON.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use cloudtaser_sys::roads::{self, Attached, BpfObject};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::road::{Attack, Outcome, Tried};

/// Whom and what to attack.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AttackArgs {
    /// The canary.
    #[arg(long)]
    canary: i32,
    /// The canary's descriptor of the file that it has code of.
    #[arg(long)]
    code: i32,
    /// Its descriptor of a memfd.
    #[arg(long)]
    memfd: i32,
    /// Memory that it shares, as `/proc/PID/map_files` names it.
    #[arg(long)]
    shared: String,
    /// The agent.
    #[arg(long)]
    agent: i32,
    /// A map of the agent's.
    #[arg(long)]
    map: u32,
    /// A program of the agent's.
    #[arg(long)]
    program: u32,
    /// A link of the agent's.
    #[arg(long)]
    link: u32,
    /// The folder of a pin to take away.
    #[arg(long)]
    decoy: Option<PathBuf>,
    /// Walk each road in a child of its own, which may be killed on it.
    #[arg(long, conflicts_with = "only")]
    each: bool,
    /// Walk this road alone.
    #[arg(long)]
    only: Option<String>,
}

/// Files of the canary that show or change memory. `stack` and `syscall` need a kernel that has
/// them; `absent` is then the answer.
const MEMORY_FILES: &[(&str, &str)] = &[
    ("proc-auxv", "auxv"),
    ("proc-clear_refs", "clear_refs"),
    ("proc-environ", "environ"),
    ("proc-maps", "maps"),
    ("proc-mem", "mem"),
    ("proc-pagemap", "pagemap"),
    ("proc-smaps", "smaps"),
    ("proc-smaps_rollup", "smaps_rollup"),
    ("proc-stack", "stack"),
    ("proc-syscall", "syscall"),
];

/// What node software reads of every process; a guard that breaks these breaks the node.
const NEIGHBOURS: &[&str] =
    &["cgroup", "cmdline", "comm", "exe", "mountinfo", "ns/net", "ns/pid", "stat", "status"];

/// Waits for the word, attacks, and answers.
pub(crate) fn run(args: AttackArgs) -> anyhow::Result<()> {
    if args.only.is_none() {
        io::stdin().lock().read_line(&mut String::new())?;
    }
    // First: the last road may be the end of the canary.
    let broken_neighbours =
        if args.only.is_none() { broken_neighbours(args.canary) } else { Vec::new() };
    let roads = if args.each { walk_each(&args)? } else { walk(&args) };
    serde_json::to_writer(io::stdout().lock(), &Attack { roads, broken_neighbours })?;
    Ok(())
}

/// Each road by a child that goes no other one.
fn walk_each(args: &AttackArgs) -> anyhow::Result<Vec<Tried>> {
    let own: Vec<OsString> = env::args_os().skip(1).filter(|word| word != "--each").collect();
    let mut tried = Vec::new();
    for road in names(args) {
        let mut child = Command::new("/proc/self/exe");
        child.args(&own).args(["--only", road]).env_clear().stdin(Stdio::null());
        let output = child.stderr(Stdio::null()).output()?;
        if output.status.signal() == Some(Signal::SIGKILL as i32) {
            tried.push(Tried { road: road.to_owned(), outcome: Outcome::Killed });
            continue;
        }
        let attack: Attack = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("the attacker on {road} gave no answer"))?;
        tried.extend(attack.roads);
    }
    Ok(tried)
}

/// All roads, by walking none.
fn names(args: &AttackArgs) -> Vec<&'static str> {
    let mut names = Vec::new();
    roads_of(args, &mut |name, _walk| names.push(name));
    names
}

fn walk(args: &AttackArgs) -> Vec<Tried> {
    let mut tried = Vec::new();
    roads_of(args, &mut |name, walk| {
        if args.only.as_deref().is_none_or(|only| only == name) {
            tried.push(Tried { road: name.to_owned(), outcome: Outcome::of(walk()) });
        }
    });
    tried
}

/// A road, and how it is walked.
type Visit<'a> = dyn FnMut(&'static str, &dyn Fn() -> Result<(), Errno>) + 'a;

/// Shows every road, in a fixed order.
fn roads_of(args: &AttackArgs, road: &mut Visit<'_>) {
    let canary = Pid::from_raw(args.canary);
    for (name, file) in MEMORY_FILES {
        let read = *file != "clear_refs"; // which can only be written
        road(name, &|| open(&format!("/proc/{canary}/{file}"), read));
    }
    road("proc-task-environ", &|| open(&format!("/proc/{canary}/task/{canary}/environ"), true));
    road("process-vm-readv", &|| roads::read_memory(canary, 8, &mut [0; 8]).map(drop));
    road("process-vm-writev", &|| roads::rewrite_memory(canary, 8));
    road("pidfd-getfd", &|| take(canary));
    road("ptrace", &|| Attached::to(canary).map(drop));
    road("memfd-read", &|| open(&format!("/proc/{canary}/fd/{}", args.memfd), true));
    road("shared-memory", &|| open(&format!("/proc/{canary}/map_files/{}", args.shared), true));
    road("code-write", &|| open(&format!("/proc/{canary}/fd/{}", args.code), false));
    road("core-limit", &|| roads::rewrite_core_limit(canary));
    road("perf-sample", &|| roads::sample_stack(canary));
    road("uprobe", &|| roads::place_uprobe(canary));
    road("uprobe-by-tracefs", &|| open("/sys/kernel/tracing/uprobe_events", false));
    road("kcore", &|| open("/proc/kcore", true));
    road("dev-mem", &|| open("/dev/mem", true));
    road("dev-port", &|| open("/dev/port", true));
    road("ports", &|| roads::take_ports());
    road("swap", &|| open_swap());
    // No device, so that nothing is swapped to where it is open.
    road("more-swap", &|| roads::swap_to(Path::new("/dev/null")));
    road("binfmt", &|| open("/proc/sys/fs/binfmt_misc/register", false));
    road("bpf-program", &|| roads::load_program());
    road("bpf-attach", &|| roads::attach_program(-1));
    road("init-module", &|| roads::offer_module());
    road("finit-module", &|| own_program().and_then(|file| roads::offer_module_file(&file)));
    road("kexec", &|| roads::offer_kernel());
    road("ftrace-switch", &|| open("/proc/sys/kernel/ftrace_enabled", false));
    road("agent-map", &|| roads::open_bpf_object(BpfObject::Map, args.map));
    road("agent-program", &|| roads::open_bpf_object(BpfObject::Program, args.program));
    road("agent-link", &|| roads::open_bpf_object(BpfObject::Link, args.link));
    road("link-detach", &|| roads::detach_link(-1));
    road("link-update", &|| roads::update_link(-1, -1));
    if args.each || args.only.is_some() {
        // Only in this tier something of ours hangs on it.
        road("probes-switch", &|| open("/sys/kernel/debug/kprobes/enabled", false));
    }
    if let Some(decoy) = &args.decoy {
        road("pin-rename", &|| rename_and_back(decoy));
        road("pin-unlink", &|| errno(fs::remove_file(decoy.join("map"))));
        road("pin-rmdir", &|| errno(fs::remove_dir(decoy)));
        road("pin-umount", &|| unmount());
    }
    // Of all signals the one that does nothing where it is not expected.
    road("agent-signal", &|| kill(Pid::from_raw(args.agent), Signal::SIGURG));
    // Last: without a guard it ends the canary. Not SIGSEGV, which Rust's runtime handles.
    road("core-signal", &|| kill(canary, Signal::SIGABRT));
}

/// Opens a file and closes it: nothing is read or written.
fn open(path: &str, read: bool) -> Result<(), Errno> {
    let opened = OpenOptions::new().read(read).write(!read).open(path);
    opened.map(drop).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

/// The first device that the kernel swaps to; a node need not have one.
fn open_swap() -> Result<(), Errno> {
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let first = swaps.lines().nth(1).and_then(|line| line.split_whitespace().next());
    open(first.ok_or(Errno::ENOENT)?, true)
}

fn rename_and_back(decoy: &Path) -> Result<(), Errno> {
    let (here, there) = (decoy.join("map"), decoy.join("moved"));
    errno(fs::rename(&here, &there))?;
    errno(fs::rename(&there, &here))
}

/// From the host's mount namespace: a mount of another one is nobody's to take.
fn unmount() -> Result<(), Errno> {
    let host = File::open("/proc/1/ns/mnt");
    // Where that is refused, so is what follows, and the road counts as open.
    drop(host.map(|namespace| setns(namespace, CloneFlags::CLONE_NEWNS)));
    roads::try_unmount(Path::new("/sys/fs/bpf"))
}

fn errno(result: io::Result<()>) -> Result<(), Errno> {
    result.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

fn take(canary: Pid) -> Result<(), Errno> {
    let process = roads::open_process(canary)?;
    roads::take_descriptor(process.as_fd(), 0).map(drop)
}

fn own_program() -> Result<File, Errno> {
    File::open("/proc/self/exe").map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

fn broken_neighbours(canary: i32) -> Vec<String> {
    let works = |file: &str| {
        let path = format!("/proc/{canary}/{file}");
        if matches!(file, "exe" | "ns/net" | "ns/pid") {
            fs::read_link(path).is_ok()
        } else {
            fs::read(path).is_ok()
        }
    };
    NEIGHBOURS.iter().filter(|file| !works(file)).map(|file| (*file).to_owned()).collect()
}
