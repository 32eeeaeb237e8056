//! `cloudtaser evidence show`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use clap::Args;
use cloudtaser_core::exit::Code;
use cloudtaser_evidence::{
    Leaf,
    bundle::{Bundle, MAGIC},
    proof::Proof,
    tiles::{Tiles, WIDTH},
    verify::{Refusal, published},
};

use super::read;
use crate::ui;

const AFTER: &str = "\
Examples:
  cloudtaser evidence show q3.evidence
  cloudtaser evidence show /var/lib/cloudtaser/log --last 20
  cloudtaser evidence show LOG --json | jq 'select(.decision != \"released\")'

What has to be heard is printed first: releases for which people set the policy aside, and what the
bridge noticed. Nothing is verified here; `cloudtaser evidence verify` does that.

Exit: 0 shown, 64 usage, 77 it cannot be read.

JSON: one object a line, {index, sequence, time_ms, previous, cluster, workload, role, secrets,
policy, protection, assurance, wrapper, session, evidence, decision, bridge, key_exchange, sealing,
orders}, or {index, sequence, time_ms, previous, notice {kind, words, document?, name?, request?}}.";

/// Prints the receipts of a bundle, a tlog-proof or a log.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct ShowArgs {
    /// A bundle, a tlog-proof, or the folder of a log.
    #[arg(value_name = "EVIDENCE")]
    evidence: PathBuf,
    /// Only so many, the last ones.
    #[arg(long, value_name = "N")]
    last: Option<u64>,
    /// Print one JSON object per receipt.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ShowArgs) -> Result<ExitCode> {
    // Once: a log grows while it is shown.
    let size = size(&args.evidence)?;
    if !args.json {
        // Before anything else, however long ago it was.
        let mut loud = ui::evidence::Loud::default();
        leaves(&args.evidence, (size, None), |index, leaf| {
            loud.take(index, &leaf);
            Ok(())
        })?;
        loud.end();
    }
    let mut rows = ui::evidence::Receipts::new(args.json);
    leaves(&args.evidence, (size, args.last), |index, leaf| rows.show(index, &leaf))?;
    rows.end();
    Ok(ExitCode::from(Code::Ok.number()))
}

/// How many leaves are published, where it is the folder of a log.
pub(super) fn size(evidence: &Path) -> Result<u64> {
    if evidence.is_dir() { Ok(published(evidence)?.checkpoint().size) } else { Ok(0) }
}

/// Goes through the leaves of whatever it is, or through the last ones, in order: of a folder,
/// of the first [`size`].
///
/// Nothing is verified.
pub(super) fn leaves(
    evidence: &Path,
    (size, last): (u64, Option<u64>),
    mut each: impl FnMut(u64, Leaf) -> Result<()>,
) -> Result<()> {
    let last = last.unwrap_or(u64::MAX);
    if evidence.is_dir() {
        let tiles = Tiles::new(evidence, size);
        let from = size.saturating_sub(last);
        for bundle in from / WIDTH..tiles.bundles() {
            for (index, leaf) in
                (bundle * WIDTH..).zip(tiles.entries(bundle).map_err(Refusal::Tile)?)
            {
                if index >= from {
                    each(index, parse(index, &leaf)?)?;
                }
            }
        }
        return Ok(());
    }
    let bytes = read(evidence)?;
    let found = if bytes.starts_with(MAGIC) {
        let bundle = Bundle::parse(&bytes).map_err(Refusal::Bundle)?;
        bundle.receipts.into_iter().map(|item| (item.index, item.leaf.to_vec())).collect()
    } else {
        let (proof, leaf) =
            Proof::parse(&String::from_utf8_lossy(&bytes)).map_err(Refusal::ProofText)?;
        vec![(proof.index, leaf.ok_or(Refusal::NoReceipt)?)]
    };
    let skipped = found.len().saturating_sub(usize::try_from(last).unwrap_or(usize::MAX));
    for (index, leaf) in found.into_iter().skip(skipped) {
        each(index, parse(index, &leaf)?)?;
    }
    Ok(())
}

fn parse(index: u64, leaf: &[u8]) -> Result<Leaf, Refusal> {
    Leaf::parse(leaf).map_err(|source| Refusal::Receipt { index, source })
}
