//! `cloudtaser evidence verify`.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use clap::Args;
use cloudtaser_core::exit::Code;
use cloudtaser_evidence::{
    Digest,
    bundle::MAGIC,
    names::Opening,
    policy::Policy,
    reconcile::{Reconciliation, reconcile},
    verify::{
        self, Given, Report,
        claims::{Standing, claims},
        nodes::ReleasePolicy,
    },
};

use super::{EvidenceError, open_names, read, read_checkpoints, read_policy};
use crate::ui;

const AFTER: &str = "\
Examples:
  cloudtaser evidence verify q3.evidence --policy policy
  cloudtaser evidence verify LOG --policy policy --seen checkpoint-from-the-witness
  cloudtaser evidence verify q3.evidence --policy policy --release-policy policy.toml
  cloudtaser evidence verify LOG --policy policy --bao-audit audit.log --require C6,C7

No network and no trust in the machine that made the file: what counts are the keys in the policy.
First signatures, the policy's quorum, proofs and chains; if any of it is wrong the file is refused
and nothing is said about its content. Then claims C1 to C8, each `pass`, `fail` or `not provable`,
with the assumptions that it stands on.

Exit: 0 it verifies, no claim fails and the required ones pass; 64 usage; 77 refused, a claim fails,
or a required one does not pass.

JSON: {schema, refused} or {schema, log, size, root, witnesses, grown_from, tally, names,
nodes, claims [{id, claim, standing pass|fail|not-provable, because, assumptions}], assumptions, not_covered}.
Fields are added, never renamed.";

/// What is verified, and what with.
#[derive(Args, Debug)]
pub(crate) struct SourceArgs {
    /// A bundle, a tlog-proof, or the folder of a log.
    #[arg(value_name = "EVIDENCE")]
    pub(crate) evidence: PathBuf,
    /// Whom to believe (C2SP tlog-policy).
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: PathBuf,
    /// A checkpoint of the same log that came another way, to find a fork.
    #[arg(long, value_name = "CHECKPOINT")]
    seen: Vec<PathBuf>,
    /// A later bundle of the same log (`export --since`): shows that this is of the log's past where
    /// its key was replaced since.
    #[arg(long, value_name = "BUNDLE")]
    later: Vec<PathBuf>,
    /// A release policy of the bridge's, to name the nodes whose statements are in a bundle.
    #[arg(long, value_name = "FILE")]
    release_policy: Vec<PathBuf>,
    /// OpenBao's audit log, to find releases without a receipt.
    #[arg(long, value_name = "FILE")]
    bao_audit: Option<PathBuf>,
    /// Paths that only the bridge may read; without it, all paths of secrets engines.
    #[arg(long, value_name = "PREFIX", requires = "bao_audit")]
    prefix: Vec<String>,
}

/// Verifies a bundle, a tlog-proof or a whole log.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Name a secret in a log's folder, to count its releases.
    #[arg(long, value_name = "PATH[#FIELD,...]")]
    open: Vec<String>,
    /// The owner's key to names.
    #[arg(long, value_name = "FILE")]
    names_key: Option<PathBuf>,
    /// Claims that must pass.
    #[arg(long, value_name = "C1,...", value_delimiter = ',')]
    require: Vec<String>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Evidence that was verified, and what OpenBao's audit log says beside it.
pub(crate) struct Verified {
    pub(crate) report: Report,
    pub(crate) audit: Option<Reconciliation>,
}

pub(super) fn run(args: &VerifyArgs) -> Result<ExitCode> {
    let known = |claim: &String| verify::claims::IDS.contains(&claim.as_str());
    if let Some(unknown) = args.require.iter().find(|claim| !known(claim)) {
        return Err(EvidenceError::Claim(unknown.clone()).into());
    }
    let openings = open_names(args.names_key.as_deref(), &args.open)?;
    let verified = args.source.verified(openings);
    let verified = match verified {
        Ok(verified) => verified,
        Err(error) => {
            if args.json && error.is::<verify::Refusal>() {
                ui::evidence::refused(&format!("{error:#}"));
                return Ok(ExitCode::from(Code::Denied.number()));
            }
            return Err(error);
        }
    };
    if args.json {
        ui::evidence::json(&verified.report, verified.audit.as_ref())?;
    } else {
        ui::evidence::report(&verified.report, verified.audit.as_ref());
    }
    let bad = verified.report.claims.iter().find(|claim| {
        let required = args.require.iter().any(|id| id == claim.id);
        claim.standing == Standing::Fail || (required && claim.standing != Standing::Pass)
    });
    if let Some(claim) = bad {
        ui::note(&format!("{} does not pass", claim.id));
        return Ok(ExitCode::from(Code::Denied.number()));
    }
    Ok(ExitCode::from(Code::Ok.number()))
}

/// Reads a release policy; what counts for receipts is the hash of its file.
fn release_policy(path: &PathBuf) -> Result<ReleasePolicy> {
    let bytes = read(path)?;
    Ok(ReleasePolicy { hash: Digest::of(&bytes), policy: crate::policy::read(path)?.policy })
}

impl SourceArgs {
    /// Reads and verifies all of it; with these names opened.
    pub(crate) fn verified(&self, openings: Vec<Opening>) -> Result<Verified> {
        let requests = self.bao_audit.is_some();
        let release_policies = self.release_policy.iter().map(release_policy);
        let release_policies = release_policies.collect::<Result<_>>()?;
        let seen = read_checkpoints(&self.seen)?;
        let policy = read_policy(&self.policy)?;
        let mut past = Vec::new();
        for later in &self.later {
            past.extend(verify::past(&read(later)?, &policy)?);
        }
        let given = Given { seen, openings, requests, release_policies, past };
        let report = verified(&self.evidence, &policy, &given)?;
        with_audit(report, self.bao_audit.as_ref(), &self.prefix)
    }
}

/// Verifies whatever it is.
pub(super) fn verified(evidence: &Path, policy: &Policy, given: &Given) -> Result<Report> {
    if evidence.is_dir() {
        return Ok(verify::folder(evidence, policy, given)?);
    }
    let bytes = read(evidence)?;
    if !bytes.starts_with(MAGIC) && bytes.starts_with(b"c2sp.org/tlog-proof") {
        // What is no UTF-8 is no proof, and is refused as what it then is.
        return Ok(verify::proof(&String::from_utf8_lossy(&bytes), policy, given)?);
    }
    Ok(verify::bundle(&bytes, policy, given)?)
}

/// Draws the claims anew where there is an audit log to compare with.
pub(super) fn with_audit(
    mut report: Report,
    audit: Option<&PathBuf>,
    prefixes: &[String],
) -> Result<Verified> {
    let Some(path) = audit else { return Ok(Verified { report, audit: None }) };
    let file = File::open(path);
    let file = file.map_err(|source| EvidenceError::Read { path: path.clone(), source })?;
    let audit = reconcile(&report.tally, BufReader::new(file), prefixes)?;
    report.claims = claims(&report, Some(&audit));
    Ok(Verified { report, audit: Some(audit) })
}
