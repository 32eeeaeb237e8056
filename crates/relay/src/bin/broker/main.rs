//! `cloudtaser-broker`: stands in the cluster and carries what it cannot read; see
//! [`cloudtaser_relay::broker`].

#![forbid(unsafe_code)]

use std::{
    fs,
    io::{self, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};
use cloudtaser_relay::{
    beacon::Beacon,
    broker::{
        Broker, Desk, Limits,
        keeper::{self, Standing},
        reverse,
    },
    client::{Client, Proxy},
    cluster::{self, Home},
    log,
    panics::vital,
    program::{block_on, of_arguments, raise_descriptors, run, say, stop_signal, unix_now},
    proto::invitation::Invitation,
};
use tokio::sync::oneshot;
use tracing::info;
use zeroize::Zeroizing;

/// Stands in the cluster, holds its key, and carries sessions that it cannot read to a beacon.
#[derive(Debug, Parser)]
#[command(
    name = "cloudtaser-broker",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "\
Examples:
  cloudtaser-broker join --state /var/lib/cloudtaser --invitation invitation
  cloudtaser-broker serve --state /var/lib/cloudtaser --listen 0.0.0.0:7443 --admin 127.0.0.1:9444
  cloudtaser-broker status --state /var/lib/cloudtaser

In reverse mode, without a beacon:
  cloudtaser-broker endpoint --state /var/lib/cloudtaser --address broker.example:443
  cloudtaser-broker join … --bridge-listen 0.0.0.0:443
  cloudtaser-broker serve … --bridge-listen 0.0.0.0:443

Signals: SIGTERM and SIGINT drain: nothing new is taken, and connections have --drain-seconds to end.

Exit: 0 when all went well, 64 for a command line that cannot be used, 69 where a file, an address or \
the bridge cannot be had, 77 where the bridge refuses."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// For reverse mode, where the bridge dials this broker: print what the bridge's file needs.
    Endpoint(Endpoint),
    /// Use an invitation: make the cluster's key, where there is none, and ask to be let in.
    Join(Join),
    /// Serve until SIGTERM, and keep the certificate good.
    Serve(Serve),
    /// Print the cluster's key and whether it is let in.
    Status(Status),
}

#[derive(Debug, Args)]
struct Endpoint {
    /// The folder of the cluster's keys; made where there is none.
    #[arg(long)]
    state: PathBuf,
    /// The public address of the broker, as the bridge dials it: host:port.
    #[arg(long)]
    address: String,
}

#[derive(Debug, Args)]
struct Join {
    /// The folder of the cluster's key and of what the bridge gives.
    #[arg(long)]
    state: PathBuf,
    /// A file with the invitation, or - for standard input. It is a secret: not on a command line.
    #[arg(long)]
    invitation: PathBuf,
    /// Wait so long for somebody at the bridge to say yes.
    #[arg(long, default_value_t = 0)]
    wait_seconds: u32,
    /// Reverse mode: dial no beacon, but wait here for the bridge to dial in.
    #[arg(long, value_name = "ADDRESS")]
    bridge_listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
struct Serve {
    /// The folder that `join` made.
    #[arg(long)]
    state: PathBuf,
    /// Where programs of the cluster connect. Who can connect there is of this cluster, for the
    /// bridge: let nobody else reach it.
    #[arg(long, default_value = "127.0.0.1:7443")]
    listen: SocketAddr,
    /// Reverse mode: dial no beacon, but listen here for the bridge to dial in. This address may be
    /// public: it lets nobody in but the bridge.
    #[arg(long, value_name = "ADDRESS")]
    bridge_listen: Option<SocketAddr>,
    /// Also open a door of this machine, behind which is OpenBao.
    #[arg(long)]
    door: Option<SocketAddr>,
    /// Where metrics and health are asked for.
    #[arg(long)]
    admin: Option<SocketAddr>,
    /// Connections at once; of one address a quarter of them, and 256 in any case.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections: u32,
    /// How long connections may go on after a stop.
    #[arg(long, default_value_t = 30)]
    drain_seconds: u16,
}

#[derive(Debug, Args)]
struct Status {
    /// The folder that `join` made.
    #[arg(long)]
    state: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return of_arguments(&error),
    };
    run(|| match cli.verb {
        Verb::Endpoint(args) => endpoint(&args),
        Verb::Join(args) => join(&args),
        Verb::Serve(args) => serve(&args),
        Verb::Status(args) => status(&args),
    })
}

/// Longer files are no invitation.
const MAX_INVITATION_LEN: u64 = 16 << 10;

fn read_invitation(path: &Path) -> Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    if path == Path::new("-") {
        io::stdin().take(MAX_INVITATION_LEN).read_to_string(&mut text)
    } else {
        fs::File::open(path)
            .and_then(|file| file.take(MAX_INVITATION_LEN).read_to_string(&mut text))
    }
    .with_context(|| format!("cannot read the invitation in {}", path.display()))?;
    Ok(text)
}

fn endpoint(args: &Endpoint) -> Result<()> {
    let port = args.address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    ensure!(port.is_some(), "{}: an address is host:port", args.address);
    let key = Home::endpoint(&args.state)?.public();
    say(&format!("[[beacon]]\naddress = {:?}\nkey = \"{key}\"\n", args.address))
}

