//! `cloudtaser witness`: signs that a log only grew, for whoever wants to be sure of it.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use cloudtaser_core::exit::Code;
use cloudtaser_evidence::{
    keys,
    log::Clock,
    note::{KeyKind, VerifierKey},
    witness::{Witness, http, origin_hash},
};

use crate::ui;

const AFTER: &str = "\
Examples:
  cloudtaser witness init --name dpo.example.org /var/lib/witness
                                        prints the public key for the policy of log and auditors
  cloudtaser witness serve /var/lib/witness --log 'eu.example.org/log+1d2f...+AQ...'

A witness should be under another's control than the log: the DPO's, a customer's, an auditor's. It
sees sizes and hashes, never a receipt. Its folder must not be rolled back: a witness that forgot
what it signed can be shown a fork.";

const SERVE_AFTER: &str = "\
Speaks C2SP tlog-witness over plain HTTP: on the loopback, or behind something that does TLS. The
requests need no login, since what counts are the log's signatures. One checkpoint per log is kept,
and is on the disk before the signature leaves.

Paths: POST /add-checkpoint, GET /HASH/checkpoint with the SHA-256 of a log's name.
Exit: 64 usage, 69 the address cannot be had, 77 what it signed last is damaged.";

/// Runs a witness of logs (C2SP tlog-witness).
#[derive(Args, Debug)]
#[command(after_help = AFTER, disable_help_subcommand = true)]
pub(crate) struct WitnessArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a witness's key.
    Init(InitArgs),
    /// Sign checkpoints of logs that only grow.
    Serve(ServeArgs),
}

/// Makes a witness's key.
#[derive(Args, Debug)]
struct InitArgs {
    /// The witness's folder.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The witness's name, best a host of yours: `dpo.example.org`.
    #[arg(long)]
    name: String,
}

/// Signs checkpoints of logs that only grow.
#[derive(Args, Debug)]
#[command(after_help = SERVE_AFTER)]
struct ServeArgs {
    /// The witness's folder, with its key.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The public key of a log to sign for; may be given more than once.
    #[arg(long, value_name = "KEY", required = true)]
    log: Vec<VerifierKey>,
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7380")]
    listen: SocketAddr,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub(crate) struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Runs the verb.
pub(crate) fn run(args: &WitnessArgs) -> Result<ExitCode> {
    match &args.verb {
        Verb::Init(args) => init(args),
        Verb::Serve(args) => serve(args),
    }
}

fn init(args: &InitArgs) -> Result<ExitCode> {
    std::fs::create_dir_all(&args.folder)
        .with_context(|| format!("cannot make {}", args.folder.display()))?;
    let path = args.folder.join("witness.key");
    let signer = keys::make_signer(&path, &args.name, KeyKind::Witness)?;
    ui::line(&signer.verifier().to_string());
    ui::note("That is the witness's public key: a line `witness NAME KEY URL` of a policy.");
    Ok(ExitCode::from(Code::Ok.number()))
}

fn serve(args: &ServeArgs) -> Result<ExitCode> {
    let signer = keys::read_signer(&args.folder.join("witness.key"))?;
    let witness = Witness::open(&args.folder, signer, args.log.clone(), Clock::system())?;
    let address = args.listen;
    let listener = TcpListener::bind(address).map_err(|source| ListenError { address, source })?;
    let address = listener.local_addr().map_err(|source| ListenError { address, source })?;
    ui::note(&format!("{} listens on http://{address}/", witness.verifier().name()));
    for log in &args.log {
        ui::note(&format!("  {}: /{}/checkpoint", log.name(), origin_hash(log.name())));
    }
    http::serve(&listener, &Arc::new(witness)).map_err(|source| ListenError { address, source })?;
    Ok(ExitCode::from(Code::Ok.number()))
}
