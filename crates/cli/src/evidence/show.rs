//! `cloudtaser evidence show`.

use std::{path::PathBuf, process::ExitCode};

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
    if !args.json {
        // Before anything else, however long ago it was.
        let mut loud = ui::evidence::Loud::default();
        each(args, u64::MAX, |index, leaf| {
            loud.take(index, &leaf);
            Ok(())
        })?;
        loud.end();
    }
    let mut rows = ui::evidence::Receipts::new(args.json);
    each(args, args.last.unwrap_or(u64::MAX), |index, leaf| rows.show(index, &leaf))?;
    rows.end();
    Ok(ExitCode::from(Code::Ok.number()))
}

/// Reads the last leaves of whatever it is, in their order.
fn each(args: &ShowArgs, last: u64, mut show: impl FnMut(u64, Leaf) -> Result<()>) -> Result<()> {
    if args.evidence.is_dir() {
        let size = published(&args.evidence)?.checkpoint().size;
        let tiles = Tiles::new(&args.evidence, size);
        let from = size.saturating_sub(last);
        for bundle in from / WIDTH..tiles.bundles() {
            let entries = tiles.entries(bundle).map_err(Refusal::Tile)?;
            for (index, leaf) in (bundle * WIDTH..).zip(entries) {
                if index >= from {
                    show(index, parse(index, &leaf)?)?;
                }
            }
        }
        return Ok(());
    }
    let bytes = read(&args.evidence)?;
    let leaves = if bytes.starts_with(MAGIC) {
        let bundle = Bundle::parse(&bytes).map_err(Refusal::Bundle)?;
        bundle.receipts.into_iter().map(|item| (item.index, item.leaf.to_vec())).collect()
    } else {
        let (proof, leaf) =
            Proof::parse(&String::from_utf8_lossy(&bytes)).map_err(Refusal::ProofText)?;
        vec![(proof.index, leaf.ok_or(Refusal::NoReceipt)?)]
    };
    let skipped = leaves.len().saturating_sub(usize::try_from(last).unwrap_or(usize::MAX));
    for (index, leaf) in leaves.into_iter().skip(skipped) {
        show(index, parse(index, &leaf)?)?;
    }
    Ok(())
}

fn parse(index: u64, leaf: &[u8]) -> Result<Leaf, Refusal> {
    Leaf::parse(leaf).map_err(|source| Refusal::Receipt { index, source })
}
