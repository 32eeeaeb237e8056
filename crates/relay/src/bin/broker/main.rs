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
    broker::{
        Broker, Desk, Limits,
        keeper::{self, Standing},
    },
    client::{Client, Proxy},
    cluster::{self, Home},
    log,
    panics::vital,
    program::{block_on, of_arguments, run, say, stop_signal, unix_now},
};
use tracing::info;
use zeroize::Zeroizing;

/// Stands in the cluster, holds its key, and carries sessions that it cannot read to a beacon.
#[derive(Debug, Parser)]
#[command(name = "cloudtaser-broker", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Use an invitation: make the cluster's key, where there is none, and ask to be let in.
    Join(Join),
    /// Serve until SIGTERM, and keep the certificate good.
    Serve(Serve),
    /// Print the cluster's key and whether it is let in.
    Status(Status),
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
    /// Also open a door of this machine, behind which is OpenBao.
    #[arg(long)]
    door: Option<SocketAddr>,
    /// Where metrics and health are asked for.
    #[arg(long)]
    admin: Option<SocketAddr>,
    /// Connections at once.
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
        let mut standing = keeper::ask(&home, &client, Some(&invitation)).await?;
        if standing == Standing::Pending {
            say("it has joined; at the bridge: cloudtaser-bridge approve --config … KEY\n")?;
        }
        let mut left = args.wait_seconds;
        while standing == Standing::Pending && left > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            left -= 1;
            standing = keeper::ask(&home, &client, None).await?;
        }
        match standing {
            Standing::Enrolled(_) => say("it is let in\n"),
            Standing::Pending if args.wait_seconds == 0 => Ok(()),
            Standing::Pending => {
                anyhow::bail!("nobody has approved it yet; `serve` goes on asking")
            }
        }
    })
}

fn serve(args: &Serve) -> Result<()> {
    if let Some(door) = args.door {
        ensure!(door.ip().is_loopback(), "{door}: the door is for the loopback alone");
    }
    let home = Arc::new(Home::open(&args.state)?);
    let client = Arc::new(Client::new(home.key(), home.given()?)?);
    log::start();
    block_on(async {
        let stop = stop_signal()?;
        let limits = Limits {
            connections: usize::try_from(args.max_connections)?,
            drain: Duration::from_secs(args.drain_seconds.into()),
            ..Limits::default()
        };
        let desk = Arc::new(Desk::of(Arc::clone(&client), home.key().clone()));
        let bound = Broker::bind(desk, args.listen, args.admin, limits).await;
        let broker = bound.context("cannot listen")?;
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
