//! What receipts say, counted; and whether they contradict each other.

mod chain;

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use cloudtaser_core::level::Verdict;
use serde::Serialize;

pub use self::chain::ChainError;
use self::chain::Last;
use super::{
    nodes::{Nodes, Uses},
    orders::{OrderRefused, OrderTally},
};
use crate::{
    hash::Digest,
    key_change::{KeyChange, KeyChangeError},
    note::VerifierKey,
    notice::{self, Leaf, Notice},
    policy::{Former, Policy},
    receipt::{Act, Assurance, Decision, Receipt},
};

/// The hybrid key exchange of TLS 1.3 that recorded traffic withstands.
pub const HYBRID: &str = "X25519MLKEM768";

/// What is kept beside counts: it grows with the number of receipts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Collect {
    /// Ids of requests, to compare with OpenBao's audit log.
    pub requests: bool,
    /// Hashes of statements of evidence, to compare with documents.
    pub evidence: bool,
}

/// More things that are to be heard are only counted.
const LISTED: usize = 200;

/// Something that is to be heard before anything else.
#[derive(Clone, Debug, Serialize)]
pub struct Loud {
    /// Position in the log.
    pub index: u64,
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// Of which kind.
    pub kind: String,
    /// In words.
    pub words: String,
}

/// Counts over receipts; each is of this many releases unless it says otherwise.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// Receipts.
    pub receipts: u64,
    /// Releases.
    pub released: u64,
    /// Refusals by reason.
    pub refused: BTreeMap<String, u64>,
    /// First and last position.
    pub range: Option<(u64, u64)>,
    /// Whether every entry of the log was looked at.
    pub whole_log: bool,
    /// Time of the first and of the last receipt, in milliseconds since 1970.
    pub time_ms: Option<(u64, u64)>,
    /// By cluster.
    pub clusters: BTreeMap<String, ClusterTally>,
    /// By hash of the release policy.
    pub policies: BTreeMap<Digest, u64>,
    /// By hash of the bridge's program; what is missing named none.
    pub bridges: BTreeMap<Digest, u64>,
    /// By hash of the wrapper's program.
    pub wrappers: BTreeMap<Digest, u64>,
    /// By assurance level.
    pub assurance: BTreeMap<Assurance, u64>,
    /// By key exchange of the session.
    pub key_exchanges: BTreeMap<String, u64>,
    /// By suite of the sealing.
    pub sealings: BTreeMap<String, u64>,
    /// For T1 to T6: releases at which the row was open, partial, closed.
    pub rows: [[u64; 3]; 6],
    /// By day since 1970.
    pub days: BTreeMap<u64, u64>,
    /// Releases that name a statement of evidence.
    pub with_evidence: u64,
    /// How many of those statements are here.
    pub documents: u64,
    /// Releases whose statement is here, is signed, and is of their launch.
    pub attested: u64,
    /// Of those, releases whose receipt says a higher level than the statement shows.
    pub overstated: u64,
    /// Of those, releases that a TPM signed for and whose release policy was not given.
    pub unjudged: u64,
    /// Of those, releases for which evidence of hardware reaches so far.
    pub hardware: BTreeMap<Assurance, u64>,
    /// Checkpoints from elsewhere that nothing here relates to.
    pub unrelated_checkpoints: u64,
    /// Distinct names of secrets.
    pub secrets: usize,
    /// By hidden name: what was released of it, and when.
    pub register: BTreeMap<Digest, SecretTally>,
    /// Released secrets whose receipt names no request of OpenBao's.
    pub without_request: u64,
    /// Leaves that are no receipts, by kind.
    pub notices: BTreeMap<String, u64>,
    /// What is to be heard first: notices, and releases for which the policy was set aside; so many
    /// as are listed.
    pub loud: Vec<Loud>,
    /// How many those are.
    pub loud_total: u64,
    /// Releases that people approved.
    pub approved: u64,
    /// Releases for which demands of the policy were set aside.
    pub break_glass: u64,
    /// What people signed, by its hash.
    pub orders: BTreeMap<Digest, OrderTally>,
    /// Changes of the log's key, by the hash of what both keys signed.
    pub keys: BTreeMap<Digest, KeyTally>,
    /// Numbers of notices that are not here, between those that are.
    pub missing_notices: u64,
    #[serde(skip)]
    collect: Collect,
    #[serde(skip)]
    evidence: BTreeMap<Digest, Uses>,
    #[serde(skip)]
    last: BTreeMap<String, Last>,
    /// OpenBao's ids of requests, by which its audit log is compared.
    #[serde(skip)]
    pub(crate) requests: BTreeMap<String, u64>,
}

