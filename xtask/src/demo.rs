//! `cargo xtask demo`: builds what is shipped and becomes `cloudtaser demo`.
//!
//! It replaces itself by the program, so that `^C` and the terminal are the demo's own.

use std::os::unix::process::CommandExt as _;

use anyhow::Context as _;

use crate::artifacts;
use crate::command::{program, shown};
use crate::tools::{self, Need};

/// The verb; returns only when the demo cannot be started.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    tools::ensure(Need::Demo)?;
    let programs = artifacts::build_programs()?;
    let mut demo = program(&programs.cli);
    demo.arg("demo").args(arguments);
    programs.announce(&mut demo);
    Err(demo.exec()).with_context(|| format!("cannot run {}", shown(&demo)))
}
