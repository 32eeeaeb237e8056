//! The checks that need no release build: format, clippy, boundaries, generated files,
//! documentation.

use crate::boundaries;
use crate::codegen;
use crate::command::{self, cargo};
use crate::test::step;

/// The verb `check`: what is worth running before each commit.
pub(crate) fn check() -> anyhow::Result<()> {
    static_checks()?;
    step("documentation", documentation)
}

/// Format, clippy, boundaries and generated files, each as a step of its own.
pub(crate) fn static_checks() -> anyhow::Result<()> {
    step("format", || command::run(&mut cargo(["fmt", "--all", "--check"])))?;
    step("clippy", || {
        let mut clippy = cargo(["clippy", "--quiet", "--locked", "--workspace", "--all-targets"]);
        command::run(clippy.args(["--", "-D", "warnings"]))
    })?;
    step("boundaries", boundaries::report)?;
    step("generated files", codegen::check)
}

/// Documentation of our own crates, without warnings.
pub(crate) fn documentation() -> anyhow::Result<()> {
    let mut doc = cargo(["doc", "--quiet", "--locked", "--workspace", "--no-deps"]);
    command::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}
