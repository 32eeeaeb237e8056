//! `cloudtaser evidence export`.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, ValueEnum};
use cloudtaser_core::exit::Code;
use cloudtaser_evidence::{
    checkpoint::SignedCheckpoint,
    export::{Selection, export},
    proof::Proof,
};

use super::{EvidenceError, open_names, read_checkpoints};
use crate::ui;

const AFTER: &str = "\
Examples:
  cloudtaser evidence export /var/lib/cloudtaser/log --out all.evidence
  cloudtaser evidence export LOG --out db.evidence --cluster prod --names-key names.key \\
      --open secret/data/db#password    releases of one secret, with its name
  cloudtaser evidence export LOG --out one.tlog-proof --format tlog-proof --index 4711

The log may be in use; what was written in the last half second may not be in the bundle yet.
Checkpoints that you gave to somebody earlier (--since) are proved to be this log's past.

Exit: 0 written, 64 usage, 77 the log is not to be believed.";

/// Writes a bundle for an auditor.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct ExportArgs {
    /// The log's folder.
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Of which form.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The receipt at this position only.
    #[arg(long, value_name = "N", conflicts_with_all = ["from", "to"])]
    index: Option<u64>,
    /// From this position on.
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    /// Up to this position, which is in.
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// Receipts of this cluster only.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Receipts of this pod only.
    #[arg(long, value_name = "UID")]
    pod: Option<String>,
    /// Open a name for the auditor, and take only receipts with such names.
    #[arg(long, value_name = "PATH[#FIELD,...]")]
    open: Vec<String>,
    /// The owner's key to names.
    #[arg(long, value_name = "FILE")]
    names_key: Option<PathBuf>,
    /// Prove that the log grew from this older checkpoint.
    #[arg(long, value_name = "CHECKPOINT")]
    since: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// Receipts with proofs, openings and documents, in one file.
    #[default]
    Bundle,
    /// One receipt, as C2SP tlog-proof has it.
    TlogProof,
}

pub(super) fn run(args: &ExportArgs) -> Result<ExitCode> {
    let openings = open_names(args.names_key.as_deref(), &args.open)?;
    let selection = Selection {
        from: args.index.or(args.from),
        to: args.index.or(args.to),
        cluster: args.cluster.clone(),
        pod: args.pod.clone(),
        names: openings.iter().map(cloudtaser_evidence::names::Opening::hash).collect(),
    };
    let earlier = read_checkpoints(&args.since)?;
    if matches!(args.format, Format::TlogProof) && !openings.is_empty() {
        return Err(EvidenceError::NoOpenings.into());
    }
    let bundle = export(&args.log, &selection, openings, &earlier)?;
    let count = bundle.receipts.len();
    let bytes = match args.format {
        Format::Bundle => bundle.to_bytes()?,
        Format::TlogProof => {
            let [item] = bundle.receipts.as_slice() else {
                return Err(EvidenceError::OneReceipt(count).into());
            };
            let checkpoint = SignedCheckpoint::parse(&bundle.checkpoint)?;
            let proof = Proof { index: item.index, path: item.path.clone(), checkpoint };
            proof.with_entry(&item.leaf).into_bytes()
        }
    };
    let path = args.out.clone();
    fs::write(&path, &bytes).map_err(|source| EvidenceError::Make { path, source })?;
    ui::note(&format!("{count} receipts, {} bytes, in {}", bytes.len(), args.out.display()));
    Ok(ExitCode::from(Code::Ok.number()))
}
