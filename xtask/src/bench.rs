//! `cargo xtask bench`: builds what is shipped and measures it with the bench program.
//!
//! What is measured, and how, is known to that program alone (`tests/bench`, `cloudtaser-bench`).

use crate::artifacts;
use crate::command::{self, Unavailable, cargo};
use crate::place;
use crate::tools::{self, Need};

/// The verb; without a name the bench program says what it has.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    if !place::root().join("tests/bench/Cargo.toml").is_file() {
        return Err(
            Unavailable("there is no tests/bench, so nothing can be measured".into()).into()
        );
    }
    tools::ensure(Need::Demo)?;
    let artifacts = artifacts::build()?;
    let mut bench = cargo(["run", "--quiet", "--locked", "--release", "--package"]);
    bench.args(["cloudtaser-bench", "--"]).args(arguments);
    artifacts.announce(&mut bench);
    command::run(&mut bench)
}