/// A change of the log's key.
#[derive(Clone, Debug, Serialize)]
pub struct KeyTally {
    /// The log's size with its notice: what is larger is signed by the new key.
    pub size: u64,
    /// Old key and new key, where what they signed is here.
    pub keys: Option<(String, String)>,
}

/// Releases of one secret.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SecretTally {
    /// How many.
    pub releases: u64,
    /// Lowest and highest version that was released, where versions were told.
    pub versions: Option<(u64, u64)>,
    /// When it was released last, in milliseconds since 1970.
    pub last_ms: Option<u64>,
}

/// Counts of one cluster.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ClusterTally {
    /// First and last number.
    pub numbers: (u64, u64),
    /// Receipts.
    pub receipts: u64,
    /// Numbers between first and last that are not here.
    pub missing: u64,
}

impl SecretTally {
    fn add(&mut self, receipt: &Receipt, version: Option<u64>) {
        if !receipt.is_release() {
            return;
        }
        self.releases += 1;
        self.last_ms = Some(receipt.time_ms);
        if let Some(version) = version {
            let (low, high) = self.versions.unwrap_or((version, version));
            self.versions = Some((low.min(version), high.max(version)));
        }
    }
}

impl Tally {
    /// Counts, and keeps what is wanted beside.
    #[must_use]
    pub fn new(collect: Collect) -> Self {
        Self { collect, ..Self::default() }
    }

    /// Counts one receipt; positions rise from call to call.
    ///
    /// # Errors
    /// [`ChainError`] where it contradicts an earlier one.
    pub fn add(&mut self, index: u64, entry: &Leaf, leaf: Digest) -> Result<(), ChainError> {
        let gapless = self.range.is_none_or(|(_, last)| last + 1 == index);
        let complete = gapless && self.is_contiguous();
        self.chain(index, entry, leaf, complete)?;
        self.range = Some((self.range.map_or(index, |(first, _)| first), index));
        match entry {
            Leaf::Notice(notice) => self.notice(index, notice),
            Leaf::Receipt(receipt) => self.receipt(index, receipt),
        }
        Ok(())
    }

    fn notice(&mut self, index: u64, notice: &Notice) {
        let said = &notice.notice;
        *self.notices.entry(said.kind.to_string()).or_default() += 1;
        match (said.kind.as_str(), said.document) {
            (notice::BREAK_GLASS, Some(order)) => {
                self.orders.entry(order).or_insert_with(|| OrderTally::new(Act::BreakGlass));
            }
            (notice::NEW_KEY, Some(document)) => {
                let change = KeyTally { size: index.saturating_add(1), keys: None };
                self.keys.entry(document).or_insert(change);
            }
            _ => {}
        }
        let (kind, words) = (said.kind.to_string(), said.words.to_string());
        self.loudly(Loud { index, time_ms: notice.time_ms, kind, words });
    }

    fn loudly(&mut self, loud: Loud) {
        self.loud_total += 1;
        if self.loud.len() < LISTED {
            self.loud.push(loud);
        }
    }

    /// Counts what a decision stood on.
    fn stood_on(&mut self, index: u64, receipt: &Receipt) {
        for order in receipt.draft.orders.iter().flatten() {
            let known = self.orders.entry(order.order);
            known.or_insert_with(|| OrderTally::new(order.act)).use_at(receipt.time_ms);
        }
        if !receipt.is_release() {
            return;
        }
        let is_approved =
            receipt.draft.orders.iter().flatten().any(|order| order.act == Act::Approval);
        self.approved += u64::from(is_approved);
        if receipt.is_break_glass() {
            self.break_glass += 1;
            let who = &receipt.draft.workload;
            let words = format!(
                "released to {}/{} of {}, with the policy set aside",
                who.namespace, who.service_account, receipt.draft.cluster
            );
            let kind = notice::BREAK_GLASS.to_owned();
            self.loudly(Loud { index, time_ms: receipt.time_ms, kind, words });
        }
    }

    fn receipt(&mut self, index: u64, receipt: &Receipt) {
        self.receipts += 1;
        let since = self.time_ms.map_or(receipt.time_ms, |(first, _)| first);
        self.time_ms = Some((since, receipt.time_ms));
        let draft = &receipt.draft;
        for secret in &draft.secrets {
            self.register.entry(secret.name).or_default().add(receipt, secret.version);
            match &secret.request {
                None => self.without_request += u64::from(receipt.is_release()),
                Some(request) if self.collect.requests => {
                    *self.requests.entry(request.to_string()).or_default() += 1;
                }
                Some(_) => {}
            }
        }
        self.secrets = self.register.len();
        if let Some(evidence) = draft.evidence.filter(|_hash| self.collect.evidence) {
            match self.evidence.entry(evidence) {
                Entry::Occupied(mut known) => known.get_mut().add(receipt),
                Entry::Vacant(new) => drop(new.insert(Uses::of(receipt))),
            }
        }
        self.stood_on(index, receipt);
        *self.policies.entry(draft.policy).or_default() += 1;
        if let Decision::Refused(reason) = &draft.decision {
            *self.refused.entry(reason.to_string()).or_default() += 1;
            return;
        }
        self.release(receipt);
    }

