//! `cloudtaser run`: becomes the wrapper.
//!
//! The wrapper is executed in this process's place, so no extra process stays between a terminal
//! and the app. A plan written in YAML is checked here, where its author can be shown the line that
//! is wrong, and goes on as JSON in a variable of ours, which the app does not see. A plan holds
//! references, never a value.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use clap::Args;
use cloudtaser_core::{LaunchPlan, level::Requirement, names};
use cloudtaser_sys::beginning;

use crate::{tools, yaml};

const AFTER: &str = "\
Examples:
  cloudtaser run --plan cloudtaser.yaml -- ./server
  DB_PASSWORD=vault:secret/data/db#password cloudtaser run -- ./server
  cloudtaser run --explain                    what protects an app here, per adversary
  cloudtaser run --require memory=sealed -- ./server

A plan:
  server: { address: https://bao.example.eu:8200, ca_file: ca.pem }
  auth:   { method: approle, role_id_file: role, credential_file: secret-id }
  env:    { DB_URL: 'postgres://app:${vault:secret/data/db#password}@db/app' }
  require: [memory=sealed]

Without a plan, server and login come from VAULT_ADDR, VAULT_ROLE and so on; that list, and every
form of a reference, is in cloudtaser-wrapper --help. The wrapper is the program that does the work:
CLOUDTASER_WRAPPER, else beside this program, else on the PATH.

Exit: the app's own code, 128+N when signal N ended it; 64 usage, 69 OpenBao not reachable,
70 internal, 76 refused by OpenBao, 77 below a required level, 125 to 127 not started.";

/// Starts a program with secrets from OpenBao in sealed memory.
#[derive(Args, Debug)]
#[command(
    after_help = AFTER,
    override_usage = "cloudtaser run [OPTIONS] -- <COMMAND> [ARG]...\n       cloudtaser run --explain [OPTIONS] [-- <COMMAND> [ARG]...]"
)]
pub(crate) struct RunArgs {
    /// The launch plan, as YAML or JSON.
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Refuse to start below this level, such as memory=sealed or T3=partial; may be repeated.
    #[arg(long, value_name = "LEVEL", value_delimiter = ',')]
    require: Vec<Requirement>,
    /// Say what protects an app here, per adversary; fetch and start nothing.
    #[arg(long)]
    explain: bool,
    /// Form of the wrapper's log lines.
    #[arg(long, value_name = "FORM", value_parser = ["text", "json"])]
    log_format: Option<String>,
    /// Log warnings and errors only.
    #[arg(long, short)]
    quiet: bool,
    /// The program and its arguments.
    #[arg(last = true, required_unless_present = "explain")]
    command: Vec<OsString>,
}

/// Runs the verb; returns only when the wrapper cannot be executed.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode> {
    let wrapper = tools::wrapper()?;
    let mut command = Command::new(&wrapper);
    command.arg("run");
    if let Some(path) = &args.plan {
        let plan: LaunchPlan = yaml::read(path)?;
        command.env(names::ENV_PLAN, serde_json::to_string(&plan)?);
        // A file named there would win over the plan that was asked for.
        command.env_remove(names::ENV_PLAN_FILE);
    }
    for requirement in &args.require {
        command.args(["--require", &requirement.to_string()]);
    }
    if args.explain {
        command.arg("--explain");
    }
    if let Some(form) = &args.log_format {
        command.args(["--log-format", form]);
    }
    if args.quiet {
        command.arg("--quiet");
    }
    if !args.command.is_empty() {
        command.arg("--").args(&args.command);
    }
    Err(beginning::exec(&mut command))
        .with_context(|| format!("cannot execute {}", wrapper.display()))
}
