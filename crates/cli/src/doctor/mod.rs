//! `doctor`: what stands in the way, on a cluster or on this machine, each with what to do.
//!
//! Nothing is changed, and what could not be found out is said as such.

mod calendar;
mod cluster;
mod local;
mod sovereignty;

pub(crate) use sovereignty::DeclaredError;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::{
    cluster::{Cluster, ClusterArgs},
    deploy::DeployError,
    ui,
};

const AFTER: &str = "\
Examples:
  cloudtaser doctor                 the cluster of your kubeconfig, before and after an install
  cloudtaser doctor --local         this machine: kernel, memory that may be locked, seccomp, LSMs
  cloudtaser doctor --sovereignty --declared where.toml
                                    what lies outside of a claim for the EU; with --local without
                                    asking a cluster

What nobody can measure is declared, one [[component]] for each of openbao, unseal-keys, bridge,
log-key, witness, images, image-signatures, beacon, dns, time:
  [[component]]
  name = \"openbao\"
  country = \"DE\"             # where it stands
  operator = \"Example GmbH\"
  operator_country = \"DE\"    # whose law binds who runs it
  endpoint = \"bao.example.eu:8200\"
  keys = \"three officers, two of whom unseal\"
A declaration is shown as one, and never counts as ok.

JSON: an array of {\"check\", \"state\": \"ok\"|\"weak\"|\"bad\"|\"unknown\", \"found\", \"fix\"}.

Exit: 0 nothing is bad, 1 something is, 64 usage, 69 cluster not reachable, 76 refused.";

/// Says what stands in the way, and how to mend it.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Look at this machine instead of a cluster.
    #[arg(long, conflicts_with_all = ["kubeconfig", "context"])]
    local: bool,
    /// Say what lies outside of a claim for the EU, and what nobody can show.
    #[arg(long)]
    sovereignty: bool,
    /// Where parts of the deployment stand and who runs them, which nobody can measure.
    #[arg(long, value_name = "FILE", requires = "sovereignty")]
    declared: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// How it stands.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// Something does not work.
    Bad,
    /// It works, at a lower level.
    Weak,
    /// It could not be found out.
    Unknown,
    /// As it should be.
    Ok,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    check: String,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    fix: String,
}

impl Finding {
    pub(super) fn new(check: &str, state: State, found: impl Into<String>, fix: &str) -> Self {
        let fix = if state == State::Ok { String::new() } else { fix.to_owned() };
        Self { check: check.to_owned(), state, found: found.into(), fix }
    }

    pub(super) fn ok(check: &str, found: impl Into<String>) -> Self {
        Self::new(check, State::Ok, found, "")
    }
}

/// The verb.
pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let findings = if args.sovereignty {
        let declared = args.declared.as_deref().map(sovereignty::read).transpose()?;
        let mut findings = sovereignty::judge(&declared.unwrap_or_default());
        if !args.local {
            let cluster = Cluster::open(&args.cluster).map_err(DeployError::from)?;
            let measured = sovereignty::measured(&cluster);
            findings.splice(..0, measured.map_err(DeployError::from)?);
        }
        findings
    } else if args.local {
        local::look()
    } else {
        let cluster = Cluster::open(&args.cluster).map_err(DeployError::from)?;
        let progress = ui::Progress::start().lively();
        progress.say("asking the cluster");
        cluster::look(&cluster).map_err(DeployError::from)?
    };
    if args.json {
        ui::line(&serde_json::to_string(&findings)?);
    } else {
        show(&findings);
    }
    let bad = findings.iter().any(|finding| finding.state == State::Bad);
    Ok(if bad { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn show(findings: &[Finding]) {
    for finding in findings {
        let word = match finding.state {
            State::Bad => ui::paint::bad("bad    "),
            State::Ok => ui::paint::good("ok     "),
            State::Unknown => ui::paint::dim("unknown"),
            State::Weak => ui::paint::strong("weak   "),
        };
        ui::line(&format!("{word}  {}: {}", finding.check, finding.found));
        if !finding.fix.is_empty() {
            ui::line(&format!("         {}", finding.fix));
        }
    }
}
