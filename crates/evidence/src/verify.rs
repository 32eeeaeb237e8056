//! Verification without a network: of a bundle, of one proof, of a whole log.
//!
//! First everything that mathematics can say: signatures, quorum, proofs, chains. Where any of it
//! is wrong there is a [`Refusal`] and nothing else. What holds then is counted ([`tally`]) and said
//! as claims ([`mod@claims`]), each with the assumptions that it stands on.

use std::{
    fs::File,
    io::{ErrorKind, Read as _},
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    bundle::{Bundle, BundleError},
    checkpoint::{Checkpoint, SignedCheckpoint},
    export::{DOCUMENT_MAX, DOCUMENTS},
    hash::Digest,
    key_change::KeyChangeError,
    names::Opening,
    node::NodeError,
    note::NoteError,
    notice::Leaf,
    policy::{Disbelief, Policy, Seen},
    proof::{Proof, ProofTextError},
    receipt::ReceiptError,
    tiles::{TileError, Tiles, nodes_at},
    tree::{self, Edge, Nodes as _, ProofError},
};

pub mod claims;
pub mod nodes;
pub mod orders;
pub mod tally;

use claims::{Claim, claims};
use nodes::{NodeSeen, Nodes, ReleasePolicy};
use orders::OrderRefused;
use tally::{ChainError, Collect, Tally};

