//! What the tests of misbehaviour share: doubles of OpenBao that misbehave, small programs that are
//! made on the spot, and the demands that every failed launch has to meet.
//!
//! Nothing here waits without a bound, and nothing is killed that was not started here.

#![allow(dead_code, reason = "each test program uses its part of this module")]

pub(crate) mod double;
pub(crate) mod programs;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use cloudtaser_e2e::{Launch, Output, status_field};
use nix::{sys::signal::Signal, unistd::Pid};
use serde_json::Value;

pub(crate) use double::Double;

/// Far more than anything takes here, so that a hang is told from a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The value that every double hands out.
pub(crate) const SECRET: &str = "c4n4ry-hK7q2Wv9xT3m-aB8cD1eF6gH0";

/// The token that doubles are asked with.
pub(crate) const TOKEN: &str = "s.t0k3n-9Zr4Lp1Qy8Ud-iJ5kL2mN7oP4";

/// A launch that talks to a double, with the token by value and one variable to be fetched.
pub(crate) fn at(double: &Double) -> Launch {
    towards(&double.url()).env("S", "vault:kv1/data/x#a")
}

/// A launch that talks to this address with the token by value.
pub(crate) fn towards(url: &str) -> Launch {
    Launch::wrapped_bare().env("VAULT_ADDR", url).env("VAULT_TOKEN", TOKEN)
}

/// An app that says that it was started.
pub(crate) const APP: [&str; 2] = ["/bin/echo", "started"];

/// Demands an exit code and parts of the message, that the app was not started, and that nothing of
/// secret or token was shown.
#[track_caller]
pub(crate) fn refused(output: &Output, code: i32, parts: &[&str]) {
    ended(output, code);
    for part in parts {
        assert!(output.stderr.contains(part), "no {part:?} in\n{}", output.stderr);
    }
    assert!(!output.text().contains("started"), "the app was started: {}", output.text());
}

/// Demands an exit code, and that nothing of secret or token was shown.
#[track_caller]
pub(crate) fn ended(output: &Output, code: i32) {
    shows_nothing(output, &[SECRET, TOKEN]);
    assert_eq!(output.code(), code, "\nstdout: {}\nstderr: {}", output.text(), output.stderr);
}

/// Demands that none of these texts was written.
#[track_caller]
pub(crate) fn shows_nothing(output: &Output, hidden: &[&str]) {
    for text in hidden {
        assert!(!output.stderr.contains(text), "standard error shows {text}: {}", output.stderr);
        assert!(!output.text().contains(text), "standard output shows {text}");
    }
}

/// The one line that tells the level, among the lines of standard error.
#[track_caller]
pub(crate) fn level(log: &str) -> Value {
    let is_level = |line: &&str| line.contains(r#""cloudtaser":"protection-level""#);
    let lines = log.lines().filter(is_level).collect::<Vec<_>>();
    assert_eq!(lines.len(), 1, "one line tells the level:\n{log}");
    let document: Value = serde_json::from_str(lines[0]).unwrap();
    document["level"].clone()
}

/// Asks until the answer is yes.
#[track_caller]
pub(crate) fn eventually(what: &str, mut asked: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !asked() {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal.
pub(crate) fn kill(pid: i32, signal: Signal) {
    nix::sys::signal::kill(Pid::from_raw(pid), signal).unwrap();
}

/// Whether a process is there and not a zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    status_field(pid, "State").is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// The distribution's own Python, which is a program and no script.
pub(crate) fn python() -> Option<&'static str> {
    let known = ["/usr/bin/python3", "/usr/local/bin/python3"];
    let found = known.into_iter().find(|file| Path::new(file).is_file());
    if found.is_none() {
        println!("SKIP: no python3");
    }
    found
}

/// What starts a launch as PID 1 of a PID namespace; `None` (said aloud) where that is not to be had.
pub(crate) fn as_pid_1() -> Option<[&'static str; 6]> {
    let words = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];
    let tried = std::process::Command::new(words[0]).args(&words[1..]).arg("true").output();
    if tried.is_ok_and(|output| output.status.success()) {
        return Some(words);
    }
    println!("SKIP: no PID namespace can be made here");
    None
}
