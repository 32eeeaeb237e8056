//! `cloudtaser evidence reconcile`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;
use cloudtaser_core::exit::Code;
use cloudtaser_evidence::verify::Given;

use super::{read_policy, verify};
use crate::ui;

const AFTER: &str = "\
OpenBao writes the id of each request into its audit log, and the bridge writes it into the receipt.
Found are: reads that OpenBao answered and no receipt has (somebody else's token read a secret, or
the bridge did not log), and receipts of requests that the audit log does not have (it lost lines).
Rotate both together: a receipt whose audit line is in another file counts as lacking.

Exit: 0 neither side lacks anything, 64 usage, 77 one does, or the log is refused.

JSON: {schema, lines, answered, matched, unreceipted [{line, time, request, path, who}],
unreceipted_total, unaudited [request], unaudited_total, without_request, unreadable [line],
unreadable_total}. Lists have at most 100 entries, totals count all.";

/// Compares a log with OpenBao's audit log.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct ReconcileArgs {
    /// The folder of a log, or a bundle.
    #[arg(value_name = "EVIDENCE")]
    evidence: PathBuf,
    /// Whom to believe (C2SP tlog-policy).
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// OpenBao's audit log: JSON lines, as its file device writes them.
    #[arg(long, value_name = "FILE")]
    bao_audit: PathBuf,
    /// Paths that only the bridge may read; without it, all paths of secrets engines.
    #[arg(long, value_name = "PREFIX")]
    prefix: Vec<String>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ReconcileArgs) -> Result<ExitCode> {
    let policy = read_policy(&args.policy)?;
    let given = Given { requests: true, ..Given::default() };
    let report = verify::verified(&args.evidence, &policy, &given)?;
    let verified = verify::with_audit(report, Some(&args.bao_audit), &args.prefix)?;
    let Some(found) = verified.audit else { return Ok(ExitCode::from(Code::Internal.number())) };
    if args.json {
        ui::evidence::reconciled_json(&found)?;
    } else {
        ui::evidence::reconciled(&found);
    }
    let code = if found.agrees() { Code::Ok } else { Code::Denied };
    Ok(ExitCode::from(code.number()))
}
