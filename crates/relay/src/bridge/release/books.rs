//! Where receipts go: a Merkle log for what was released or refused, and a file of lines for all
//! that happened.
//!
//! The log is what an auditor verifies (`docs/protocol/evidence.md`); the file is what an operator
//! reads, and names the log's leaf in each line. Both are durable before an answer leaves, the log
//! first: a line without a leaf would be a release that nobody can prove.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use cloudtaser_core::{ProtectionLevel, release::Recorded};
use cloudtaser_evidence::{
    Digest, Draft, Log,
    log::Options,
    names::NameKey,
    note::{KeyKind, Signer},
    receipt::{Assurance, Decision, Name, Rows, Sealing, SecretEntry, Workload},
    witness::remote::Witnesses,
};
use cloudtaser_road::seal;
use zeroize::Zeroizing;

use super::{
    config::LogConfig,
    receipt::{AuditFile, Event, Receipt, ReceiptSink},
};
use crate::log::chain;

/// How long the witnesses may take; a release waits for them.
const WITNESS_PATIENCE: Duration = Duration::from_secs(10);
/// The one key exchange of the protocol.
const KEY_EXCHANGE: &str = "X25519MLKEM768";

/// The word of a receipt by which something left.
pub(super) const RELEASED: &str = "released";

/// The log and the file.
pub(super) struct Books {
    file: AuditFile,
    log: Log,
    names: NameKey,
    /// Hash of this program's own file.
    program: Option<Digest>,
}

impl std::fmt::Debug for Books {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Books").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Books {
    /// Opens both. The log's key is made where there is none.
    pub(super) fn open(file: AuditFile, names: NameKey, config: &LogConfig) -> io::Result<Self> {
        let signer = signer(&config.key_file, &config.name)?;
        let mut options = Options::default();
        if let Some(path) = &config.witnesses {
            let policy = fs::read_to_string(path)?.parse().map_err(io::Error::other)?;
            options = options.witnesses(Witnesses::new(policy, WITNESS_PATIENCE));
        }
        tracing::info!(key = %signer.verifier(), "receipts are logged under this key");
        let log = Log::open(&config.dir, signer, options).map_err(|error| told(&error))?;
        if log.cut_bytes() > 0 {
            tracing::warn!(bytes = log.cut_bytes(), "an unfinished write of the log was cut off");
        }
        let program = fs::read("/proc/self/exe").ok().map(|bytes| Digest::of(&bytes));
        Ok(Self { file, log, names, program })
    }

    /// What the log keeps of receipts with one decision.
    fn draft(&self, receipts: &[&Receipt]) -> Option<Draft> {
        let [first, ..] = receipts else { return None };
        let (issuer_and_namespace, service_account) = first.identity.as_deref()?.split_once('/')?;
        let (_, namespace) = issuer_and_namespace.split_once(':')?;
        let facets = first.facets?;
        let name = |text: &str| Name::try_from(text).ok();
        let sealing = match &first.sealed_to {
            Some(key) => {
                Some(Sealing { suite: name(seal::SUITE)?, recipient: Digest::from_hex(key)? })
            }
            None => None,
        };
        let secrets = receipts.iter().map(|receipt| {
            Some(SecretEntry {
                name: self.names.hash(receipt.path.as_deref()?, &[]).ok()?,
                version: receipt.version,
                request: receipt.request.as_deref().and_then(name),
            })
        });
        Some(Draft {
            cluster: name(&first.client)?,
            workload: Workload {
                namespace: name(namespace)?,
                service_account: name(service_account)?,
                pod: name(first.pod.as_deref()?)?,
            },
            role: name(first.role.as_deref().unwrap_or("default"))?,
            secrets: secrets.collect::<Option<Vec<_>>>()?,
            policy: Digest::from_hex(&first.policy)?,
            protection: Rows::of(&ProtectionLevel::from_facets(facets, Vec::new())),
            // Without evidence it is nothing but the wrapper's word.
            assurance: first.evidence.as_ref().map_or(Assurance::L0, |kept| kept.assurance),
            wrapper: first.wrapper.as_deref().and_then(Digest::from_hex),
            session: Digest::from_hex(&first.session)?,
            evidence: first.evidence.as_ref().map(|kept| kept.hash),
            decision: match first.decision.as_str() {
                RELEASED => Decision::Released,
                word => Decision::Refused(name(word)?),
            },
            bridge: self.program,
            key_exchange: name(KEY_EXCHANGE),
            sealing,
        })
    }
}

impl ReceiptSink for Books {
    fn append(&self, mut receipts: Vec<Receipt>) -> io::Result<Vec<Recorded>> {
        let mut parts: Vec<(String, Vec<usize>)> = Vec::new();
        for (at, receipt) in receipts.iter().enumerate() {
            // Whoever asks without a login is in the file alone; nothing can be released to him.
            let known = receipt.identity.is_some() || receipt.decision == RELEASED;
            if known && !matches!(receipt.event, Event::Leave | Event::Login) {
                match parts.iter_mut().find(|(decision, _)| *decision == receipt.decision) {
                    Some((_, places)) => places.push(at),
                    None => parts.push((receipt.decision.clone(), vec![at])),
                }
            }
        }
        let mut recorded = Vec::with_capacity(parts.len());
        for (_, places) in &parts {
            // One leaf has so many names at most; the rest goes into more leaves.
            for places in places.chunks(cloudtaser_evidence::receipt::SECRETS_MAX) {
                let part: Vec<&Receipt> =
                    places.iter().filter_map(|at| receipts.get(*at)).collect();
                let odd = || io::Error::other("a receipt has not what the log demands");
                let draft = self.draft(&part).ok_or_else(odd)?;
                if let Some(kept) = part.first().and_then(|first| first.evidence.as_ref()) {
                    // Before the receipt that has its hash.
                    self.log.keep(&kept.document).map_err(|error| told(&error))?;
                }
                let appended = self.log.append(draft).map_err(|error| told(&error))?;
                let leaf = Recorded { number: appended.index, hash: appended.hash().to_string() };
                for at in places {
                    if let Some(receipt) = receipts.get_mut(*at) {
                        receipt.log = Some(leaf.clone());
                    }
                }
                recorded.push(leaf);
            }
        }
        self.file.append(receipts)?;
        Ok(recorded)
    }
}

fn told(error: &dyn std::error::Error) -> io::Error {
    io::Error::other(chain(error))
}

/// The log's key, made where there is none, with a policy to verify by beside it.
fn signer(path: &Path, name: &str) -> io::Result<Signer> {
    match fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => Signer::parse(&text).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut seed = Zeroizing::new([0; 32]);
            cloudtaser_tls::random(&mut *seed).map_err(io::Error::other)?;
            let signer = Signer::from_seed(name, KeyKind::Log, &seed).map_err(io::Error::other)?;
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            writeln!(file, "{}", *signer.to_secret())?;
            file.sync_all()?;
            // What an auditor is given to verify by; witnesses are added by whoever has some.
            let policy = format!("log {}\nquorum none\n", signer.verifier());
            fs::write(path.with_extension("policy"), policy)?;
            Ok(signer)
        }
        Err(error) => Err(error),
    }
}
