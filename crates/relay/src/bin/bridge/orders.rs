//! What people sign for a bridge, and how it gets there: approvals of releases, and break-glass.
//!
//! Signing needs a person's key and nothing of the bridge but its public one; taking an order needs
//! the bridge's folder and no key.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand, ValueEnum};
use cloudtaser_core::{
    Secret,
    release::{
        order::{Act, Order, SignedOrder, signed_bytes},
        policy::{
            self, Policy, PolicyFile,
            terms::{Relax, SignerKey},
        },
    },
};
use cloudtaser_evidence::Digest;
use cloudtaser_relay::{
    bridge::{
        config::Config,
        release::{
            ORDERS,
            orders::{Believed, OrderFileError, believe, committed, put, texts},
        },
    },
    program::{say, unix_now},
};
use cloudtaser_tls::raw::{KeyPair, PublicKey};
use data_encoding::HEXLOWER;
use serde_json::json;

#[derive(Debug, Subcommand)]
pub(crate) enum OrderVerb {
    /// Sign that a path may be released to a workload. Print the order, for whoever runs the bridge.
    ApproveRelease(Approve),
    /// Sign that demands of a rule are set aside for a while. Print the order.
    BreakGlass(BreakGlass),
    /// Take an order: look at it as the bridge does, and put it where the bridge looks.
    Order(Take),
    /// Print the orders that are there, and which are in force.
    Orders(List),
}

#[derive(Debug, Args)]
pub(crate) struct By {
    /// Your private key, as `keygen` or `openssl genpkey -algorithm ed25519` makes it.
    #[arg(long)]
    key: PathBuf,
    /// Your name as a `[[signer]]` of the policy.
    #[arg(long = "as", value_name = "NAME")]
    name: String,
    /// The public key of the bridge that it is for: ed25519:…
    #[arg(long)]
    bridge: PublicKey,
    /// Why. It is in the log for good.
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct Approve {
    #[command(flatten)]
    by: By,
    /// The path, such as secret/pay/db.
    #[arg(long)]
    path: String,
    /// The workload: issuer:namespace/serviceaccount.
    #[arg(long)]
    workload: String,
    /// For how long, from now on.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=168))]
    hours: u16,
}

#[derive(Debug, Args)]
pub(crate) struct BreakGlass {
    #[command(flatten)]
    by: By,
    /// The rule of the policy.
    #[arg(long)]
    rule: String,
    /// What of it is set aside.
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    relax: Vec<Demand>,
    /// For how long, from now on.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=720))]
    minutes: u16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Demand {
    /// That people approve.
    Approvals,
    /// How the launch is protected.
    Level,
    /// How much a pod gets.
    Limit,
}

#[derive(Debug, Args)]
pub(crate) struct Take {
    /// The bridge's configuration.
    #[arg(long)]
    config: PathBuf,
    /// The order; `-` is standard input.
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// The bridge's configuration.
    #[arg(long)]
    config: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl OrderVerb {
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::ApproveRelease(args) => approve(args),
            Self::BreakGlass(args) => break_glass(args),
            Self::Order(args) => take(&args),
            Self::Orders(args) => list(&args),
        }
    }
}

fn approve(args: Approve) -> Result<()> {
    let path = policy::canonical(&args.path).context("the path is none: write mount/path")?;
    let mut blinding = [0; 32];
    cloudtaser_tls::random(&mut blinding)?;
    let blinding = Digest::new(blinding);
    let name = committed(&path, blinding).context("the path is too long")?;
    let act = Act::Approve { name: name.to_string(), workload: args.workload };
    let signed = sign(args.by, act, u64::from(args.hours) * 3600)?;
    let (path, blinding) = (Some(path), Some(blinding.to_string()));
    print(&SignedOrder { path, blinding, ..signed })
}

fn break_glass(args: BreakGlass) -> Result<()> {
    let relax = args.relax.iter().map(|demand| match demand {
        Demand::Approvals => Relax::Approvals,
        Demand::Level => Relax::Level,
        Demand::Limit => Relax::Limit,
    });
    let act = Act::BreakGlass { rule: args.rule, relax: relax.collect() };
    print(&sign(args.by, act, u64::from(args.minutes) * 60)?)
}

fn sign(by: By, act: Act, seconds: u64) -> Result<SignedOrder> {
    let shown = by.key.display().to_string();
    let pem = std::fs::read(&by.key).with_context(|| format!("cannot read {shown}"))?;
    let key =
        KeyPair::from_pem(&Secret::new(pem)).with_context(|| format!("the key in {shown}"))?;
    let mut id = [0; 16];
    cloudtaser_tls::random(&mut id)?;
    let from = unix_now();
    let bridge = SignerKey::try_from(by.bridge.to_string())?;
    let (id, until) = (HEXLOWER.encode(&id), from + seconds);
    let order = Order { bridge, by: by.name, id, from, until, reason: by.reason, act };
    let order = order.to_text()?;
    let signature = HEXLOWER.encode(&key.sign(&signed_bytes(&order))?);
    Ok(SignedOrder { order, signature, path: None, blinding: None })
}

fn print(signed: &SignedOrder) -> Result<()> {
    let text = serde_json::to_string(signed)?;
    // What no bridge would take is not handed out.
    SignedOrder::parse(&text)?;
    say(&format!("{text}\n"))
}

/// What a bridge goes by.
struct Place {
    folder: PathBuf,
    policy: Policy,
    bridge: PublicKey,
}

impl Place {
    fn read(config: &Path) -> Result<Self> {
        let config = Config::read(config)?;
        let bridge = config.key.public();
        let release = config.release.context("the configuration has no [release]")?;
        let shown = release.policy_file.display().to_string();
        let text = std::fs::read_to_string(&release.policy_file);
        let text = text.with_context(|| format!("cannot read {shown}"))?;
        let file: PolicyFile =
            toml::from_str(&text).with_context(|| format!("{shown} is no policy"))?;
        let policy = Policy::compile(file).with_context(|| format!("{shown} cannot be used"))?;
        Ok(Self { folder: release.state_dir.join(ORDERS), policy, bridge })
    }