/// Why nothing of it is to be believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The file is no bundle.
    #[error("the bundle is refused")]
    Bundle(#[from] BundleError),
    /// The text is no proof.
    #[error("the proof is refused")]
    ProofText(#[from] ProofTextError),
    /// A proof has no receipt in it.
    #[error("the proof has no receipt in its extra line")]
    NoReceipt,
    /// A checkpoint cannot be read.
    #[error("a checkpoint cannot be read")]
    Checkpoint(#[from] NoteError),
    /// Its signatures do not satisfy the policy.
    #[error("the policy does not believe this log")]
    Policy(#[from] Disbelief),
    /// A receipt cannot be read.
    #[error("receipt {index} is refused")]
    Receipt {
        /// Where it is.
        index: u64,
        /// Why.
        source: ReceiptError,
    },
    /// A receipt is not where it says.
    #[error("receipt {index} is not in this log")]
    NotIncluded {
        /// Where it should be.
        index: u64,
        /// Why.
        source: ProofError,
    },
    /// An older checkpoint is not of this log's past.
    #[error("the log was forked or rewritten: what it had at size {size} is not what it has now")]
    Forked {
        /// The older size.
        size: u64,
    },
    /// Receipts contradict each other.
    #[error("receipt {index} contradicts an earlier one")]
    Chain {
        /// Where it is.
        index: u64,
        /// How.
        source: ChainError,
    },
    /// An opening is of no receipt here.
    #[error("the name {0} is opened, and no receipt has its hash")]
    Opening(String),
    /// A document is of no receipt here.
    #[error("the document {0} is in the bundle, and no receipt names it")]
    Document(Digest),
    /// A document beside a log is not the one that its name says.
    #[error("the document {0} of the log was changed")]
    Changed(Digest),
    /// What people signed is not what receipts say that they signed.
    #[error("the order {hash} is refused")]
    Order {
        /// Its hash.
        hash: Digest,
        /// Why.
        source: OrderRefused,
    },
    /// The log's key is said to have changed, and it did not, or elsewhere.
    #[error("the change of the log's key is refused")]
    KeyChange {
        /// Why.
        source: KeyChangeError,
    },
    /// What a node is said to have signed is not of the launch whose receipts name it.
    #[error("the node's statement {document} is refused")]
    Statement {
        /// Its hash.
        document: Digest,
        /// Why.
        source: NodeError,
    },
    /// A file of the log cannot be read.
    #[error("the log cannot be read")]
    Tile(#[from] TileError),
    /// The checkpoint of a log cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A log's entries and its checkpoint do not agree.
    #[error("the entries are not those that the checkpoint was signed over")]
    Root,
    /// A tile of hashes is not what the entries say.
    #[error("the tiles of hashes do not agree with the checkpoint")]
    Tiles,
}

/// What was verified, counted and claimed.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Which log.
    pub log: String,
    /// How many entries it had.
    pub size: u64,
    /// Its root then.
    pub root: Digest,
    /// Who else saw that, and when.
    pub witnesses: Vec<Seen>,
    /// Older sizes that it was proved to have grown from.
    pub grown_from: Vec<u64>,
    /// What the receipts say.
    pub tally: Tally,
    /// Names that were opened.
    pub names: Vec<OpenedName>,
    /// What nodes signed.
    pub nodes: Vec<NodeSeen>,
    /// What that shows.
    pub claims: Vec<Claim>,
}

/// A name that the owner opened.
#[derive(Clone, Debug, Serialize)]
pub struct OpenedName {
    /// Path, as OpenBao's audit log has it.
    pub path: String,
    /// Fields.
    pub fields: Vec<String>,
    /// The hash that receipts have of it.
    pub hash: Digest,
    /// In how many releases it is.
    pub releases: u64,
}

/// What an auditor has beside the evidence.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Checkpoints of the same log that came another way.
    pub seen: Vec<SignedCheckpoint>,
    /// Names that the owner opened; a bundle has its own.
    pub openings: Vec<Opening>,
    /// Whether ids of requests are kept, for [`crate::reconcile`].
    pub requests: bool,
    /// Release policies, which name nodes.
    pub release_policies: Vec<ReleasePolicy>,
    /// Checkpoints that a later bundle proves ([`past`]).
    pub past: Vec<Checkpoint>,
}

/// Verifies a bundle.
///
/// # Errors
/// [`Refusal`].
pub fn bundle(bytes: &[u8], policy: &Policy, given: &Given) -> Result<Report, Refusal> {
    let bundle = Bundle::parse(bytes)?;
    let signed = SignedCheckpoint::parse(&bundle.checkpoint)?;
    let witnesses = believed(&signed, policy, given)?;
    let top = (signed.checkpoint().size, signed.checkpoint().root);
    let mut tally = Tally::new(Collect { requests: given.requests, evidence: true });
    for item in &bundle.receipts {
        let index = item.index;
        let leaf = Digest::leaf(&item.leaf);
        tree::verify_inclusion(leaf, index, top, &item.path)
            .map_err(|source| Refusal::NotIncluded { index, source })?;
        count(&mut tally, index, &item.leaf, leaf)?;
    }
    let mut nodes = Nodes::default();
    for document in &bundle.documents {
        take(&mut tally, &mut nodes, document, given)?;
    }
    tally.take_nodes(&nodes);
    let mut past = Vec::new();
    for earlier in &bundle.earlier {
        let older = SignedCheckpoint::parse(&earlier.checkpoint)?;
        is_of(&older, &signed, policy)?;
        let then = older.checkpoint();
        tree::verify_consistency((then.size, then.root), top, &earlier.path)
            .map_err(|_wrong| Refusal::Forked { size: then.size })?;
        past.push((then.size, then.root));
    }
    for other in &given.seen {
        is_of(other, &signed, policy)?;
        let other = other.checkpoint();
        let known = past.iter().chain([&top]).find(|(size, _)| *size == other.size);
        match known {
            Some((_, root)) if *root != other.root => {
                return Err(Refusal::Forked { size: other.size });
            }
            Some(_) => {}
            None => tally.unrelated_checkpoints += 1,
        }
    }
    let grown_from = past.into_iter().map(|(size, _)| size).collect();
    let origin = &signed.checkpoint().origin;
    tally.keys_agree(policy, origin).map_err(|source| Refusal::KeyChange { source })?;
    let mut report = report(&signed, witnesses, grown_from, tally, &bundle.openings)?;
    report.nodes = nodes.into_seen();
    Ok(report)
}

/// Verifies one proof with its receipt (C2SP tlog-proof, the receipt in the extra line).
///
/// # Errors
/// [`Refusal`].
pub fn proof(text: &str, policy: &Policy, given: &Given) -> Result<Report, Refusal> {
    let (proof, leaf) = Proof::parse(text)?;
    let leaf = leaf.ok_or(Refusal::NoReceipt)?;
    let witnesses = believed(&proof.checkpoint, policy, given)?;
    let index = proof.index;
    proof.verify(&leaf).map_err(|source| Refusal::NotIncluded { index, source })?;
    let mut tally = Tally::default();
    count(&mut tally, index, &leaf, Digest::leaf(&leaf))?;
    report(&proof.checkpoint, witnesses, Vec::new(), tally, &[])
}

/// Verifies every entry and every hash of a log in a folder.
///
/// # Errors
/// [`Refusal`].
pub fn folder(folder: &Path, policy: &Policy, given: &Given) -> Result<Report, Refusal> {
    let signed = published(folder)?;
    let witnesses = believed(&signed, policy, given)?;
    let top = signed.checkpoint();
    let tiles = Tiles::new(folder, top.size);
    let collect = Collect { requests: given.requests, evidence: true };
    let (mut tally, mut edge) = (Tally::new(collect), Edge::default());
    for bundle in 0..tiles.bundles() {
        for entry in tiles.entries(bundle)? {
            let (index, leaf) = (edge.size(), Digest::leaf(&entry));
            count(&mut tally, index, &entry, leaf)?;
            edge.push(leaf);
            agree(&tiles, &edge, 0, index)?;
        }
        let full = |level: &u32| edge.size().is_multiple_of(1 << (8 * level));
        for level in (1..8).take_while(full) {
            agree(&tiles, &edge, level, nodes_at(level, edge.size()) - 1)?;
        }
        edge.drop_all_but(2);
    }
    if edge.size() != top.size || tree::root(&edge, top.size) != Ok(top.root) {
        return Err(Refusal::Root);
    }
    if tree::root(&tiles, top.size)? != top.root {
        return Err(Refusal::Tiles);
    }
    let mut grown_from = Vec::new();
    for other in &given.seen {
        is_of(other, &signed, policy)?;
        let other = other.checkpoint();
        if other.size > top.size {
            tally.unrelated_checkpoints += 1;
        } else if tree::root(&tiles, other.size)? == other.root {
            grown_from.push(other.size);
        } else {
            return Err(Refusal::Forked { size: other.size });
        }
    }
    tally.whole_log = true;
    let mut nodes = Nodes::default();
    for hash in tally.named() {
        // One that was not kept is not there, and the report says so.
        let Some(document) = kept(folder, hash)? else { continue };
        take(&mut tally, &mut nodes, &document, given)?;
    }
    tally.take_nodes(&nodes);
    let origin = &top.origin;
    tally.keys_agree(policy, origin).map_err(|source| Refusal::KeyChange { source })?;
    let mut report = report(&signed, witnesses, grown_from, tally, &given.openings)?;
    report.nodes = nodes.into_seen();
    Ok(report)
}

/// Checkpoints of a log that a bundle of it proves, its own among them: what an older bundle stands
/// on whose key was replaced since.
///
/// # Errors
/// [`Refusal`].
pub fn past(bytes: &[u8], policy: &Policy) -> Result<Vec<Checkpoint>, Refusal> {
    bundle(bytes, policy, &Given::default())?;
    let bundle = Bundle::parse(bytes)?;
    let notes = bundle.earlier.iter().map(|earlier| &earlier.checkpoint);
    let each = notes.chain([&bundle.checkpoint]);
    each.map(|note| Ok(SignedCheckpoint::parse(note)?.checkpoint().clone())).collect()
}

/// Who saw a checkpoint that is believed, by its signatures or as the past of a later one.
fn believed(
    signed: &SignedCheckpoint,
    policy: &Policy,
    given: &Given,
) -> Result<Vec<Seen>, Refusal> {
    match policy.judge(signed) {
        Err(Disbelief::Former) if given.past.contains(signed.checkpoint()) => Ok(Vec::new()),
        judged => Ok(judged?),
    }
}

/// Checks one document against the receipts that name it.
fn take(
    tally: &mut Tally,
    nodes: &mut Nodes,
    document: &[u8],
    given: &Given,
) -> Result<(), Refusal> {
    let hash = Digest::of(document);
    if tally.add_key_change(hash, document).map_err(|source| Refusal::KeyChange { source })? {
        return Ok(());
    }
    let order = tally.add_order(hash, document);
    if order.map_err(|source| Refusal::Order { hash, source })? {
        return Ok(());
    }
    let uses = tally.add_document(hash).ok_or(Refusal::Document(hash))?;
    nodes.check(document, uses, &given.release_policies)
}

/// A document beside a log, which is the one that its name says.
fn kept(folder: &Path, hash: Digest) -> Result<Option<Vec<u8>>, Refusal> {
    let path = folder.join(DOCUMENTS).join(hash.to_string());
    let mut document = Vec::new();
    let most = u64::try_from(DOCUMENT_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let read = File::open(&path).and_then(|file| file.take(most).read_to_end(&mut document));
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Refusal::Read { path, source }),
        Ok(_) if Digest::of(&document) != hash => Err(Refusal::Changed(hash)),
        Ok(_) => Ok(Some(document)),
    }
}

/// What the tiles have at a position is what the entries say.
fn agree(tiles: &Tiles, edge: &Edge, level: u32, at: u64) -> Result<(), Refusal> {
    let same = edge.node(8 * level, at) == Ok(tiles.node(8 * level, at)?);
    if same { Ok(()) } else { Err(Refusal::Tiles) }
}

/// The checkpoint that a log's folder shows.
///
/// # Errors
/// [`Refusal::Read`], [`Refusal::Checkpoint`].
pub fn published(folder: &Path) -> Result<SignedCheckpoint, Refusal> {
    let path = folder.join("checkpoint");
    let text = std::fs::read_to_string(&path).map_err(|source| Refusal::Read { path, source })?;
    Ok(SignedCheckpoint::parse(&text)?)
}

/// An older checkpoint counts where the same log signed it; witnesses need not have.
fn is_of(
    older: &SignedCheckpoint,
    signed: &SignedCheckpoint,
    policy: &Policy,
) -> Result<(), Refusal> {
    let origin = &older.checkpoint().origin;
    if *origin != signed.checkpoint().origin {
        return Err(Disbelief::UnknownLog(origin.clone()).into());
    }
    let size = older.checkpoint().size;
    let former = policy.former().iter().filter(|former| size <= former.until);
    let mut keys = policy.logs().iter().chain(former.map(|former| &former.key));
    let verified = keys.any(|log| older.verify(log).is_ok());
    if verified { Ok(()) } else { Err(NoteError::Unsigned(origin.clone()).into()) }
}

fn count(tally: &mut Tally, index: u64, bytes: &[u8], leaf: Digest) -> Result<(), Refusal> {
    let entry = Leaf::parse(bytes).map_err(|source| Refusal::Receipt { index, source })?;
    tally.add(index, &entry, leaf).map_err(|source| Refusal::Chain { index, source })
}

fn report(
    signed: &SignedCheckpoint,
    witnesses: Vec<Seen>,
    grown_from: Vec<u64>,
    tally: Tally,
    openings: &[Opening],
) -> Result<Report, Refusal> {
    let mut names = Vec::new();
    for opening in openings {
        let releases = tally.releases_of(opening.hash());
        let releases = releases.ok_or_else(|| Refusal::Opening(opening.path.to_string()))?;
        let fields = opening.fields.iter().map(ToString::to_string).collect();
        let (path, hash) = (opening.path.to_string(), opening.hash());
        names.push(OpenedName { path, fields, hash, releases });
    }
    let top = signed.checkpoint();
    let mut report = Report {
        log: top.origin.clone(),
        size: top.size,
        root: top.root,
        witnesses,
        grown_from,
        tally,
        names,
        nodes: Vec::new(),
        claims: Vec::new(),
    };
    report.claims = claims(&report, None);
    Ok(report)
}

#[cfg(test)]
mod tests;
