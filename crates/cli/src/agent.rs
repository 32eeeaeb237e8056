//! `cloudtaser agent`: the node agent's own verbs, by its own program.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::tools;

/// What is handed on.
#[derive(Debug, clap::Args)]
pub(crate) struct AgentArgs {
    /// A verb of `cloudtaser-agent` and what belongs to it; `help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Becomes the agent's program.
///
/// # Errors
/// Where that is not there, or cannot be executed.
pub(crate) fn run(args: &AgentArgs) -> Result<ExitCode> {
    let program = tools::agent()
        .context("cloudtaser-agent is neither beside this program nor on the PATH")?;
    let error = Command::new(&program).args(&args.arguments).exec();
    Err(error).with_context(|| format!("{} cannot be executed", program.display()))
}
