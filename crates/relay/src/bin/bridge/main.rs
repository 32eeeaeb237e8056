//! `cloudtaser-bridge`: stands beside OpenBao and dials out; see [`cloudtaser_relay::bridge`].

#![forbid(unsafe_code)]

mod approve;
mod issuers;
mod log_key;
mod nodes;
mod orders;
mod people;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand};
use cloudtaser_relay::{
    bridge::{
        Bridge, admit,
        config::Config,
        release::{Releaser, issuer_keys::Look, receipt},
    },
    client::{Client, Proxy},
    enrol::Store,
    log,
    panics::vital,
    program::{Signal, block_on, hangup, keygen, of_arguments, run, say, stop_signal, ticketgen},
};
use cloudtaser_sys::heap::SealedHeap;
use cloudtaser_tls::raw::{KeyPair, PublicKey};
use tracing::{info, warn};

/// Whatever touches a token or a value on its way allocates (docs/adr/0024).
#[global_allocator]
static HEAP: SealedHeap = SealedHeap::new();

use self::{issuers::Issuers, nodes::Nodes, orders::OrderVerb, people::People};

/// How soon an order is heard that nobody makes use of yet.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Stands beside OpenBao, dials out to beacons, and ends the sessions that they cannot open.
#[derive(Debug, Parser)]
#[command(
    name = "cloudtaser-bridge",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "\
Examples:
  cloudtaser-bridge init .
  cloudtaser-bridge check-config bridge.toml
  cloudtaser-bridge serve --config bridge.toml
  cloudtaser-bridge invite --config bridge.toml --name prod > invitation
  cloudtaser-bridge status --config bridge.toml
  cloudtaser-bridge approve --config bridge.toml ed25519:KEY --issuer-keys sha256:FINGERPRINT

Signals: SIGHUP reads the release policy and the keys of issuers anew. SIGTERM and SIGINT drain: \
nothing new is taken, and sessions have drain_seconds to end.

Exit: 0 when all went well, 64 for a command line or a configuration that cannot be used, 69 where a \
file or a peer cannot be had, 77 where somebody refuses."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make the bridge's keys and an empty enrolment in a folder, and print the public key.
    Init {
        /// Where bridge.pem, tickets.hex and the folder enrolment go.
        folder: PathBuf,
    },
    /// Serve until SIGTERM.
    Serve {
        /// The configuration.
        #[arg(long)]
        config: PathBuf,
    },
    /// Read a configuration, say what is wrong with it, and end.
    CheckConfig {
        /// The file.
        config: PathBuf,
    },
    /// Print the hash by which the audit file names a path.
    AuditHash {
        /// The configuration.
        #[arg(long)]
        config: PathBuf,
        /// The path, such as secret/shop/db.
        path: String,
    },
    /// Print the file with which a client finds this bridge and is let in.
    Admit(Admit),
    /// Make a client's key, and print its public half.
    Keygen {
        /// The new file.
        file: PathBuf,
    },
    /// Give the log of receipts another key.
    RotateLogKey(log_key::RotateArgs),
    #[command(flatten)]
    Issuers(Issuers),
    #[command(flatten)]
    Nodes(Nodes),
    #[command(flatten)]
    People(People),
    #[command(flatten)]
    Orders(OrderVerb),
    /// At the client: open a door behind which is OpenBao.
    Proxy(ProxyArgs),
}

#[derive(Debug, Args)]
struct Admit {
    /// The bridge's configuration.
    #[arg(long)]
    config: PathBuf,
    /// The client's public key, as `keygen` prints it.
    #[arg(long)]
    client_key: PublicKey,
    /// For how many days from today.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(0..=i64::from(admit::MAX_DAYS)))]
    days: u16,
    /// How many tunnels it may have at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    max_tunnels: u16,
    /// As JSON, which is what a wrapper reads.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ProxyArgs {
    /// The file that `admit` printed.
    #[arg(long)]
    via: PathBuf,
    /// The client's private key.
    #[arg(long)]
    key: PathBuf,
    /// Where to listen. Whoever can connect there can talk to OpenBao.
    #[arg(long, default_value = "127.0.0.1:8200")]
    listen: SocketAddr,
    /// Listen also where other machines can connect.
    #[arg(long)]
    beyond_loopback: bool,
    /// How long to try for each connection.
    #[arg(long, default_value_t = 20)]
    patience_seconds: u16,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return of_arguments(&error),
    };
    run(|| match cli.verb {
        Verb::Init { folder } => {
            let public = keygen(&folder.join("bridge.pem"))?;
            ticketgen(&folder.join("tickets.hex"))?;
            Store::create(&folder.join("enrolment"))?;
            say(&format!("{public}\n"))
        }
        Verb::Serve { config } => serve(Config::read(&config)?),
        Verb::CheckConfig { config } => {
            Config::read(&config)?;
            say("the configuration is good\n")
        }
        Verb::AuditHash { config, path } => audit_hash(Config::read(&config)?, &path),
        Verb::Admit(args) => print_admission(&args),
        Verb::Keygen { file } => say(&format!("{}\n", keygen(&file)?)),
        Verb::Issuers(issuers) => issuers.run(),
        Verb::RotateLogKey(args) => log_key::run(&args),
        Verb::Nodes(nodes) => nodes.run(),
        Verb::People(people) => people.run(),
        Verb::Orders(verb) => verb.run(),
        Verb::Proxy(args) => proxy(&args),
    })
}

