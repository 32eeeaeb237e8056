//! What people at the bridge decide: who is invited, let in, put out. Each verb changes the folder
//! of the enrolment, at which a running bridge looks.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use cloudtaser_relay::{
    bridge::{
        config::Config,
        release::{
            issuer_keys::belief,
            standing::{Standing as OpenBao, standing},
        },
    },
    enrol::{
        Act, Cluster, Invited, Standing, State, Store,
        state::{Impossible, NewInvitation, hash_of},
    },
    program::{say, unix_now},
    proto::{
        enrol::{Belief, DayBytes, InvitationId, InvitationSecret},
        invitation::Invitation,
        rendezvous::Epoch,
        ticket::ClientTag,
    },
};
use cloudtaser_tls::{Digest, raw::PublicKey};

use super::approve::{Approve, unbelieved};

/// Tunnels of who has an invitation only: one to join, one to ask, and what was not closed yet.
const INVITED_TUNNELS: u16 = 4;
const MAX_HOURS: i64 = 168;
const NO_ENROLMENT: &str = "the configuration has no enrolment: set enrolment = \"enrolment\", the folder \
                            that `init` made beside the keys";

#[derive(Debug, Subcommand)]
pub(crate) enum People {
    /// Print an invitation for one cluster. It is shown once and kept nowhere: only its hash is.
    Invite(Invite),
    /// Let a cluster in that has joined, by its key in full, and believe its issuer's keys, by their
    /// fingerprint: both as the cluster's side shows them.
    Approve(Approve),
    /// Put a cluster out: its sessions end at once, and it cannot come back with the same key.
    Revoke(Named),
    /// Print how OpenBao stands, and who is invited, waits, is in, is out.
    Status(Status),
}

#[derive(Debug, Args)]
pub(crate) struct Invite {
    /// The bridge's configuration.
    #[arg(long)]
    config: PathBuf,
    /// What you call the cluster.
    #[arg(long)]
    name: String,
    /// For how long the invitation is good.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=MAX_HOURS))]
    hours: u16,
    /// How many tunnels the cluster may have at once.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u16).range(1..))]
    max_tunnels: u16,
    /// Let in at once whoever uses it first, without a look at its key: for one that goes straight
    /// from here into `cloudtaser install`.
    #[arg(long)]
    approved: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The bridge's configuration.
    #[arg(long)]
    config: PathBuf,
    /// The cluster's key: ed25519:…
    key: PublicKey,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The bridge's configuration.
    #[arg(long)]
    config: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl People {
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Invite(args) => invite(args),
            Self::Approve(args) => args.run(),
            Self::Revoke(Named { config, key }) => {
                let (_, store) = open(&config)?;
                done(&store, |state, _| state.revoke(&key))?;
                say(&format!("{key} is put out\n"))
            }
            Self::Status(Status { config, json }) => say(&status(&Config::read(&config)?, json)?),
        }
    }
}

pub(super) fn open(config: &std::path::Path) -> Result<(Config, Store)> {
    let config = Config::read(config)?;
    let store = store(&config)?.context(NO_ENROLMENT)?;
    Ok((config, store))
}

fn store(config: &Config) -> Result<Option<Store>> {
    let store = config.enrolment.as_ref().map(|enrolment| Store::open(&enrolment.folder));
    Ok(store.transpose()?)
}

/// How OpenBao stands, where this bridge releases, and who is enrolled, where clusters are.
fn status(config: &Config, json: bool) -> Result<String> {
    let openbao = config.release.as_ref().map(standing).transpose()?;
    let state = store(config)?.map(|store| store.read()).transpose()?;
    if openbao.is_none() && state.is_none() {
        bail!(NO_ENROLMENT);
    }
    if json {
        return as_json(openbao.as_ref(), state.as_ref(), config);
    }
    let mut text = openbao.map(|openbao| format!("{openbao}\n")).unwrap_or_default();
    if let Some(state) = &state {
        text.push_str(&as_text(state, unix_now()));
        for cluster in state.clusters.iter().filter(|one| one.standing != Standing::Revoked) {
            let left = unbelieved(config, cluster)?;
            if !left.is_empty() {
                text.push_str(&format!("\n{}: {left}", cluster.name));
            }
        }
    }
    Ok(text)
}

pub(super) fn done(
    store: &Store,
    act: impl FnOnce(&mut State, u64) -> Result<Act, Impossible>,
) -> Result<()> {
    let by = format!("uid {}", nix::unistd::getuid());
    let now = unix_now();
    store.act(&by, now, |state| match act(state, now) {
        Ok(act) => (Ok(()), Some(act)),
        Err(impossible) => (Err(impossible), None),
    })??;
    Ok(())
}

