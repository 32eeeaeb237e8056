//! Where receipts go: a Merkle log for what was released or refused, and a file of lines for all
//! that happened.
//!
//! The log is what an auditor verifies (`docs/protocol/evidence.md`); the file is what an operator
//! reads, and names the log's leaf in each line. Both are durable before an answer leaves, the log
//! first: a line without a leaf would be a release that nobody can prove.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use cloudtaser_core::{ProtectionLevel, release::Recorded};
use cloudtaser_evidence::{
    Digest, Draft, Log, LogError, Remark,
    log::Options,
    names::NameKey,
    note::{KeyKind, Signer},
    notice,
    receipt::{
        Assurance, Decision, NAME_MAX, Name, ReceiptError, Rows, SECRETS_MAX, Sealing, SecretEntry,
        SignedBefore, Workload,
    },
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
        // In pieces: all of it at once would be as much memory that the kernel seals page by page.
        let program = File::open("/proc/self/exe").and_then(Digest::of_all).ok();
        Ok(Self { file, log, names, program })
    }

    /// Says something aloud in the log.
    fn say(&self, receipt: &Receipt) -> Result<Recorded, LogError> {
        let kind = match receipt.event {
            Event::BreakGlass => notice::BREAK_GLASS,
            _ => notice::AROUND,
        };
        let mut document = None;
        for stood in &receipt.orders {
            document = Some(self.log.keep(&stood.document)?);
        }
        let hidden = |path: &String| self.names.hash(path, &[]).ok();
        let name = |text: &str| Name::try_from(text).ok();
        let words = receipt.words.as_deref().map(shortened).unwrap_or_default();
        let odd = || ReceiptError::Form("a notice without words".to_owned());
        let remark = Remark {
            kind: name(kind).ok_or_else(odd)?,
            words: name(&words).ok_or_else(odd)?,
            document,
            name: receipt.path.as_ref().and_then(hidden),
            request: receipt.request.as_deref().and_then(name),
        };
        let appended = self.log.notice(remark)?;
        Ok(Recorded { number: appended.index, hash: appended.hash().to_string() })
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
        let mut secrets = Vec::new();
        for receipt in receipts {
            let hidden = self.names.hash(receipt.path.as_deref()?, &[]).ok()?;
            let requests = receipt.request.iter().chain(&receipt.more_requests);
            let mut requests = requests.map(|request| name(request)).collect::<Vec<_>>();
            // What was refused before OpenBao was asked has none.
            requests.resize(requests.len().max(1), None);
            let version = receipt.version;
            secrets.extend(requests.into_iter().map(|request| SecretEntry {
                name: hidden,
                version,
                request,
            }));
        }
        let orders = first.orders.iter().map(|stood| {
            Some(SignedBefore { act: stood.act, order: Digest::from_hex(&stood.order)? })
        });
        let orders = orders.collect::<Option<Vec<_>>>()?;
        Some(Draft {
            cluster: name(&first.client)?,
            workload: Workload {
                namespace: name(namespace)?,
                service_account: name(service_account)?,
                pod: name(first.pod.as_deref()?)?,
            },
            role: name(first.role.as_deref().unwrap_or("default"))?,
            secrets,
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
            orders: Some(orders).filter(|orders| !orders.is_empty()),
        })
    }
}

/// Receipts with one decision and one set of orders are one leaf.
type Part = (String, Vec<String>);

/// Places of receipts, as many together as one leaf has names for.
fn in_leaves(places: &[usize], receipts: &[Receipt]) -> Vec<Vec<usize>> {
    let names = |at: &usize| receipts.get(*at).map_or(1, |receipt| 1 + receipt.more_requests.len());
    let (mut leaves, mut room) = (Vec::<Vec<usize>>::new(), 0);
    for at in places {
        match (leaves.last_mut(), names(at)) {
            (Some(leaf), names) if names <= room => {
                leaf.push(*at);
                room -= names;
            }
            (_, names) => {
                leaves.push(vec![*at]);
                room = SECRETS_MAX.saturating_sub(names);
            }
        }
    }
    leaves
}

impl ReceiptSink for Books {
    fn append(&self, mut receipts: Vec<Receipt>) -> io::Result<Vec<Recorded>> {
        let mut parts: Vec<(Part, Vec<usize>)> = Vec::new();
        for (at, receipt) in receipts.iter_mut().enumerate() {
            if receipt.words.is_some() {
                receipt.log = Some(self.say(receipt).map_err(|error| told(&error))?);
                continue;
            }
            // Whoever asks without a login is in the file alone; nothing can be released to him.
            let known = receipt.identity.is_some() || receipt.decision == RELEASED;
            if known && !matches!(receipt.event, Event::Leave | Event::Login) {
                let orders = receipt.orders.iter().map(|stood| stood.order.clone()).collect();
                let part = (receipt.decision.clone(), orders);
                match parts.iter_mut().find(|(other, _)| *other == part) {
                    Some((_, places)) => places.push(at),
                    None => parts.push((part, vec![at])),
                }
            }
        }
        let mut recorded = Vec::with_capacity(parts.len());
        for (_, places) in &parts {
            // One leaf has so many names at most; the rest goes into more leaves.
            for places in in_leaves(places, &receipts) {
                let part: Vec<&Receipt> =
                    places.iter().filter_map(|at| receipts.get(*at)).collect();
                let odd = || io::Error::other("a receipt has not what the log demands");
                for stood in part.iter().flat_map(|receipt| &receipt.orders) {
                    self.log.keep(&stood.document).map_err(|error| told(&error))?;
                }
                let draft = self.draft(&part).ok_or_else(odd)?;
                if let Some(kept) = part.first().and_then(|first| first.evidence.as_ref()) {
                    // Before the receipt that has its hash.
                    self.log.keep(&kept.document).map_err(|error| told(&error))?;
                }
                let appended = self.log.append(draft).map_err(|error| told(&error))?;
                let leaf = Recorded { number: appended.index, hash: appended.hash().to_string() };
                for at in &places {
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

/// What a notice has room for.
fn shortened(words: &str) -> String {
    let mut short = String::new();
    for c in words.chars().filter(|c| !c.is_control()) {
        if short.len() + c.len_utf8() > NAME_MAX {
            break;
        }
        short.push(c);
    }
    short
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
