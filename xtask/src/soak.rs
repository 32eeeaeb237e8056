//! `cargo xtask soak`: builds the programs as they are shipped, and uses the road for a long time.
//!
//! What is done, and what it may come to, is known to `tests/e2e/examples/soak` alone.

use crate::artifacts;
use crate::command::{self, cargo};
use crate::tools::{self, Need};

/// The verb.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    tools::ensure(Need::Demo)?;
    let programs = artifacts::build_programs()?;
    let relay = artifacts::build_relay()?;
    // The clients' half of a storm runs in it.
    let words = ["run", "--quiet", "--locked", "--release", "--package", "cloudtaser-e2e"];
    let mut soak = cargo(words);
    programs.announce(&mut soak);
    relay.announce(&mut soak);
    command::run(soak.args(["--example", "soak", "--"]).args(arguments))
}
