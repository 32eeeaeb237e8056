//! Bundles: receipts with all that an auditor needs to verify them, in one file.
//!
//! Deterministic CBOR between a mark and a SHA-256 of all before it. One bundle has one form, so
//! that no byte of it can be another.

use minicbor::{Decode, Encode, bytes::ByteVec, decode, to_vec};

use crate::{hash::Digest, names::Opening, tree::PROOF_MAX};

/// How every bundle begins.
pub const MAGIC: &[u8] = b"cloudtaser evidence 1\n";
/// Bytes of the hash at the end.
const HASH_LEN: usize = 32;
/// A bundle that a verifier takes into memory.
pub const BUNDLE_MAX: usize = 1 << 30;

/// Why a file is no bundle.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// It begins otherwise.
    #[error("this is no evidence bundle, or one of a later format")]
    Mark,
    /// The hash at its end is of something else.
    #[error("the bundle was changed or cut: its last 32 bytes are not the hash of the rest")]
    Hash,
    /// It is not the CBOR that the format says.
    #[error("the bundle cannot be read: {0}")]
    Form(String),
    /// The same could be written otherwise.
    #[error("the bundle is not in the one form that it may have")]
    NotCanonical,
}

/// A receipt and its place.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(map)]
pub struct Item {
    /// Position in the log.
    #[n(0)]
    pub index: u64,
    /// The bytes that were logged.
    #[n(1)]
    pub leaf: ByteVec,
    /// The neighbours on the way to the root.
    #[n(2)]
    pub path: Vec<Digest>,
}

/// An older checkpoint, and that the log only grew since.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(map)]
pub struct Earlier {
    /// The signed note.
    #[n(0)]
    pub checkpoint: String,
    /// RFC 6962 §2.1.2.
    #[n(1)]
    pub path: Vec<Digest>,
}

/// What an auditor gets.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(map)]
pub struct Bundle {
    /// The signed note that all proofs lead to, with the witnesses' signatures.
    #[n(0)]
    pub checkpoint: String,
    /// Receipts by position.
    #[n(1)]
    pub receipts: Vec<Item>,
    /// Names that the owner opens.
    #[n(2)]
    pub openings: Vec<Opening>,
    /// Documents that receipts have the hash of: statements of evidence and what verifies them.
    #[n(3)]
    pub documents: Vec<ByteVec>,
    /// Older checkpoints.
    #[n(4)]
    pub earlier: Vec<Earlier>,
}

impl Bundle {
    /// Puts everything in its order.
    pub fn sort(&mut self) {
        self.receipts.sort_by_key(|item| item.index);
        self.receipts.dedup_by_key(|item| item.index);
        self.openings.sort();
        self.openings.dedup();
        self.documents.sort();
        self.documents.dedup();
    }

    /// The file.
    ///
    /// # Errors
    /// [`BundleError::Form`], which does not happen.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BundleError> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(to_vec(self).map_err(|error| BundleError::Form(error.to_string()))?);
        let hash = Digest::of(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        Ok(bytes)
    }

    /// Reads a file; no proof and no signature is verified.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        if !bytes.starts_with(MAGIC) {
            return Err(BundleError::Mark);
        }
        let (before, hash) = bytes.split_last_chunk::<HASH_LEN>().ok_or(BundleError::Hash)?;
        if Digest::of(before) != Digest::new(*hash) {
            return Err(BundleError::Hash);
        }
        let body = before.strip_prefix(MAGIC).ok_or(BundleError::Mark)?;
        let bundle: Self = decode(body).map_err(|error| BundleError::Form(error.to_string()))?;
        let mut sorted = bundle.clone();
        sorted.sort();
        let short = |path: &Vec<Digest>| path.len() <= PROOF_MAX;
        let right = bundle.receipts.iter().all(|item| short(&item.path))
            && bundle.earlier.iter().all(|earlier| short(&earlier.path));
        if !right || sorted != bundle || bundle.to_bytes()? != bytes {
            return Err(BundleError::NotCanonical);
        }
        Ok(bundle)
    }
}
