//! `cloudtaser evidence init`.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;
use cloudtaser_core::exit::Code;
use cloudtaser_evidence::{keys, note::KeyKind};

use super::EvidenceError;
use crate::ui;

const AFTER: &str = "\
Makes in DIR:
  log.key     signs the log; the bridge reads it
  names.key   hides names of secrets in receipts, and opens them for an auditor
  policy      believes this log, without witnesses; add their lines and a quorum

Keep copies of both keys where only you are. Who has names.key can open names; who has log.key can
sign another log in its name, which witnesses notice and nothing else does.

Exit: 0 made, 64 usage, or something is there already.";

/// Makes the keys of a log and a policy that believes it.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct InitArgs {
    /// Where keys and policy go.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The log's name (its origin), best a host and a path of yours: `eu.example.org/log`.
    #[arg(long)]
    name: String,
}

pub(super) fn run(args: &InitArgs) -> Result<ExitCode> {
    let folder = &args.folder;
    let made = |path: PathBuf| move |source| EvidenceError::Make { path, source };
    fs::create_dir_all(folder).map_err(made(folder.clone()))?;
    let signer = keys::make_signer(&folder.join("log.key"), &args.name, KeyKind::Log)?;
    keys::make_names(&folder.join("names.key"))?;
    let key = signer.verifier().to_string();
    let path = folder.join("policy");
    let policy = format!(
        "# Whom to believe. Add witnesses of others, and a quorum of them:\n\
         #   witness NAME KEY [URL]\n#   group enough 2 NAME NAME NAME\n#   quorum enough\n\
         log {key}\nquorum none\n"
    );
    let mut file = fs::File::create_new(&path).map_err(made(path.clone()))?;
    std::io::Write::write_all(&mut file, policy.as_bytes()).map_err(made(path))?;
    ui::line(&key);
    ui::note("That is the log's public key. Witnesses and auditors need it, and nothing else.");
    Ok(ExitCode::from(Code::Ok.number()))
}