    fn believe(&self, text: &str) -> Result<Believed, OrderFileError> {
        believe(text.trim(), &self.policy, &self.bridge, unix_now())
    }
}

fn take(args: &Take) -> Result<()> {
    /// More than any order has.
    const MOST: u64 = 64 << 10;
    let shown = args.file.display();
    let mut text = String::new();
    if args.file.as_os_str() == "-" {
        std::io::stdin().take(MOST).read_to_string(&mut text).context("cannot read the order")?;
    } else {
        let file =
            std::fs::File::open(&args.file).with_context(|| format!("cannot read {shown}"))?;
        file.take(MOST)
            .read_to_string(&mut text)
            .with_context(|| format!("cannot read {shown}"))?;
    }
    let place = Place::read(&args.config)?;
    let believed = place.believe(&text)?;
    put(&place.folder, &believed.order.id, text.trim())?;
    say(&format!("{}\n", believed.in_words()))
}

fn list(args: &List) -> Result<()> {
    let place = Place::read(&args.config)?;
    let now = unix_now();
    let mut rows = Vec::new();
    for (file, text) in texts(&place.folder).context("cannot read the folder of orders")? {
        let file = file.display().to_string();
        rows.push(match place.believe(&text) {
            Ok(believed) => {
                let in_force = believed.order.is_in_force(now);
                let (hash, words) = (believed.hash().to_string(), believed.in_words());
                json!({ "file": file, "in_force": in_force, "hash": hash, "says": words,
                    "order": believed.order, "path": believed.path })
            }
            Err(error) => {
                json!({ "file": file, "in_force": false, "says": format!("not believed: {error}") })
            }
        });
    }
    if args.json {
        return say(&format!("{}\n", serde_json::to_string(&rows)?));
    }
    let word = |row: &serde_json::Value| {
        let in_force = row.get("in_force").and_then(serde_json::Value::as_bool).unwrap_or(false);
        let says = row.get("says").and_then(serde_json::Value::as_str).unwrap_or_default();
        format!("{} {says}\n", if in_force { "in force   " } else { "not in force" })
    };
    let text = rows.iter().map(word).collect::<String>();
    ensure!(!text.is_empty(), "there are no orders in {}", place.folder.display());
    say(&text)
}
