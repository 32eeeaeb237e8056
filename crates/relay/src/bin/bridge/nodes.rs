//! How a node's TPM is taken into a release policy: a challenge that only it can answer, and the
//! entry for the policy once it has.
//!
//! What the answer proves: that the key which signs quotes is in the TPM of that endorsement key. What
//! it does not: whose TPM that is. Compare the endorsement key with the machine's own, or with what
//! its maker certifies.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use cloudtaser_core::node::{Challenge, NodeIdentity};
use cloudtaser_evidence::{
    Digest,
    attest::tpm::{Public, credential},
};
use cloudtaser_relay::program::say;
use data_encoding::{BASE64, HEXLOWER};
use zeroize::Zeroizing;

#[derive(Debug, Subcommand)]
pub(crate) enum Nodes {
    /// Print a challenge for a node's TPM, and keep what it must answer.
    NodeChallenge(Asking),
    /// Check the answer, and print the node's entry for the release policy.
    NodeEnrol(Enrolling),
}

#[derive(Debug, Args)]
pub(crate) struct Asking {
    /// What `cloudtaser-agent tpm identity` printed on the node.
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// Where to keep the answer until it comes.
    #[arg(long, value_name = "FILE")]
    keep: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Enrolling {
    /// The same identity.
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// What `node-challenge` kept; removed when the node is enrolled.
    #[arg(long, value_name = "FILE")]
    keep: PathBuf,
    /// What `cloudtaser-agent tpm answer` printed on the node.
    #[arg(long, value_name = "HEX")]
    answer: String,
    /// Whose the machine is: a provider's TPM proves nothing against the provider.
    #[arg(long, value_enum, default_value = "provider")]
    place: Place,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Place {
    /// The provider's.
    Provider,
    /// Your own, or of a host that you trust with it.
    Own,
}

/// An identity whose keys are of the kind that is believed.
struct Read {
    identity: NodeIdentity,
    endorsement: Public,
    attestation: Public,
    hash: Digest,
}

impl Nodes {
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::NodeChallenge(args) => challenge(&args),
            Self::NodeEnrol(args) => enrol(&args),
        }
    }
}

fn challenge(args: &Asking) -> Result<()> {
    let read = read(&args.identity)?;
    let random = |bytes: &mut [u8]| cloudtaser_tls::random(bytes).context("no random bytes");
    let (mut secret, mut ephemeral) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
    random(&mut *secret)?;
    random(&mut *ephemeral)?;
    let made = credential::challenge(&read.endorsement, &read.attestation, &*secret, &ephemeral)?;
    let shown = args.keep.display();
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&args.keep);
    let mut file = file.with_context(|| format!("cannot make {shown}"))?;
    let kept = Zeroizing::new(format!("{} {}\n", read.hash, HEXLOWER.encode(&*secret)));
    file.write_all(kept.as_bytes())?;
    file.sync_all()?;
    let challenge =
        Challenge { blob: BASE64.encode(&made.blob), secret: BASE64.encode(&made.secret) };
    say(&format!("{}\n", serde_json::to_string(&challenge)?))
}

fn enrol(args: &Enrolling) -> Result<()> {
    let read = read(&args.identity)?;
    let shown = args.keep.display();
    let kept = fs::read_to_string(&args.keep).with_context(|| format!("cannot read {shown}"))?;
    let kept = Zeroizing::new(kept);
    let Some((hash, secret)) = kept.trim_end().split_once(' ') else {
        bail!("{shown} is none that node-challenge made")
    };
    ensure!(
        hash == read.hash.to_string(),
        "the identity is not the one that the challenge was made for"
    );
    // Both are hashed, so that how far they agree shows in no time.
    let same = Digest::of(secret.as_bytes()) == Digest::of(args.answer.trim().as_bytes());
    ensure!(same, "the answer is wrong: the key that signs quotes is not in that TPM");
    fs::remove_file(&args.keep).with_context(|| format!("cannot remove {shown}"))?;
    let place = match args.place {
        Place::Own => "own",
        Place::Provider => "provider",
    };
    let NodeIdentity { name, key, .. } = &read.identity;
    say(&format!(
        "# endorsement key {}: compare it with the machine's own\n[[node]]\nname = {name:?}\n\
         key = \"{key}\"\ntpm = \"{}\"\nplace = \"{place}\"\n",
        read.endorsement.name(),
        read.attestation.name(),
    ))
}

fn read(path: &Path) -> Result<Read> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let identity: NodeIdentity =
        serde_json::from_str(&text).with_context(|| format!("{shown} is no identity"))?;
    let key = |text: &str| {
        let bytes = BASE64.decode(text.as_bytes()).context("it is not in base64")?;
        Ok::<_, anyhow::Error>(Public::parse(&bytes)?)
    };
    let endorsement = key(&identity.endorsement).context("the endorsement key")?;
    let attestation = key(&identity.attestation).context("the key that signs quotes")?;
    let (own, its) = (endorsement.name(), attestation.name());
    let each = [&identity.key.as_bytes()[..], own.as_bytes(), its.as_bytes()];
    let hash = Digest::of(&each.concat());
    Ok(Read { identity, endorsement, attestation, hash })
}