    fn release(&mut self, receipt: &Receipt) {
        const DAY_MS: u64 = 86_400_000;
        let draft = &receipt.draft;
        self.released += 1;
        *self.days.entry(receipt.time_ms / DAY_MS).or_default() += 1;
        *self.assurance.entry(draft.assurance).or_default() += 1;
        self.with_evidence += u64::from(draft.evidence.is_some());
        if let Some(bridge) = draft.bridge {
            *self.bridges.entry(bridge).or_default() += 1;
        }
        if let Some(wrapper) = draft.wrapper {
            *self.wrappers.entry(wrapper).or_default() += 1;
        }
        if let Some(group) = &draft.key_exchange {
            *self.key_exchanges.entry(group.to_string()).or_default() += 1;
        }
        if let Some(sealing) = &draft.sealing {
            *self.sealings.entry(sealing.suite.to_string()).or_default() += 1;
        }
        for (row, verdict) in self.rows.iter_mut().zip(draft.protection.verdicts()) {
            let [open, partial, closed] = row;
            *match verdict {
                Verdict::Open => open,
                Verdict::Partial => partial,
                Verdict::Closed => closed,
            } += 1;
        }
    }

    /// In how many releases a name is; none where no receipt has it.
    #[must_use]
    pub fn releases_of(&self, name: Digest) -> Option<u64> {
        self.register.get(&name).map(|secret| secret.releases)
    }

    /// Takes a document that is named as an order; false where none is.
    ///
    /// # Errors
    /// [`OrderRefused`] where it is none, or says something else.
    pub(super) fn add_order(
        &mut self,
        hash: Digest,
        document: &[u8],
    ) -> Result<bool, OrderRefused> {
        let Some(order) = self.orders.get_mut(&hash) else { return Ok(false) };
        order.take(document)?;
        Ok(true)
    }

    /// Hashes of all documents that receipts and notices name.
    pub(super) fn named(&self) -> BTreeSet<Digest> {
        let others = self.orders.keys().chain(self.keys.keys());
        others.chain(self.evidence.keys()).copied().collect()
    }

    /// Takes a document that is named as a change of the log's key; false where none is.
    pub(super) fn add_key_change(
        &mut self,
        hash: Digest,
        document: &[u8],
    ) -> Result<bool, KeyChangeError> {
        let Some(change) = self.keys.get_mut(&hash) else { return Ok(false) };
        let KeyChange { old, new } = KeyChange::verify(document)?;
        change.keys = Some((old.to_string(), new.to_string()));
        Ok(true)
    }

    /// Whether changes of the key are of this log, and where the policy says that they were.
    pub(super) fn keys_agree(&self, policy: &Policy, origin: &str) -> Result<(), KeyChangeError> {
        for KeyTally { size, keys } in self.keys.values() {
            let Some((old, _new)) = keys else { continue };
            let old: VerifierKey = old.parse().map_err(|_never| KeyChangeError::Keys)?;
            if old.name() != origin {
                return Err(KeyChangeError::Log);
            }
            let former = policy.former().iter().find(|former| former.key == old);
            if let Some(Former { until, .. }) = former.filter(|former| former.until != *size) {
                return Err(KeyChangeError::Place { until: *until, size: *size });
            }
        }
        Ok(())
    }

    /// Takes what statements of nodes came to.
    pub(super) fn take_nodes(&mut self, nodes: &Nodes) {
        (self.attested, self.overstated) = (nodes.attested, nodes.overstated);
        (self.unjudged, self.hardware) = (nodes.unjudged, nodes.hardware.clone());
    }

    /// Takes a document; what receipts say that name it, or nothing where none does.
    pub(super) fn add_document(&mut self, hash: Digest) -> Option<&Uses> {
        let uses = self.evidence.get(&hash);
        self.documents += u64::from(uses.is_some());
        uses
    }

    /// Refusals.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }

    /// The weakest assurance of a release.
    #[must_use]
    pub fn weakest(&self) -> Option<Assurance> {
        self.assurance.keys().next().copied()
    }
}
