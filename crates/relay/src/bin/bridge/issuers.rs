//! Keys of issuers: which are believed, how others come in their place, and how OpenBao gets them.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Subcommand};
use cloudtaser_relay::{
    bridge::{
        config::Config,
        release::{
            config::Issuer,
            issuer_keys::{Change, parse, replace_file},
        },
    },
    program::say,
};
use cloudtaser_road::jwks::Jwks;

/// Longer ones are no set of keys.
const MAX_LEN: u64 = 1 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum Issuers {
    /// Print the keys by which tokens of clusters are believed, or put others in their place.
    IssuerKeys(IssuerKeys),
}

#[derive(Debug, Args)]
pub(crate) struct IssuerKeys {
    /// Print the keys of this file as PEM, for jwt_validation_pubkeys in OpenBao.
    #[arg(required_unless_present = "config", conflicts_with = "config")]
    jwks: Option<PathBuf>,
    /// The bridge's configuration.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Of this [[release.issuer]] alone, by its name.
    #[arg(long, requires = "config")]
    issuer: Option<String>,
    /// Believe the keys of this file from now on, and no others; - is standard input. It is what
    /// `kubectl get --raw /openid/v1/jwks` prints. A bridge that runs hears of it by itself.
    #[arg(long, value_name = "FILE", requires = "issuer")]
    take: Option<PathBuf>,
    /// Take them although none of them is believed already, which looks like another cluster's.
    #[arg(long, requires = "take")]
    all_new: bool,
    /// Print them as PEM, for jwt_validation_pubkeys in OpenBao.
    #[arg(long, requires = "issuer", conflicts_with_all = ["take", "json"])]
    pem: bool,
    /// As JSON.
    #[arg(long, requires = "config", conflicts_with = "take")]
    json: bool,
}

impl Issuers {
    pub(crate) fn run(self) -> Result<()> {
        let Self::IssuerKeys(args) = self;
        let Some(config) = &args.config else {
            let file = args.jwks.unwrap_or_default();
            let text = read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            return say(&pem(&parse(&text)?));
        };
        let config = Config::read(config)?;
        let all = config.release.context("the configuration has no [release]")?.issuers;
        let wanted =
            |issuer: &&Issuer| args.issuer.as_ref().is_none_or(|name| *name == issuer.name);
        let chosen: Vec<&Issuer> = all.iter().filter(wanted).collect();
        let Some(first) = chosen.first() else {
            let names: Vec<&str> = all.iter().map(|issuer| &*issuer.name).collect();
            bail!("there is no such issuer; there is {}", names.join(", "));
        };
        match &args.take {
            Some(file) => take(first, file, args.all_new),
            None if args.pem => say(&pem(&first.keys.now())),
            None if args.json => {
                let keys = |issuer: &&Issuer| (issuer.name.clone(), names(&issuer.keys.now()));
                let all: BTreeMap<_, _> = chosen.iter().map(keys).collect();
                say(&format!("{}\n", serde_json::to_string(&all)?))
            }
            None => say(&chosen.into_iter().map(shown).collect::<String>()),
        }
    }
}

fn names(keys: &Jwks) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

fn shown(issuer: &Issuer) -> String {
    let keys = names(&issuer.keys.now()).join("\n  ");
    format!("{} ({})\n  {keys}\n", issuer.name, issuer.keys.path().display())
}

/// Several are a list to OpenBao.
fn pem(keys: &Jwks) -> String {
    keys.iter().map(|named| named.key().to_pem()).collect::<Vec<_>>().join(",\n")
}

fn take(issuer: &Issuer, file: &Path, all_new: bool) -> Result<()> {
    let text = read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let old = issuer.keys.now();
    let new = parse(&text).with_context(|| format!("{} is no set of keys", file.display()))?;
    let Some(change) = Change::between(&old, &new) else {
        return say("these are the keys that it has\n");
    };
    // Rotated keys overlap for as long as tokens of the old ones are good.
    ensure!(
        all_new || new.iter().any(|named| old.iter().any(|other| named == other)),
        "none of these keys is known yet: is this another cluster's file? If all are meant to be \
         new, say --all-new"
    );
    replace_file(issuer.keys.path(), &text)?;
    let lines = |sign, keys: Vec<String>| {
        keys.into_iter().map(move |key| format!("{sign} {key}\n")).collect::<String>()
    };
    say(&(lines('+', change.added) + &lines('-', change.gone)))
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    if file == Path::new("-") {
        io::stdin().take(MAX_LEN).read_to_end(&mut text)?;
    } else {
        fs::File::open(file)?.take(MAX_LEN).read_to_end(&mut text)?;
    }
    Ok(text)
}
