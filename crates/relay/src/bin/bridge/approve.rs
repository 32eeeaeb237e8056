//! Lets a cluster in, and believes the keys of its issuer: both are one person's word, after a look at
//! what the cluster's side shows.
//!
//! SECURITY: keys come by the tunnel, from whoever holds the cluster's key. They are believed by the
//! fingerprint that the person says, and for no other reason (docs/adr/0059).

use std::{fmt::Write as _, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use cloudtaser_relay::{
    bridge::{
        config::Config,
        release::{
            config::Issuer,
            issuer_keys::{Change, belief, issuers_of, parse, replace_file},
        },
    },
    enrol::{Act, Cluster, Standing, Store, state::Impossible},
    program::{say, unix_now},
    proto::enrol::{Belief, KeySet},
};
use cloudtaser_road::issuer::Fingerprint;
use cloudtaser_tls::{Digest, raw::PublicKey};

use super::people::{done, open};

#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// The bridge's configuration.
    #[arg(long)]
    config: PathBuf,
    /// Believe tokens by the keys that the cluster shows, and by no others: sha256:…, as `cloudtaser
    /// install` and `cloudtaser status` print it at the cluster. Also for a cluster that is let in
    /// already, after its API server's keys were rotated.
    #[arg(long, value_name = "FINGERPRINT")]
    issuer_keys: Option<Fingerprint>,
    /// The cluster's key: ed25519:…
    key: PublicKey,
}

impl Approve {
    pub(crate) fn run(self) -> Result<()> {
        let Self { config: path, key, issuer_keys } = self;
        let (config, store) = open(&path)?;
        let Some(fingerprint) = issuer_keys else {
            done(&store, |state, now| state.approve(&key, now))?;
            let state = store.read()?;
            let cluster = state.cluster(&key).context("the cluster is gone")?;
            let more = unbelieved(&config, cluster)?;
            return say(&format!("{key} is let in\n{more}"));
        };
        let digest = Digest::new()?;
        // All that may be wrong is found before anything is changed.
        let state = store.read()?;
        let (cluster, shown) = state.compared(&key, fingerprint, digest)?;
        let issuers = chosen(&config, cluster, shown)?;
        believe(&store, (&key, fingerprint), digest)?;
        let mut text = String::new();
        for issuer in issuers {
            put(issuer, shown, &mut text)?;
        }
        // Last, so that whoever is let in is believed.
        if cluster.standing == Standing::Pending {
            done(&store, |state, now| state.approve(&key, now))?;
            text.insert_str(0, &format!("{key} is let in\n"));
        }
        say(&text)
    }
}

/// Writes down that a person said so.
fn believe(store: &Store, (key, print): (&PublicKey, Fingerprint), digest: Digest) -> Result<()> {
    let by = format!("uid {}", nix::unistd::getuid());
    // Once more, for what was shown meanwhile.
    store.act(&by, unix_now(), |state| match state.compared(key, print, digest) {
        Ok(_) => (Ok(()), Some(Act::Believed(*key, print))),
        Err(impossible) => (Err::<(), Impossible>(impossible), None),
    })??;
    Ok(())
}

/// Where the configuration has these keys go.
fn chosen<'a>(config: &'a Config, cluster: &Cluster, shown: &KeySet) -> Result<Vec<&'a Issuer>> {
    let release = config.release.as_ref();
    let release = release.context("the configuration has no [release], so no token is believed")?;
    let found: Vec<&Issuer> = issuers_of(&release.issuers, &cluster.name, shown).collect();
    ensure!(!found.is_empty(), "nothing was changed: {}", no_issuer(cluster, shown));
    Ok(found)
}

fn no_issuer(cluster: &Cluster, shown: &KeySet) -> String {
    let name = &cluster.name;
    format!(
        "the bridge is told of no such issuer. Add to its configuration, and start it again:\n\n  \
         [[release.issuer]]\n  name = \"{name}\"\n  client = \"{name}\"\n  issuer = \"{}\"\n  \
         audience = \"cloudtaser\"\n  mount = \"{name}\"\n",
        shown.issuer()
    )
}

/// Puts the keys into an issuer's file, which the running bridge reads anew.
fn put(issuer: &Issuer, shown: &KeySet, text: &mut String) -> Result<()> {
    let set = shown.to_jwks();
    let new = parse(set.as_bytes())?;
    let change = Change::between(&issuer.keys.now(), &new).unwrap_or_default();
    replace_file(issuer.keys.path(), set.as_bytes())?;
    let _never = writeln!(text, "{}: tokens are believed by", issuer.name);
    for named in shown.keys() {
        let _never = writeln!(text, "  {named}");
    }
    for gone in change.gone {
        let _never = writeln!(text, "  and no longer by {gone}");
    }
    if !change.added.is_empty() {
        let _never = writeln!(
            text,
            "OpenBao verifies the same tokens, and takes these keys as jwt_validation_pubkeys from\n  \
             cloudtaser-bridge issuer-keys --config FILE --issuer {} --pem",
            issuer.name
        );
    }
    Ok(())
}

/// What is left to do for the keys of a cluster's issuer, if anything is.
pub(super) fn unbelieved(config: &Config, cluster: &Cluster) -> Result<String> {
    let issuers = config.release.as_ref().map(|release| &*release.issuers);
    let (Some(shown), Some(issuers)) = (&cluster.keys, issuers) else { return Ok(String::new()) };
    let print = shown.fingerprint(Digest::new()?);
    Ok(match belief(issuers, &cluster.name, shown) {
        Belief::Believed => String::new(),
        Belief::NoIssuer => format!("its issuer's keys wait: {}", no_issuer(cluster, shown)),
        _ => format!(
            "its issuer's keys wait: compare {print} with what the cluster's side shows, then\n  \
             cloudtaser bridge approve --config FILE {} --issuer-keys {print}\n",
            cluster.key()
        ),
    })
}
