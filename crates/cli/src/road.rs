//! `cloudtaser bridge` and `cloudtaser broker`: become the program of that name.
//!
//! The programs know their verbs themselves, and stand where this one need not be: beside OpenBao,
//! in the cluster. Here is only one way to all of them.

use std::{ffi::OsString, process::Command, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use cloudtaser_core::names;
use cloudtaser_sys::beginning;

use crate::tools;

/// What goes on to the program as it is.
#[derive(Args, Debug)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(crate) struct RoadArgs {
    /// A verb and its arguments; --help lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "VERB")]
    words: Vec<OsString>,
}

/// Runs `bridge`; returns only when the program cannot be executed.
pub(crate) fn bridge(args: &RoadArgs) -> Result<ExitCode> {
    become_it("cloudtaser-bridge", names::ENV_BRIDGE, args)
}

/// Runs `broker`; returns only when the program cannot be executed.
pub(crate) fn broker(args: &RoadArgs) -> Result<ExitCode> {
    become_it("cloudtaser-broker", names::ENV_BROKER, args)
}

fn become_it(program: &'static str, variable: &'static str, args: &RoadArgs) -> Result<ExitCode> {
    let path = tools::of_road(program, variable)?;
    Err(beginning::exec(Command::new(&path).args(&args.words)))
        .with_context(|| format!("cannot execute {}", path.display()))
}
