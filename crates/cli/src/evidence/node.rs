//! `cloudtaser evidence node`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::Args;
use cloudtaser_core::{
    exit::Code,
    node::{Hash, NodeEvidence},
};
use cloudtaser_evidence::{
    Digest,
    node::{Document, Launch},
};
use serde_json::json;

use super::read;
use crate::ui;

const AFTER: &str = "\
Examples:
  cloudtaser evidence node evidence.json --release-policy policy.toml
  cloudtaser evidence node DOCUMENT --session HEX --sealing HEX --pod UID --json

Reads what an agent answers (JSON) or what a log keeps in documents/ (CBOR).

Exit: 0 it holds; 64 usage; 77 refused.

JSON: {key, node?, assurance, statement, tpm? {key, registers, resets}}. Fields are added, never
renamed.";

/// Verifies one statement of a node: signature, quote, event log; and what it was made for.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct NodeArgs {
    /// The evidence.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A release policy, which knows nodes and their TPMs.
    #[arg(long, value_name = "FILE")]
    release_policy: Option<PathBuf>,
    /// The session that it must be for.
    #[arg(long, value_name = "HEX", requires_all = ["sealing", "pod"])]
    session: Option<Hash>,
    /// The sealing key's hash that it must be for.
    #[arg(long, value_name = "HEX", requires = "session")]
    sealing: Option<Hash>,
    /// The pod that it must be about.
    #[arg(long, value_name = "UID", requires = "session")]
    pod: Option<String>,
    /// Print what it shows as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &NodeArgs) -> Result<ExitCode> {
    let bytes = read(&args.file)?;
    let document = if Document::is_one(&bytes) {
        Document::parse(&bytes)
    } else {
        let evidence: NodeEvidence =
            serde_json::from_slice(&bytes).context("this is no evidence of a node")?;
        Document::of(&evidence)
    };
    let verified = document.and_then(|document| document.verify()).and_then(|signed| {
        if let (Some(session), Some(sealing), Some(pod)) = (&args.session, &args.sealing, &args.pod)
        {
            let [session, sealing] = [session, sealing].map(|hash| Digest::new(*hash.as_bytes()));
            signed.is_of(&Launch { session, sealing, pod })?;
        }
        Ok(signed)
    });
    let signed = match verified {
        Ok(signed) => signed,
        Err(error) => {
            ui::note(&format!("refused: {:#}", anyhow::Error::from(error)));
            return Ok(ExitCode::from(Code::Denied.number()));
        }
    };
    let policy = args.release_policy.as_ref().map(crate::policy::read).transpose()?;
    let attested = signed.attested();
    let node = policy.as_ref().and_then(|policy| policy.policy.node(&attested.key));
    let reached = policy.as_ref().map(|policy| policy.policy.assurance(&attested).as_str());
    let tpm = signed
        .tpm
        .as_ref()
        .map(|tpm| json!({ "key": tpm.key, "registers": tpm.registers, "resets": tpm.resets }));
    if args.json {
        ui::line(&serde_json::to_string_pretty(&json!({
            "key": signed.key,
            "node": node.map(|node| &node.name),
            "assurance": reached.unwrap_or("L0"),
            "statement": signed.statement,
            "tpm": tpm,
        }))?);
        return Ok(ExitCode::SUCCESS);
    }
    let said = &signed.statement;
    ui::line(&format!("signed by the node's key {}", signed.key));
    match (node, &args.release_policy) {
        (Some(node), _) => ui::line(&format!("  which the policy calls {}", node.name)),
        (None, Some(_)) => ui::line("  which the policy does not name"),
        (None, None) => ui::line("  whose node that is only a release policy says"),
    }
    let tier = said.tier.as_deref().unwrap_or("no tier");
    ui::line(&format!("  agent {} ({tier}), kernel {}", said.state.as_str(), said.kernel));
    match &signed.tpm {
        Some(tpm) => ui::line(&format!(
            "  quoted by the TPM key {}: {} registers, which the event log leads to; reset {} times",
            tpm.key,
            tpm.registers.len(),
            tpm.resets
        )),
        None => ui::line("  no TPM signed it"),
    }
    ui::line(&format!(
        "  assurance {}",
        reached.unwrap_or("L0 (no policy says whose keys these are)")
    ));
    Ok(ExitCode::SUCCESS)
}
