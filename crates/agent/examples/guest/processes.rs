//! Starting, asking and judging processes.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::errno::Errno;

pub(crate) const AGENT: &str = "/bin/cloudtaser-agent";
pub(crate) const CLI: &str = "/bin/cloudtaser";
pub(crate) const GUEST: &str = "/bin/guest";
/// Small processes without a C library, for 64 bits and for 32.
pub(crate) const SMALL: &str = "/bin/small";
pub(crate) const SMALL_32: &str = "/bin/small32";
/// The user that the target runs as, and the weaker attacker with it.
pub(crate) const USER: u32 = 1000;
/// Where the needle is for the attacker's own use; nobody else's memory has it from there.
pub(crate) const NEEDLE: &str = "/tmp/needle";
/// A program file that may load BPF programs.
pub(crate) const LOADER: &str = "/bin/loader";
/// Processes of a storm: enough for every moment of a fork and an exec to be met by a reader.
pub(crate) const STORM: usize = 150;

/// A child that is ended with the scenario that started it.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn pid(&self) -> i32 {
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

/// A value that nothing else in the machine's memory has.
pub(crate) fn write_needle() {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(NEEDLE, text).unwrap();
    // The weaker attacker gets it over a descriptor.
    fs::set_permissions(NEEDLE, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// Starts the target and waits until it holds the secret.
pub(crate) fn start_target(guarded: bool) -> Running {
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

/// Reads every environment until told to stop; how many were tried, and how many had the secret.
pub(crate) fn read_all_environments(over: &AtomicBool, secret: &str) -> (u64, u64) {
    let (mut tries, mut found) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        let more = read_all_environments_once(secret);
        (tries, found) = (tries + more.0, found + more.1);
    }
    (tries, found)
}

/// The same, once.
pub(crate) fn read_all_environments_once(secret: &str) -> (u64, u64) {
    let (mut tries, mut found) = (0, 0);
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let name = entry.file_name();
        let is_process = name.to_string_lossy().starts_with(|digit: char| digit.is_ascii_digit());
        if !is_process {
            continue;
        }
        tries += 1;
        let bytes = fs::read(entry.path().join("environ")).unwrap_or_default();
        found += u64::from(bytes.windows(secret.len()).any(|part| part == secret.as_bytes()));
    }
    (tries, found)
}

pub(crate) fn plain(command: &[&str]) -> Command {
    let mut start = Command::new(command[0]);
    start.args(&command[1..]);
    start
}

pub(crate) fn guard(command: &[&str]) -> Command {
    let mut start = Command::new(AGENT);
    start.args(["guard", "--degraded", "--"]).args(command);
    start
}

pub(crate) fn status() -> String {
    read(plain(&[AGENT, "status"]))
}

pub(crate) fn read(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(crate) fn is_zombie(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|text| text.contains(") Z "))
}

pub(crate) fn denied<T>(result: std::io::Result<T>) -> Result<(), String> {
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(1 | 13)) => Ok(()),
        Err(error) => Err(format!("{error}, not a denial")),
        Ok(_) => Err("let through".to_owned()),
    }
}

pub(crate) fn denied_by(result: Result<(), Errno>) -> Result<(), String> {
    denied(result.map_err(std::io::Error::from))
}
