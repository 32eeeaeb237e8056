//! `tpm`: what a release policy needs to know of this node's TPM, and the proof that it is so.
//!
//! Whoever takes the node into a policy gets the identity, makes a challenge of it elsewhere
//! (`cloudtaser bridge node-challenge`), and believes the quoting key when the TPM's answer comes
//! back: only the TPM of that endorsement key gives it, and only for a key of its own.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cloudtaser_core::names::AGENT_NODE_KEY;
use cloudtaser_core::node::{Challenge, NodeIdentity};
use data_encoding::{BASE64, HEXLOWER};

use crate::host;
use crate::node_key::NodeKey;
use crate::tpm::{DEVICE, Tpm};

/// A challenge has some 300 bytes.
const CHALLENGE_MAX: u64 = 4096;

/// What `tpm` is asked.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TpmArgs {
    /// The TPM.
    #[arg(long, value_name = "DEVICE", default_value = DEVICE, global = true)]
    tpm: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Print who this node and its TPM are, as JSON.
    Identity {
        /// Where the node's key is kept.
        #[arg(long, value_name = "FILE", default_value = AGENT_NODE_KEY)]
        node_key: PathBuf,
    },
    /// Answer a challenge on standard input.
    Answer,
}

/// Runs the verb.
pub(crate) fn run(args: &TpmArgs) -> anyhow::Result<()> {
    let text = match &args.verb {
        Verb::Identity { node_key } => identity(&args.tpm, node_key)?,
        Verb::Answer => answer(&args.tpm)?,
    };
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

fn identity(device: &Path, node_key: &Path) -> anyhow::Result<String> {
    let found = Tpm::open(device)?.identity()?;
    let identity = NodeIdentity {
        name: host::name(),
        key: NodeKey::open(node_key)?.public(),
        endorsement: BASE64.encode(&found.endorsement),
        attestation: BASE64.encode(&found.attestation),
        certificate: found.certificate.map(|der| BASE64.encode(&der)),
    };
    Ok(serde_json::to_string_pretty(&identity)?)
}

fn answer(device: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    io::stdin().lock().take(CHALLENGE_MAX).read_to_string(&mut text)?;
    let challenge: Challenge =
        serde_json::from_str(&text).context("standard input is no challenge")?;
    let blob = BASE64.decode(challenge.blob.as_bytes()).context("the challenge is not base64")?;
    let secret =
        BASE64.decode(challenge.secret.as_bytes()).context("the challenge is not base64")?;
    Ok(HEXLOWER.encode(&Tpm::open(device)?.activate(&blob, &secret)?))
}
