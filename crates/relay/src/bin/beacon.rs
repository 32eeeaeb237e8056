//! `cloudtaser-beacon`: joins the connections of clients and bridges; see [`cloudtaser_relay::beacon`].

#![forbid(unsafe_code)]

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use cloudtaser_relay::{
    beacon::{Beacon, config::Config},
    file::ConfigError,
    log,
    program::{block_on_threads, keygen, of_arguments, raise_descriptors, run, say, stop_signal},
};
use tracing::info;

/// Joins clients and bridges without being able to read what they say.
#[derive(Debug, Parser)]
#[command(
    name = "cloudtaser-beacon",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "\
Examples:
  cloudtaser-beacon serve --dev
  cloudtaser-beacon keygen beacon.pem
  cloudtaser-beacon check-config beacon.toml
  cloudtaser-beacon serve --config beacon.toml

Signals: SIGTERM and SIGINT drain: nothing new is taken, bridges are sent away, and tunnels have \
drain_seconds to end.

Exit: 0 when it was asked to end, 64 for a command line or a configuration that cannot be used, 69 \
where a file or an address cannot be had."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve until SIGTERM.
    Serve(Serve),
    /// Read a configuration, say what is wrong with it, and end.
    CheckConfig {
        /// The file.
        config: PathBuf,
    },
    /// Make the key by which bridges know this beacon, and print its public half.
    Keygen {
        /// The new file.
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Serve {
    /// The configuration.
    #[arg(long, required_unless_present = "dev")]
    config: Option<PathBuf>,
    /// Without a configuration: a key for this run, any bridge, 127.0.0.1:8443, metrics at 9443.
    #[arg(long, conflicts_with = "config")]
    dev: bool,
    /// Take the place of the beacon that is at the handover_socket of the configuration, if one is:
    /// no connection is lost, its tunnels go on for as long as its drain_seconds say, and it ends.
    #[arg(long, conflicts_with = "dev")]
    take_over: bool,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return of_arguments(&error),
    };
    run(|| match cli.verb {
        Verb::Serve(args) => serve(&args),
        Verb::CheckConfig { config } => {
            Config::read(&config)?;
            say("the configuration is good\n")
        }
        Verb::Keygen { file } => say(&format!("{}\n", keygen(&file)?)),
    })
}

fn serve(args: &Serve) -> anyhow::Result<()> {
    let config = match &args.config {
        Some(path) => Config::read(path)?,
        None => {
            let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
            Config::development(local(8443), Some(local(9443)))?
        }
    };
    if args.take_over && config.handover_socket.is_none() {
        return Err(ConfigError::Missing("--take-over needs handover_socket, a path").into());
    }
    log::start();
    raise_descriptors();
    let (key, take_over) = (config.key.public(), args.take_over);
    block_on_threads(config.limits.threads.into(), async move {
        let stop = stop_signal()?;
        let beacon =
            if take_over { Beacon::take_over(config).await? } else { Beacon::bind(config)? };
        let address = beacon.address().context("no address")?;
        let (admin, clients) = (beacon.admin_address(), beacon.clients_address());
        info!(%address, %key, ?admin, ?clients, "beacon listens");
        beacon.serve(stop).await;
        Ok(())
    })
}
