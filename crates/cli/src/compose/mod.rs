//! `cloudtaser compose`: policies of other tools beside ours.

mod check;
mod explain;
mod export;
mod files;
mod live;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

pub(crate) use check::WrongEndpoint;
pub(crate) use explain::NoSuchRule;
pub(crate) use files::FileError;

const AFTER: &str = "\
Examples:
  cloudtaser compose check policies/ manifests/     what would break or leak, with line and caret
  cloudtaser compose check --fix policies/          write the exceptions into the files
  cloudtaser compose check --cluster                what runs in a cluster now
  cloudtaser compose explain K9                     a rule, with a policy that it finds
  cloudtaser compose export seccomp                 what the wrapper needs, in another language
  kubectl get ksp,csp,hsp,tracingpolicies,netpol,pods -A -o yaml | cloudtaser compose check -";

/// Checks policies of KubeArmor, Tetragon, seccomp and Kubernetes against what cloudtaser needs.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct ComposeArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say what in these files would break a step of ours, or leak a value.
    Check(check::CheckArgs),
    /// Print what cloudtaser needs, in another tool's language.
    Export(export::ExportArgs),
    /// Explain a rule, or list all of them.
    Explain(explain::ExplainArgs),
}

/// Runs `compose`.
pub(crate) fn run(args: &ComposeArgs) -> Result<ExitCode> {
    match &args.verb {
        Verb::Check(args) => check::run(args),
        Verb::Export(args) => Ok(export::run(args)),
        Verb::Explain(args) => explain::run(args),
    }
}
