//! What runs inside the machine of `cargo xtask vm test` whose firmware measures and that has a TPM:
//! the agent quotes, the bridge releases, a receipt says so; and all that must be refused.
//!
//! The machine is booted twice with one TPM. The first boot is what a policy then pins ([`first`]);
//! the second is held to it ([`second`]). What outlives a boot is on a small disk, as it would be on a
//! node's: its key, who it is, and for the host the evidence that it verifies by itself.
//!
//! Lines, with tabs between the words: `@@CHECK`, name, `ok` or what went wrong.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "its output is its result, and it has nobody to hand an error to but the test"
)]

mod first;
mod second;
mod thief;

use std::{
    fs::{self, File},
    io::Read as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use cloudtaser_core::node::{Hash, NodeEvidence};
use cloudtaser_e2e::{Pod, until};

/// What is no part of the node: OpenBao, bridge, beacon. A cpio archive.
const PROGRAMS_DISK: &str = "d0";
/// What outlives a boot: a tar archive, or nothing yet.
const KEPT_DISK: &str = "kept";
const KEPT: &str = "/kept";
const NODE_KEY: &str = "/kept/node.key";
const IDENTITY: &str = "/kept/identity.json";
/// What the first boot's agent and TPM signed.
const FIRST: &str = "/kept/first.json";
const AGENT: &str = "/bin/cloudtaser-agent";
const GUEST: &str = "/bin/guest";
/// An emulated processor that others share is slow.
const PATIENCE: Duration = Duration::from_secs(600);

fn main() {
    fs::create_dir(KEPT).expect("a folder");
    let mut head = [0];
    let kept = disk(KEPT_DISK);
    let disk = File::open(&kept).and_then(|mut disk| disk.read_exact(&mut head));
    disk.expect("the disk that is kept");
    if head == [0] {
        first::boot();
    } else {
        say(&["tar", "-xf", &kept, "-C", KEPT]);
        second::boot();
    }
    println!("@@RC 0");
}

/// One statement about the machine; a panic says what is wrong as well as an error does.
fn check(name: &str, work: impl FnOnce() -> Result<(), String>) {
    let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(text.unwrap_or_else(|| "it panicked".to_owned()))
    });
    let words = done.err().map_or_else(|| "ok".to_owned(), |why| why.replace(['\n', '\t'], " "));
    println!("@@CHECK\t{name}\t{words}");
}

fn same<T: PartialEq + std::fmt::Debug>(found: &T, wanted: &T) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{found:?} instead of {wanted:?}")) }
}

/// What a program prints; it must end well.
fn say(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{words:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

/// A disk by its serial number: which one the kernel finds first is nobody's choice.
fn disk(serial: &str) -> String {
    let disks = fs::read_dir("/sys/block").expect("the kernel's list").flatten();
    let mut disks = disks.filter(|disk| {
        let said = fs::read_to_string(disk.path().join("device/serial"));
        said.is_ok_and(|said| said.trim() == serial)
    });
    let found = disks.next().unwrap_or_else(|| panic!("no disk {serial}"));
    format!("/dev/{}", found.file_name().to_string_lossy())
}

/// Puts what outlives this boot on the disk.
fn keep() {
    say(&["tar", "-cf", &disk(KEPT_DISK), "-C", KEPT, "."]);
    say(&["sync"]);
}

/// Starts the agent, as a node has it, and waits until its canary says what it is worth.
fn start_agent() {
    let log = File::create("/tmp/agent.log").expect("a log");
    let mut agent = Command::new(AGENT);
    // Nobody is answered while it attacks its canary, and launches wait for two seconds.
    agent.args(["run", "--node-key", NODE_KEY, "--canary-every", "3600"]);
    agent.stdin(Stdio::null()).stderr(log);
    let mut agent = agent.spawn().expect("the agent");
    // No signal ends it: it goes with the machine.
    thread::spawn(move || agent.wait());
    until("an agent that enforces", PATIENCE, || {
        let output = Command::new(AGENT).arg("status").output().ok()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let log = || fs::read_to_string("/tmp/agent.log").unwrap_or_default();
        assert!(!said.starts_with("DEGRADED"), "{said}\n{}", log());
        said.starts_with("ENFORCING").then_some(())
    });
    println!("@@STATE\t{}", say(&[AGENT, "status"]).trim());
}

/// A program that puts itself into a pod's group before it becomes another one.
fn in_pod(pod: &Pod) -> [String; 4] {
    let container = "00112233445566778899aabbccddeeff".repeat(2);
    let group = format!("/sys/fs/cgroup/kubepods/pod{}/{container}", pod.uid());
    if !Path::new(&group).exists() {
        fs::create_dir_all(&group).expect("a group");
    }
    let script = format!("echo 0 > {group}/cgroup.procs && exec \"$@\"");
    ["/bin/sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()]
}

/// What agent and TPM sign for a launch of this pod, in the session that is named.
fn attested(pod: &Pod, session: Hash, sealing: Hash) -> NodeEvidence {
    let (session, sealing) = (session.to_string(), sealing.to_string());
    let before = in_pod(pod);
    let mut words: Vec<&str> = before.iter().map(String::as_str).collect();
    words.extend([GUEST, "attest", &session, &sealing]);
    let said = say(&words);
    let line = said.lines().find_map(|line| line.strip_prefix("@@EVIDENCE\t"));
    let line = line.unwrap_or_else(|| panic!("the agent signed nothing: {said}"));
    serde_json::from_str(line).expect("evidence")
}
