//! What a node has signed about a launch, as it is archived with the receipts of that launch.
//!
//! A document is deterministic CBOR: a mark, the statement ([`NodeStatement`]), the node's key and its
//! signature. It says by itself that the key's holder made this statement; *whose* key it is only a
//! release policy says. The receipt has the document's hash, and the document has the receipt's
//! session and recipient, so neither can be laid beside another.
//!
//! What a software key does not show: that it was not stolen, or that the machine is what it says.
//! A document without evidence of hardware is therefore worth [`Assurance::L0`].

use cloudtaser_core::node::{Hash, NodeStatement, StatementError, signed_bytes};
use ed25519_dalek::{Signature, VerifyingKey};
use minicbor::{Decode, Encode, decode, to_vec};

use crate::{export::DOCUMENT_MAX, hash::Digest, receipt::Assurance};

/// How every document of this kind begins, as CBOR: a map whose first member says what it is.
const KIND: &str = "cloudtaser node evidence 1";
/// Bytes of a signature.
const SIGNATURE_LEN: usize = 64;

/// Why a document shows nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// It is not the CBOR that the format says.
    #[error("it cannot be read: {0}")]
    Form(String),
    /// The same could be written otherwise.
    #[error("it is not in the one form that it may have")]
    NotCanonical,
    /// It is too long.
    #[error("it has more than {DOCUMENT_MAX} bytes")]
    TooLong,
    /// What was signed is no statement.
    #[error("its statement is refused")]
    Statement(#[from] StatementError),
    /// The key is none, or one whose signatures hold for every text.
    #[error("its key is none that can sign")]
    Key,
    /// Somebody else has signed, or something else.
    #[error("its signature is not by its key")]
    Signature,
    /// It was made for another session.
    #[error("it was made for another session")]
    Session,
    /// It names another key to seal to.
    #[error("it was made for another launch: it names another sealing key")]
    Sealing,
    /// It is about a process of another pod, or of none.
    #[error("it is about a process of {0}, not of this pod")]
    Pod(String),
    /// The wrapper is another one than was said.
    #[error("it is about another wrapper than the launch said")]
    Wrapper,
    /// The node's clock or the statement is old.
    #[error("it is dated {seconds} s {way}: the node's clock is wrong, or it is an old one")]
    Time {
        /// How far.
        seconds: u64,
        /// In which direction.
        way: &'static str,
    },
}

/// What is archived.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(map)]
pub struct Document {
    #[n(0)]
    kind: String,
    /// The text that was signed.
    #[n(1)]
    pub statement: String,
    /// The node's public key.
    #[n(2)]
    pub key: Digest,
    /// Its signature.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub signature: Vec<u8>,
}

/// What a statement must have been made for.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The session.
    pub session: Digest,
    /// SHA-256 of the key that answers are sealed to.
    pub sealing: Digest,
    /// The pod's UID, as its token has it.
    pub pod: &'a str,
}

/// A document whose signature holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signed {
    /// The key that signed.
    pub key: Digest,
    /// What it says.
    pub statement: NodeStatement,
}

impl Document {
    /// Puts together what a node gave.
    #[must_use]
    pub fn new(statement: String, key: &Hash, signature: Vec<u8>) -> Self {
        Self { kind: KIND.to_owned(), statement, key: Digest::new(*key.as_bytes()), signature }
    }

    /// Whether these bytes say of themselves that they are one. What does not is not looked at.
    #[must_use]
    pub fn is_one(bytes: &[u8]) -> bool {
        // A map, key 0, a text of 26 bytes.
        let mark = [&[0x00, 0x78, 26][..], KIND.as_bytes()].concat();
        bytes.get(1..).is_some_and(|rest| rest.starts_with(&mark))
    }

    /// The bytes that receipts have the hash of.
    ///
    /// # Errors
    /// [`NodeError::Form`], which does not happen.
    pub fn to_bytes(&self) -> Result<Vec<u8>, NodeError> {
        to_vec(self).map_err(|error| NodeError::Form(error.to_string()))
    }

    /// Reads a document; the signature is not verified.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NodeError> {
        if bytes.len() > DOCUMENT_MAX {
            return Err(NodeError::TooLong);
        }
        let document: Self = decode(bytes).map_err(|error| NodeError::Form(error.to_string()))?;
        if document.kind != KIND || document.to_bytes()? != bytes {
            return Err(NodeError::NotCanonical);
        }
        Ok(document)
    }

    /// Verifies the signature, strictly (RFC 8032), and reads what was signed.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn verify(&self) -> Result<Signed, NodeError> {
        let key = VerifyingKey::from_bytes(self.key.as_bytes()).map_err(|_point| NodeError::Key)?;
        if key.is_weak() {
            return Err(NodeError::Key);
        }
        let signature: [u8; SIGNATURE_LEN] =
            self.signature.as_slice().try_into().map_err(|_length| NodeError::Signature)?;
        key.verify_strict(&signed_bytes(&self.statement), &Signature::from_bytes(&signature))
            .map_err(|_wrong| NodeError::Signature)?;
        let statement = NodeStatement::parse(&self.statement)?;
        Ok(Signed { key: self.key, statement })
    }
}

impl Signed {
    /// Whether the statement was made for this launch in this session.
    ///
    /// # Errors
    /// [`NodeError::Session`], [`NodeError::Sealing`], [`NodeError::Pod`].
    pub fn is_of(&self, launch: &Launch<'_>) -> Result<(), NodeError> {
        let said = &self.statement;
        if said.session.as_bytes() != launch.session.as_bytes() {
            return Err(NodeError::Session);
        }
        if said.sealing.as_bytes() != launch.sealing.as_bytes() {
            return Err(NodeError::Sealing);
        }
        match said.launch.pod.as_deref() {
            // SECURITY: a process outside all pods is whoever root of the node started.
            None => Err(NodeError::Pod("no pod".to_owned())),
            Some(pod) if pod != launch.pod => Err(NodeError::Pod(format!("pod {pod}"))),
            Some(_) => Ok(()),
        }
    }

    /// Whether it was made within so many seconds of this moment (seconds since 1970).
    ///
    /// # Errors
    /// [`NodeError::Time`].
    pub fn is_recent(&self, now: u64, within: u64) -> Result<(), NodeError> {
        let at = self.statement.at;
        let (seconds, way) = if at > now { (at - now, "ahead") } else { (now - at, "back") };
        if seconds > within { Err(NodeError::Time { seconds, way }) } else { Ok(()) }
    }

    /// How far this reaches. A key in software is the node's own word: whoever was root when it was
    /// made, or reads the node's disk, can sign with it.
    #[must_use]
    pub const fn assurance(&self) -> Assurance {
        Assurance::L0
    }
}

#[cfg(test)]
pub(crate) mod tests;
