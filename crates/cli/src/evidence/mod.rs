//! `cloudtaser evidence`: receipts, their export, and their verification without a network.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use cloudtaser_evidence::{
    bundle::BUNDLE_MAX,
    checkpoint::SignedCheckpoint,
    names::{NameKey, Opening},
    policy::{Policy, PolicyError},
    receipt::NameError,
    verify::Given,
};

mod export;
mod init;
mod node;
mod reconcile;
mod show;
pub(crate) mod verify;

const AFTER: &str = "\
Examples:
  cloudtaser evidence init --name eu.example/log /etc/cloudtaser
                                        keys for a new log, and a policy to begin with
  cloudtaser evidence export /var/lib/cloudtaser/log --out q3.evidence
  cloudtaser evidence verify q3.evidence --policy policy
                                        on any machine, without a network
  cloudtaser evidence reconcile /var/lib/cloudtaser/log --policy policy --bao-audit audit.log

What a log is, each format and each claim: docs/protocol/evidence.md";

/// Works with receipts of releases: makes keys, exports, shows, verifies, compares.
#[derive(Args, Debug)]
#[command(after_help = AFTER, disable_help_subcommand = true)]
pub(crate) struct EvidenceArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make the keys of a log and a policy that believes it.
    Init(init::InitArgs),
    /// Write a bundle for an auditor: receipts, proofs, and the names that you open.
    Export(export::ExportArgs),
    /// Verify a bundle, a tlog-proof or a whole log, and say what it shows.
    Verify(verify::VerifyArgs),
    /// Verify what a node signed, and say what it shows.
    Node(node::NodeArgs),
    /// Print the receipts of a bundle or a log, without verifying them.
    Show(show::ShowArgs),
    /// Compare a log with OpenBao's audit log: what does either side lack?
    Reconcile(reconcile::ReconcileArgs),
}

/// What a user wrote that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum EvidenceError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A file cannot be made.
    #[error("cannot make {}", path.display())]
    Make { path: PathBuf, source: io::Error },
    /// A policy means nothing.
    #[error("the policy {} cannot be used", path.display())]
    Policy { path: PathBuf, source: PolicyError },
    /// A file is no checkpoint.
    #[error("{} is no checkpoint", .0.display())]
    Checkpoint(PathBuf),
    /// A name to open is not written as PATH#FIELD.
    #[error("{0} is no name: write PATH or PATH#FIELD,FIELD as OpenBao's audit log has it")]
    Name(String),
    /// Names can be opened with their key only.
    #[error("--open needs the owner's key: --names-key FILE")]
    NamesKey,
    /// A claim that there is not.
    #[error("{0} is no claim: C1 to C8")]
    Claim(String),
    /// A single proof is of a single receipt.
    #[error("a tlog-proof is of one receipt, and {0} were chosen: use --index")]
    OneReceipt(usize),
    /// Names are opened by a bundle.
    #[error("a tlog-proof opens no names: leave out --open, or use the bundle format")]
    NoOpenings,
}

/// Runs the verb.
pub(crate) fn run(args: &EvidenceArgs) -> Result<ExitCode> {
    match &args.verb {
        Verb::Export(args) => export::run(args),
        Verb::Init(args) => init::run(args),
        Verb::Node(args) => node::run(args),
        Verb::Reconcile(args) => reconcile::run(args),
        Verb::Show(args) => show::run(args),
        Verb::Verify(args) => verify::run(args),
    }
}

/// By pod (its UID): when it was given secrets last, in milliseconds since 1970.
pub(crate) type Releases = BTreeMap<String, u64>;

/// Verifies the evidence, and finds each pod's last release in it.
pub(crate) fn releases_by_pod(evidence: &Path, policy: &Path) -> Result<Releases> {
    let policy = read_policy(policy)?;
    verify::verified(evidence, &policy, &Given::default())?;
    let mut releases = Releases::new();
    show::leaves(evidence, (show::size(evidence)?, None), |_index, leaf| {
        if let Some(receipt) = leaf.receipt().filter(|receipt| receipt.is_release()) {
            // The later one is further on: times rise within a cluster.
            releases.insert(receipt.draft.workload.pod.to_string(), receipt.time_ms);
        }
        Ok(())
    })?;
    Ok(releases)
}

fn read(path: &Path) -> Result<Vec<u8>, EvidenceError> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(BUNDLE_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    let too_long = || io::Error::from(io::ErrorKind::FileTooLarge);
    let read = read.and_then(|length| if length > BUNDLE_MAX { Err(too_long()) } else { Ok(()) });
    read.map_err(|source| EvidenceError::Read { path: path.to_owned(), source })?;
    Ok(bytes)
}

fn read_policy(path: &Path) -> Result<Policy, EvidenceError> {
    let text = read(path)?;
    let text = String::from_utf8_lossy(&text);
    text.parse().map_err(|source| EvidenceError::Policy { path: path.to_owned(), source })
}

fn read_checkpoints(paths: &[PathBuf]) -> Result<Vec<SignedCheckpoint>, EvidenceError> {
    let checkpoint = |path: &PathBuf| {
        let text = read(path)?;
        let signed = SignedCheckpoint::parse(&String::from_utf8_lossy(&text));
        signed.map_err(|_bad| EvidenceError::Checkpoint(path.clone()))
    };
    paths.iter().map(checkpoint).collect()
}

/// Openings of names that were written as `PATH#FIELD,FIELD`.
fn open_names(key: Option<&Path>, names: &[String]) -> Result<Vec<Opening>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let key = key.ok_or(EvidenceError::NamesKey)?;
    let key = cloudtaser_evidence::keys::read_names(key)?;
    let opened = names
        .iter()
        .map(|name| open_name(&key, name).map_err(|_bad| EvidenceError::Name(name.clone())));
    let opened: Result<Vec<_>, _> = opened.collect();
    opened.context("cannot open the names")
}

fn open_name(key: &NameKey, name: &str) -> Result<Opening, NameError> {
    let (path, fields) = name.split_once('#').unwrap_or((name, ""));
    let fields: Vec<&str> = fields.split(',').filter(|field| !field.is_empty()).collect();
    key.open(path, &fields)
}
