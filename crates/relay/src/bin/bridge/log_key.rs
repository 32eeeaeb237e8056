//! `rotate-log-key`: another key for the log of receipts.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use cloudtaser_relay::{
    bridge::{
        config::Config,
        release::log_key::{prepare, rotate},
    },
    program::say,
};

const AFTER: &str = "\
Without --now it makes the next key (KEYFILE.next) and prints it: give it to the witnesses as another
--log, and add its `log` line to the policy by which the bridge knows them. With --now, while the
bridge is stopped, it takes the place of the present key, which is gone then; what is printed are the
lines for the policies of auditors. Receipts from before verify as before: `was KEY SIZE` believes
the old key up to there, and only where a witness or a later bundle shows that it is the log's past.

A key that may have been stolen is replaced at once; the thief can sign nothing that is believed.";

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct RotateArgs {
    /// The configuration.
    #[arg(long)]
    config: PathBuf,
    /// Replace the key.
    #[arg(long)]
    now: bool,
}

pub(crate) fn run(args: &RotateArgs) -> Result<()> {
    let config = Config::read(&args.config)?;
    let release = config.release.context("the configuration has no [release]")?;
    if args.now {
        return say(&rotate(&release.log)?.lines());
    }
    say(&format!("log {}\n", prepare(&release.log)?))
}
