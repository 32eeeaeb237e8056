//! The real program, executed from a copy on the node.

#![cfg(test)]

use std::fs;
use std::process::{Command, Output};

fn from_node(folder: &std::path::Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloudtaser-agent"));
    command.args(["--socket", "/nowhere/agent.sock", "from-node", "--folder"]);
    command.arg(folder).args(["--", "status"]).output().unwrap()
}

#[test]
fn the_copy_runs_with_the_same_socket_and_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let output = from_node(folder.path());
        let told = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(output.status.code(), Some(69), "{output:?}");
        assert!(told.contains("/nowhere/agent.sock"), "{told}");
    }
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let digest = fs::read_to_string(folder.path().join("in-force")).unwrap();
    let (copy, own) = (folder.path().join(&digest), env!("CARGO_BIN_EXE_cloudtaser-agent"));
    assert!(fs::read(copy).unwrap() == fs::read(own).unwrap());
}

#[test]
fn arguments_of_the_environment_are_added() {
    let folder = tempfile::tempdir().unwrap();
    let run = |more: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloudtaser-agent"));
        command.env("CLOUDTASER_AGENT_ARGUMENTS", more);
        command.args(["from-node", "--folder"]).arg(folder.path()).args(["--", "run"]);
        command.output().unwrap()
    };
    assert_eq!(run("[\"--no-such-flag\"]").status.code(), Some(64), "it reached the agent");
    let output = run("--leave-open=bpf");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("is no JSON array of strings"), "{told}");
}