fn serve(config: Config) -> anyhow::Result<()> {
    // SECURITY: before anything is read, so that no other process of this uid attaches.
    cloudtaser_sys::harden::forbid_dumps().context("cannot forbid dumps")?;
    log::start();
    block_on(async {
        let stop = stop_signal()?;
        let (key, clients) = (config.key.public(), config.clients.len());
        let bridge = Bridge::new(config)?;
        if let Some(releaser) = bridge.releaser() {
            releaser.demand_sealed()?;
            tokio::spawn(vital(look_at_orders(Arc::clone(&releaser))));
            let hearing = Arc::clone(&releaser).hear_openbao();
            tokio::spawn(vital(async move {
                if let Err(error) = hearing.await {
                    warn!(error = %error, "OpenBao's audit device is not heard");
                }
            }));
            tokio::spawn(vital(reload_on_hangup(releaser, hangup()?)));
        }
        let releases = bridge.releaser().is_some();
        info!(%key, clients, releases, "bridge begins");
        bridge.serve(stop).await;
        Ok(())
    })
}

/// Says aloud what people ordered, soon after they did, hears of keys that came or went, and writes
/// counts for whoever wants them.
async fn look_at_orders(releaser: Arc<Releaser>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        let releaser = Arc::clone(&releaser);
        let looked = tokio::task::spawn_blocking(move || {
            releaser.look_at_keys(Look::IfChanged);
            releaser.look_at_orders();
            releaser.write_metrics()
        });
        if let Ok(Err(error)) = looked.await {
            warn!(error = %error, "counts cannot be written");
        }
    }
}

/// Reads the release policy anew whenever it is asked to.
async fn reload_on_hangup(releaser: Arc<Releaser>, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        match releaser.reload() {
            Ok(hash) => info!(policy = hash, "the release policy was read anew"),
            Err(error) => {
                warn!(error = log::chain(&error), "the release policy stays as it was");
            }
        }
    }
}

fn audit_hash(config: Config, path: &str) -> anyhow::Result<()> {
    let release = config.release.context("the configuration has no [release]")?;
    say(&format!("{}\n", receipt::hash_of(&release.state_dir, path)?))
}

fn print_admission(args: &Admit) -> anyhow::Result<()> {
    let config = Config::read(&args.config)?;
    let known = config.clients.iter().any(|client| client.key == args.client_key);
    ensure!(known, "add the key to a [[client]] of the configuration first");
    let file = admit::client_file(&config, &args.client_key, args.days, args.max_tunnels)?;
    if args.json {
        return say(&format!("{}\n", serde_json::to_string(&file)?));
    }
    say(&admit::as_toml(&file, &args.client_key)?)
}

fn proxy(args: &ProxyArgs) -> anyhow::Result<()> {
    ensure!(
        args.beyond_loopback || args.listen.ip().is_loopback(),
        "{} is not of the loopback: say --beyond-loopback if others are to connect",
        args.listen
    );
    let pem =
        std::fs::read(&args.key).with_context(|| format!("cannot read {}", args.key.display()))?;
    let key = KeyPair::from_pem(&pem.into())?;
    let client = Client::read(&args.via, &key)?;
    log::start();
    block_on(async {
        let stop = stop_signal()?;
        let patience = Duration::from_secs(args.patience_seconds.into());
        let bound = Proxy::bind(client, args.listen, patience).await;
        let proxy = bound.with_context(|| format!("cannot listen on {}", args.listen))?;
        info!(address = %proxy.address()?, "proxy listens");
        proxy.serve(stop).await;
        Ok(())
    })
}
