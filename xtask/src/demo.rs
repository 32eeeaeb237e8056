//! `cargo xtask demo`: builds what is shipped and plays `cloudtaser demo`: here, and where the
//! kernel here lets no node agent work, in a virtual machine as well.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;

use crate::artifacts;
use crate::command::{self, cargo, program, shown};
use crate::tools::{self, Need};
use crate::ui;
use crate::vm;

/// Leaves the node agent out, here and in a machine.
const WITHOUT_AGENT: &str = "--no-agent";

/// What makes it a demo for other programs, or none at all.
const ALONE: &[&str] = &["--json", "--help", "-h", WITHOUT_AGENT];

/// The road instead: beacon, bridge and broker, each in its network.
const ROAD: &str = "--road";

/// The verb.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    if arguments.iter().any(|word| word == ROAD) {
        return road();
    }
    tools::ensure(Need::Demo)?;
    let programs = artifacts::build_programs()?;
    let mut demo = program(&programs.cli);
    demo.arg("demo").args(arguments);
    programs.announce(&mut demo);
    if arguments.iter().any(|word| ALONE.contains(&word.as_str())) {
        return become_it(&mut demo);
    }
    tools::ensure(Need::Vm)?;
    let agent = artifacts::build_agent(&["--bins"])?;
    let judged = program(&agent).args(["run", "--once"]).output()?;
    if String::from_utf8_lossy(&judged.stderr).contains(r#""state":"ENFORCING"#) {
        return become_it(demo.env("CLOUDTASER_AGENT_PROGRAM", agent));
    }
    command::run(demo.arg(WITHOUT_AGENT))?;
    ui::heading("and with a node agent, which the kernel here does not let work");
    vm::demo::run()
}

/// Plays the road, with the support of the end-to-end tests, which make the same promises.
fn road() -> anyhow::Result<()> {
    tools::ensure(Need::Demo)?;
    let programs = artifacts::build_programs()?;
    let relay = artifacts::build_relay()?;
    let words = ["run", "--quiet", "--locked", "--package", "cloudtaser-e2e", "--example", "road"];
    let mut demo = cargo(words);
    programs.announce(&mut demo);
    relay.announce(&mut demo);
    become_it(&mut demo)
}

/// Replaces this process, so that `^C` and the terminal are the demo's own.
fn become_it(demo: &mut Command) -> anyhow::Result<()> {
    Err(demo.exec()).with_context(|| format!("cannot run {}", shown(demo)))
}