fn invite(args: Invite) -> Result<()> {
    let (config, store) = open(&args.config)?;
    let digest = Digest::new()?;
    let (mut id, mut secret) = ([0; 16], zeroize::Zeroizing::new([0; 32]));
    cloudtaser_tls::random(&mut id)?;
    cloudtaser_tls::random(&mut *secret)?;
    let (id, secret) = (InvitationId(id), InvitationSecret::new(*secret));
    let now = unix_now();
    let not_after = now + u64::from(args.hours) * 3600;
    let secret_hash = hash_of(digest, &secret);
    let (name, max_tunnels, approved) = (args.name, args.max_tunnels, args.approved);
    let tag = tag_of(digest, id);
    let day = |day| {
        let key = config.tickets.day(digest, day).client(digest, tag, INVITED_TUNNELS);
        (day, DayBytes::new(key.expose()))
    };
    let invitation = Invitation {
        bridge: config.key.public(),
        id,
        secret,
        not_after,
        tag,
        max_tunnels: INVITED_TUNNELS,
        beacons: config
            .beacons
            .iter()
            .map(|beacon| (beacon.for_clients().address, beacon.domain().to_owned()))
            .collect(),
        days: (Epoch::of(now).0..=Epoch::of(not_after).0).map(day).collect(),
    };
    let text = invitation.to_text(digest);
    done(&store, |state, now| {
        state.invite(NewInvitation { id, secret_hash, name, not_after, max_tunnels, approved }, now)
    })?;
    say(&format!("{}\n", *text))
}

/// The pseudonym of an invitation's tickets follows from its number.
fn tag_of(digest: Digest, id: InvitationId) -> ClientTag {
    let hash = digest.sha256(&[b"cte1/invitation tag", &id.0]);
    let mut tag = [0; 8];
    tag.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    ClientTag(tag)
}

fn as_json(openbao: Option<&OpenBao>, state: Option<&State>, config: &Config) -> Result<String> {
    let digest = Digest::new()?;
    let issuers = config.release.as_ref().map_or(&[][..], |release| &release.issuers);
    let keys = |cluster: &Cluster| {
        let shown = cluster.keys.as_ref()?;
        let names: Vec<String> = shown.keys().iter().map(ToString::to_string).collect();
        Some(serde_json::json!({
            "issuer": shown.issuer(),
            "fingerprint": shown.fingerprint(digest).to_string(),
            "keys": names,
            "believed": belief(issuers, &cluster.name, shown) == Belief::Believed,
        }))
    };
    let cluster = |cluster: &Cluster| {
        serde_json::json!({
            "key": cluster.key().to_string(),
            "name": cluster.name,
            "standing": cluster.standing,
            "joined": cluster.joined,
            "good_until": cluster.good_until,
            "max_tunnels": cluster.max_tunnels,
            "issuer_keys": keys(cluster),
        })
    };
    let invited = |invited: &Invited| {
        serde_json::json!({
            "invitation": data_encoding::HEXLOWER.encode(&invited.id().0),
            "name": invited.name,
            "not_after": invited.not_after,
            "used_by": invited.used_by.map(|key| key.to_string()),
            "approved": invited.approved,
        })
    };
    let mut all = match state {
        None => serde_json::json!({}),
        Some(state) => serde_json::json!({
            "revision": state.revision,
            "clusters": state.clusters.iter().map(cluster).collect::<Vec<_>>(),
            "invitations": state.invitations.iter().map(invited).collect::<Vec<_>>(),
        }),
    };
    if let (Some(openbao), Some(all)) = (openbao, all.as_object_mut()) {
        all.insert("openbao".to_owned(), openbao.word().into());
    }
    Ok(format!("{}\n", serde_json::to_string_pretty(&all)?))
}

fn as_text(state: &State, now: u64) -> String {
    let mut text = String::new();
    let names = state.clusters.iter().map(|cluster| cluster.name.len());
    let widest = names.chain(state.invitations.iter().map(|one| one.name.len())).max().unwrap_or(0);
    let mut line = |name: &str, standing: &str, key: &str, more: &str| {
        // Writing to a String does not fail.
        let _never = writeln!(text, "{name:widest$}  {standing:8}  {key}  {more}");
    };
    for cluster in &state.clusters {
        let until = cluster.good_until.saturating_sub(now).div_ceil(3600);
        let more = match cluster.standing {
            Standing::Approved if until > 0 => format!("certificate good for {until} h"),
            Standing::Approved => "no good certificate".to_owned(),
            Standing::Pending => {
                "compare this key with what the cluster shows, then approve it".into()
            }
            Standing::Revoked => String::new(),
        };
        line(&cluster.name, &cluster.standing.to_string(), &cluster.key().to_string(), &more);
    }
    for invited in state.invitations.iter().filter(|one| one.used_by.is_none()) {
        let left = invited.not_after.saturating_sub(now).div_ceil(3600);
        let more = if left > 0 { format!("for {left} h") } else { "ran out".to_owned() };
        let more = if invited.approved { format!("{more}, approved beforehand") } else { more };
        line(&invited.name, "invited", "-", &more);
    }
    if text.is_empty() { "nobody is invited or has joined\n".to_owned() } else { text }
}