/// The beacon of reverse mode, where that was asked for, and the client that goes by it.
fn way(
    client: Client,
    state: &Path,
    listen: Option<SocketAddr>,
    connections: u32,
) -> Result<(Client, Option<Beacon>)> {
    let Some(address) = listen else { return Ok((client, None)) };
    let (key, connections) = (Home::endpoint(state)?, usize::try_from(connections)?);
    let (beacon, entrance) = reverse::listen(address, key, client.bridge(), connections)?;
    Ok((client.within(entrance), Some(beacon)))
}

/// How long the bridge is waited for that is to dial in: its own pauses are half a minute.
const BRIDGE_PATIENCE: Duration = Duration::from_secs(60);
/// Who joins has a connection or two.
const JOINING: u32 = 16;

fn join(args: &Join) -> Result<()> {
    let invitation = cluster::invitation(&read_invitation(&args.invitation)?)?;
    let home = Home::prepare(&args.state, &invitation)?;
    let client = Client::new(home.key(), home.given()?)?;
    let key = home.key().public();
    say(&format!("this cluster's key is {key}\n"))?;
    if client.certificate().is_some() {
        return say("it is let in already\n");
    }
    block_on(async {
        let (client, beacon) = way(client, &args.state, args.bridge_listen, JOINING)?;
        let serving = beacon.map(|beacon| tokio::spawn(beacon.serve(std::future::pending())));
        if let Some(entrance) = client.entrance() {
            ensure!(
                reverse::until_dialled(entrance, BRIDGE_PATIENCE).await,
                "no bridge has dialled in: is what `endpoint` printed in its bridge.toml, and does \
                 its log say why?"
            );
        }
        let joined = ask_until(&home, &client, &invitation, args.wait_seconds).await;
        if let Some(serving) = serving {
            serving.abort();
        }
        joined
    })
}

/// Joins, and waits for somebody's yes for as long as was asked for.
async fn ask_until(
    home: &Home,
    client: &Client,
    invitation: &Invitation,
    wait_seconds: u32,
) -> Result<()> {
    let mut standing = keeper::ask(home, client, Some(invitation)).await?;
    if standing == Standing::Pending {
        say("it has joined; at the bridge: cloudtaser-bridge approve --config … KEY\n")?;
    }
    let mut left = wait_seconds;
    while standing == Standing::Pending && left > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        left -= 1;
        standing = keeper::ask(home, client, None).await?;
    }
    match standing {
        Standing::Enrolled(_) => say("it is let in\n"),
        Standing::Pending if wait_seconds == 0 => Ok(()),
        Standing::Pending => {
            anyhow::bail!("nobody has approved it yet; `serve` goes on asking")
        }
    }
}

fn serve(args: &Serve) -> Result<()> {
    if let Some(door) = args.door {
        ensure!(door.ip().is_loopback(), "{door}: the door is for the loopback alone");
    }
    let home = Arc::new(Home::open(&args.state)?);
    let client = Client::new(home.key(), home.given()?)?;
    log::start();
    raise_descriptors();
    block_on(async {
        let stop = stop_signal()?;
        let (client, beacon) = way(client, &args.state, args.bridge_listen, args.max_connections)?;
        let client = Arc::new(client);
        let limits = Limits {
            connections: usize::try_from(args.max_connections)?,
            per_source: Limits::per_source(args.max_connections),
            drain: Duration::from_secs(args.drain_seconds.into()),
            ..Limits::default()
        };
        let desk = Arc::new(Desk::of(Arc::clone(&client), home.key().clone()));
        let bound = Broker::bind(desk, args.listen, args.admin, limits).await;
        let broker = bound.context("cannot listen")?;
        let (leave, left) = oneshot::channel::<()>();
        let reverse = beacon.map(|beacon| {
            let bridges = beacon.address();
            info!(address = ?bridges.ok(), "bridges are waited for");
            tokio::spawn(vital(beacon.serve(async move { drop(left.await) })))
        });
        let keeping = tokio::spawn(vital(keeper::keep(Arc::clone(&home), Arc::clone(&client))));
        let door = match args.door {
            None => None,
            Some(door) => {
                let patience = Duration::from_secs(20);
                let proxy = Proxy::bind(client, door, patience).await;
                let proxy = proxy.with_context(|| format!("cannot listen on {door}"))?;
                Some(tokio::spawn(vital(proxy.serve(std::future::pending()))))
            }
        };
        let (address, key) = (broker.address()?, home.key().public());
        info!(%address, %key, admin = ?broker.admin_address(), "broker listens");
        broker.serve(stop).await;
        keeping.abort();
        if let Some(door) = door {
            door.abort();
        }
        // The bridge is sent away, so that it comes back to the next one soon.
        drop(leave);
        if let Some(reverse) = reverse {
            reverse.await.context("the beacon of reverse mode failed")?;
        }
        Ok(())
    })
}

fn status(args: &Status) -> Result<()> {
    let home = Home::open(&args.state)?;
    let given = home.given()?;
    let (key, until) = (home.key().public(), given.certificate.map(|one| one.not_after));
    if args.json {
        let bridge = given.admission.bridge().to_string();
        let all =
            serde_json::json!({ "key": key.to_string(), "bridge": bridge, "good_until": until });
        return say(&format!("{all}\n"));
    }
    let standing = match until.map(|until| until.saturating_sub(unix_now())) {
        None => "joined, and not approved yet".to_owned(),
        Some(0) => "its certificate ran out".to_owned(),
        Some(left) => format!("let in; the certificate is good for {} h", left.div_ceil(3600)),
    };
    say(&format!("{key}\n{standing}\n"))
}
