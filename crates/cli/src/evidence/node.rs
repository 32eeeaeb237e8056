//! `cloudtaser evidence node`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::Args;
use cloudtaser_core::{
    exit::Code,
    node::{Hash, NodeEvidence, NodeStatement},
};
use cloudtaser_evidence::{
    Digest,
    attest::machine::MachineError,
    node::{Document, Launch, NodeError, Signed},
};
use serde_json::json;

use super::read;
use crate::ui::{self, evidence::UNTRIED};

const AFTER: &str = "\
Examples:
  cloudtaser evidence node evidence.json --release-policy policy.toml
  cloudtaser evidence node DOCUMENT --session HEX --sealing HEX --pod UID --json

Reads what an agent answers (JSON) or what a log keeps in documents/ (CBOR).

Exit: 0 it holds; 64 usage; 77 refused.

A report of a confidential machine is verified with the certificates that came with it, or those
of --hardware-dir. It is said where there is none.

JSON: {key, node?, assurance, statement, tpm? {key, registers, resets}, machine? {kind,
measurement}, machine_left_out?}. Fields are added, never renamed.";

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
    /// A folder with AMD's certificates (DER) and Intel's collateral (JSON), for what an agent answers.
    #[arg(long, value_name = "DIR")]
    hardware_dir: Option<PathBuf>,
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
    let (document, left_out) = document(args)?;
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
    let machine = signed.hardware.as_ref();
    if args.json {
        ui::line(&serde_json::to_string_pretty(&json!({
            "key": signed.key,
            "node": node.map(|node| &node.name),
            "assurance": reached.unwrap_or("L0"),
            "statement": signed.statement,
            "tpm": tpm,
            "machine": machine.map(|machine| {
                json!({ "kind": machine.as_str(), "measurement": machine.measurement() })
            }),
            "machine_left_out": left_out,
        }))?);
        return Ok(ExitCode::SUCCESS);
    }
    let named = node.map(|node| node.name.as_str());
    print(args, &signed, named, reached, left_out.as_deref());
    Ok(ExitCode::SUCCESS)
}

/// What was given, and why a report in it counts as none.
fn document(args: &NodeArgs) -> Result<(Result<Document, NodeError>, Option<String>)> {
    let bytes = read(&args.file)?;
    let mut left_out = None;
    let document = if Document::is_one(&bytes) {
        Document::parse(&bytes)
    } else {
        let evidence: NodeEvidence =
            serde_json::from_slice(&bytes).context("this is no evidence of a node")?;
        let files = args.hardware_dir.as_deref().map(files).transpose()?.unwrap_or_default();
        Document::of(&evidence).and_then(|mut document| {
            // As of its own time: how old it is says the statement.
            let at = NodeStatement::parse(&evidence.statement).map_or(0, |statement| statement.at);
            match document.take_report(&evidence, &files, at) {
                // A bridge refuses it too.
                Err(error @ NodeError::Machine(MachineError::Binding)) => return Err(error),
                Err(error) => left_out = Some(format!("{:#}", anyhow::Error::from(error))),
                Ok(()) => {}
            }
            Ok(document)
        })
    };
    Ok((document, left_out))
}

fn print(
    args: &NodeArgs,
    signed: &Signed,
    name: Option<&str>,
    reached: Option<&str>,
    left_out: Option<&str>,
) {
    let said = &signed.statement;
    ui::line(&format!("signed by the node's key {}", signed.key));
    match (name, &args.release_policy) {
        (Some(name), _) => ui::line(&format!("  which the policy calls {name}")),
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
    match (&signed.hardware, left_out) {
        (Some(machine), _) => {
            ui::line(&format!(
                "  reported by the processor of a confidential machine ({}), started with {}",
                machine.as_str(),
                machine.measurement()
            ));
            ui::line(&format!("  {UNTRIED}"));
        }
        (None, Some(why)) => ui::line(&format!(
            "  a report of a confidential machine is there and counts as none: {why}"
        )),
        (None, None) => ui::line("  no processor of a confidential machine signed it"),
    }
    ui::line(&format!(
        "  assurance {}",
        reached.unwrap_or("L0 (no policy says whose keys these are)")
    ));
}

fn files(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let each = fs::read_dir(folder).and_then(|entries| {
        let paths = entries.map(|entry| Ok(entry?.path()));
        let paths = paths.collect::<io::Result<Vec<_>>>()?;
        paths.iter().filter(|path| path.is_file()).map(fs::read).collect()
    });
    each.with_context(|| format!("cannot read {}", folder.display()))
}
