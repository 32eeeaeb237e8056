//! The real program where it can do nothing: it says what it lacks, and ends with a code of its own.

#![cfg(test)]

use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

/// Runs the agent without any right, so that the machine of the test stays as it is.
fn agent(arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloudtaser-agent"));
    command.args(arguments).args(["--socket", "/nowhere/agent.sock"]);
    if nix::unistd::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            println!("SKIP: another user cannot execute the program where it was built");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn without_rights_it_is_off_and_ends_for_good() {
    let Some(output) = agent(&["run"]) else { return };
    assert_eq!(output.status.code(), Some(71), "{output:?}");
    assert!(told(&output).contains("OFF(not root"), "{output:?}");
}

#[test]
fn without_an_agent_nothing_is_started() {
    let Some(output) = agent(&["guard", "--", "/bin/echo", "started"]) else { return };
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    assert!(told(&output).contains("no agent listens"), "{output:?}");
}

#[test]
fn without_an_agent_the_status_is_off() {
    let Some(output) = agent(&["status"]) else { return };
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("OFF("), "{output:?}");
}

#[test]
fn where_records_go_is_checked_before_anything_is_guarded() {
    for (flag, value, why) in [
        ("--audit-url", "https://127.0.0.1/", "forwarder"),
        ("--audit-url", "http://10.0.0.1/", "without TLS"),
        ("--metrics", "9464", "neither IP:PORT"),
    ] {
        let Some(output) = agent(&["run", flag, value]) else { return };
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        assert!(told(&output).contains(why), "{output:?}");
    }
    let Some(output) = agent(&["run", "--audit-file", "/nowhere/audit.jsonl"]) else { return };
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(told(&output).contains("--audit-"), "{output:?}");
}
