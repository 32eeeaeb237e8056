//! How a node's TPM is taken into a release policy: a challenge that only it can answer, and the
//! entry for the policy once it has.
//!
//! What the answer proves: that the key which signs quotes is in the TPM of that endorsement key. What
//! it does not: whose TPM that is. Compare the endorsement key with the machine's own, or have its
//! certificate checked against roots of makers whom you believe (`--ek-root`).

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
    attest::tpm::{Public, credential, endorsement},
};
use cloudtaser_relay::program::{say, unix_now};
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
    #[command(flatten)]
    makers: Makers,
}

/// Whose TPMs are believed. Without a root, whose it is is for you to find out.
#[derive(Debug, Args)]
pub(crate) struct Makers {
    /// A root of a maker of TPMs (PEM or DER): the certificate in the TPM must be under one of these.
    #[arg(long, value_name = "FILE")]
    ek_root: Vec<PathBuf>,
    /// An authority between root and certificate.
    #[arg(long, value_name = "FILE", requires = "ek_root")]
    ek_authority: Vec<PathBuf>,
    /// A list of certificates that a maker revoked.
    #[arg(long, value_name = "FILE", requires = "ek_root")]
    ek_revoked: Vec<PathBuf>,
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
    #[command(flatten)]
    makers: Makers,
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
    args.makers.made(&read, unix_now())?;
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
    let made = args.makers.made(&read, unix_now())?;
    fs::remove_file(&args.keep).with_context(|| format!("cannot remove {shown}"))?;
    let made = made.map_or_else(
        || "compare it with the machine's own".to_owned(),
        |root| format!("certified under {root:?}"),
    );
    let place = match args.place {
        Place::Own => "own",
        Place::Provider => "provider",
    };
    let NodeIdentity { name, key, .. } = &read.identity;
    say(&format!(
        "# endorsement key {}: {made}\n[[node]]\nname = {name:?}\n\
         key = \"{key}\"\ntpm = \"{}\"\nplace = \"{place}\"\n",
        read.endorsement.name(),
        read.attestation.name(),
    ))
}

impl Makers {
    /// The name of the root under which the TPM was certified; none where no root was given.
    fn made(&self, read: &Read, now: u64) -> Result<Option<String>> {
        if self.ek_root.is_empty() {
            return Ok(None);
        }
        let certificate = read.identity.certificate.as_ref();
        let certificate =
            certificate.context("the TPM has no certificate of its endorsement key")?;
        let certificate =
            BASE64.decode(certificate.as_bytes()).context("the certificate is not in base64")?;
        let all = |paths: &[PathBuf]| {
            let each = paths.iter().map(|path| ders(path)).collect::<Result<Vec<_>>>()?;
            Ok::<_, anyhow::Error>(each.concat())
        };
        let (roots, between) = (all(&self.ek_root)?, all(&self.ek_authority)?);
        let given = endorsement::Given {
            certificate: &certificate,
            between: &between,
            roots: &roots,
            revoked: &all(&self.ek_revoked)?,
        };
        let root = endorsement::verify(&given, &read.endorsement, now);
        Ok(Some(root.context("the certificate of the TPM's endorsement key is refused")?))
    }
}

/// What is in a file: one piece of DER, or several in PEM.
fn ders(path: &Path) -> Result<Vec<Vec<u8>>> {
    let shown = path.display();
    let bytes = fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    let Some(text) = str::from_utf8(&bytes).ok().filter(|text| text.contains("-----BEGIN ")) else {
        return Ok(vec![bytes]);
    };
    let each = text.split("-----BEGIN ").skip(1).map(|part| {
        let lines = part.lines().skip(1).take_while(|line| !line.starts_with("-----END "));
        let base64: String = lines.collect();
        BASE64.decode(base64.as_bytes()).with_context(|| format!("{shown} is no PEM"))
    });
    each.collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../evidence/tests/vectors");
    /// In the first year of the certificates.
    const THEN: u64 = 1_800_000_000;
    /// The structure of an endorsement key up to its coordinates.
    const HEAD: &str = "0023000b000300b20020\
                        837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa\
                        000600800043001000030010";
    /// The point of the certificate.
    const POINT: [&str; 2] = [
        "7a9022cc240f1dfac16860f533ae35e440258f7b208d201ae646cb4b818cc9db",
        "8cc9b08ed14a09b9d7ad3a6c19667df909b281e8f2ff34ab191ae1e46939864d",
    ];

    fn file(name: &str) -> PathBuf {
        Path::new(VECTORS).join(name)
    }

    /// An identity with that endorsement key, and this certificate.
    fn identity(certificate: Option<&str>) -> Read {
        let [x, y] = POINT;
        let bytes = HEXLOWER.decode(format!("{HEAD}0020{x}0020{y}").as_bytes()).unwrap();
        let key = || Public::parse(&bytes).unwrap();
        let certificate = certificate.map(|name| BASE64.encode(&fs::read(file(name)).unwrap()));
        let text = BASE64.encode(&bytes);
        let identity = NodeIdentity {
            name: "worker-1".to_owned(),
            key: cloudtaser_core::node::Hash::new([1; 32]),
            endorsement: text.clone(),
            attestation: text,
            certificate,
        };
        Read { identity, endorsement: key(), attestation: key(), hash: Digest::of(b"") }
    }

    fn makers(authority: &Path, revoked: &str) -> Makers {
        let ek_authority = vec![authority.to_owned()];
        Makers { ek_root: vec![file("ek_root.der")], ek_authority, ek_revoked: vec![file(revoked)] }
    }

    #[test]
    fn a_tpm_is_whose_its_maker_says_and_where_a_root_is_given_it_must_be_somebodys() {
        let plain = makers(&file("ek_between.der"), "ek_crl_clean.der");
        let made = plain.made(&identity(Some("ek_leaf.der")), THEN).unwrap().unwrap();
        assert!(made.contains("Test root"), "{made}");
        // The same authority in PEM, behind another certificate.
        let folder = tempfile::tempdir().unwrap();
        let pem = folder.path().join("authorities.pem");
        let each = ["ek_root.der", "ek_between.der"].map(|name| {
            let base64 = BASE64.encode(&fs::read(file(name)).unwrap());
            let (one, two) = base64.split_at(64);
            format!("-----BEGIN CERTIFICATE-----\n{one}\n{two}\n-----END CERTIFICATE-----\n")
        });
        fs::write(&pem, each.concat()).unwrap();
        let in_pem = makers(&pem, "ek_crl_clean.der");
        assert!(in_pem.made(&identity(Some("ek_leaf.der")), THEN).unwrap().is_some());
        let said =
            |refused: Result<_>| format!("{:#}", refused.map(|_: Option<String>| ()).unwrap_err());
        assert!(said(plain.made(&identity(None), THEN)).contains("no certificate"));
        assert!(
            said(plain.made(&identity(Some("ek_tls.der")), THEN))
                .contains("none of an endorsement")
        );
        let revoked = makers(&file("ek_between.der"), "ek_crl_revoked.der");
        assert!(said(revoked.made(&identity(Some("ek_leaf.der")), THEN)).contains("revoked"));
        let nobody =
            Makers { ek_root: Vec::new(), ek_authority: Vec::new(), ek_revoked: Vec::new() };
        assert_eq!(nobody.made(&identity(None), THEN).unwrap(), None);
    }
}
