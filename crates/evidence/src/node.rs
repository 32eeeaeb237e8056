//! What a node has signed about a launch, as it is archived with the receipts of that launch.
//!
//! A document is deterministic CBOR: a mark, the statement ([`NodeStatement`]), the node's key and its
//! signature. It says by itself that the key's holder made this statement; *whose* key it is only a
//! release policy says. The receipt has the document's hash, and the document has the receipt's
//! session and recipient, so neither can be laid beside another.
//!
//! What a software key does not show: that it was not stolen, or that the machine is what it says.
//! How far a document reaches is therefore for a policy to say, which knows nodes and their TPMs.

use cloudtaser_core::{
    node::{
        Hash, NodeEvidence, NodeStatement, StatementError, TpmEvidence, quoted_bytes,
        reported_bytes, signed_bytes,
    },
    release::{
        hardware::Hardware,
        nodes::{Attested, Quoted},
    },
};
use data_encoding::HEXLOWER;
use ed25519_dalek::{Signature, VerifyingKey};
use minicbor::{Decode, Encode, decode, to_vec};
use sha2::{Digest as _, Sha512};

use crate::{
    attest::{
        machine::{self, MachineError},
        tpm::{self, TpmError},
    },
    export::DOCUMENT_MAX,
    hash::{Digest, unbase64},
};

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
    /// What its TPM is said to have signed.
    #[error("its TPM's quote is refused")]
    Tpm(#[from] TpmError),
    /// What the processor of a confidential machine is said to have signed.
    #[error("its report of a confidential machine is refused")]
    Machine(#[from] MachineError),
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
    /// What the node's TPM signed of the statement, where there is one.
    #[n(4)]
    pub tpm: Option<TpmDocument>,
    /// What the processor of a confidential machine signed of it, where the node is one.
    #[n(5)]
    pub machine: Option<machine::Report>,
}

/// A quote, with what explains it. Structures are the TPM's own.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(map)]
pub struct TpmDocument {
    /// The key (`TPMT_PUBLIC`).
    #[cbor(n(0), with = "minicbor::bytes")]
    pub key: Vec<u8>,
    /// What it signed (`TPMS_ATTEST`).
    #[cbor(n(1), with = "minicbor::bytes")]
    pub quote: Vec<u8>,
    /// Its signature (`TPMT_SIGNATURE`).
    #[cbor(n(2), with = "minicbor::bytes")]
    pub signature: Vec<u8>,
    /// The registers that the quote covers, lowest first.
    #[n(3)]
    pub registers: Vec<Register>,
    /// The firmware's event log.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub log: Vec<u8>,
}

/// A register and its value.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(map)]
pub struct Register {
    /// Its number.
    #[n(0)]
    pub number: u8,
    /// Its value.
    #[n(1)]
    pub value: Digest,
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
    /// What the node's TPM signed of it.
    pub tpm: Option<tpm::Verified>,
    /// What the processor of a confidential machine signed of it.
    pub hardware: Option<Hardware>,
}

impl Document {
    /// Puts together what a node gave.
    #[must_use]
    pub fn new(statement: String, key: &Hash, signature: Vec<u8>) -> Self {
        let key = Digest::new(*key.as_bytes());
        Self { kind: KIND.to_owned(), statement, key, signature, tpm: None, machine: None }
    }

    /// Takes what a node gave as it travels. A report of a confidential machine is left out: it may
    /// come without what it is verified with ([`Self::take_report`]).
    ///
    /// # Errors
    /// [`NodeError::Signature`], [`NodeError::Form`] where something is not hexadecimal or base64.
    pub fn of(evidence: &NodeEvidence) -> Result<Self, NodeError> {
        let signature = HEXLOWER.decode(evidence.signature.as_bytes());
        let signature = signature.map_err(|_digits| NodeError::Signature)?;
        let mut document = Self::new(evidence.statement.clone(), &evidence.key, signature);
        document.tpm = evidence.tpm.as_ref().map(TpmDocument::of).transpose()?;
        Ok(document)
    }

    /// Takes the report of a confidential machine, where there is one and it holds as of `at`, with
    /// what it was verified with. One that does not hold is left out, and shows nothing.
    ///
    /// # Errors
    /// [`NodeError::Machine`] says why it was left out.
    pub fn take_report(
        &mut self,
        evidence: &NodeEvidence,
        files: &[Vec<u8>],
        at: u64,
    ) -> Result<(), NodeError> {
        let Some(given) = &evidence.hardware else { return Ok(()) };
        let bytes = |text: &str| unbase64(text).ok_or(MachineError::Kind);
        let (report, table) = (bytes(&given.report)?, bytes(&given.table)?);
        let report = machine::complete(&given.provider, report, table, files, at)?;
        // The statement's own time too, which is what everybody who looks later goes by.
        let said = NodeStatement::parse(&self.statement)?.at;
        for at in [at, said] {
            report.verify(&self.report_data(), at)?;
        }
        self.machine = Some(report);
        Ok(())
    }

    /// What the processor has to have signed along.
    fn report_data(&self) -> [u8; 64] {
        Sha512::digest(reported_bytes(&self.statement)).into()
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
        let data = Digest::of(&quoted_bytes(&self.statement));
        let tpm = self.tpm.as_ref().map(|tpm| tpm.verify(&data)).transpose()?;
        // As of the moment that the statement names: years later the same certificates are too old.
        let report = self.machine.as_ref();
        let hardware =
            report.map(|report| report.verify(&self.report_data(), statement.at)).transpose()?;
        Ok(Signed { key: self.key, statement, tpm, hardware })
    }
}

impl TpmDocument {
    fn of(tpm: &TpmEvidence) -> Result<Self, NodeError> {
        let bytes = |text: &str| {
            let odd = || NodeError::Form("a part is not in base64".to_owned());
            unbase64(text).ok_or_else(odd)
        };
        let register = |(number, value): (&u8, &Hash)| Register {
            number: *number,
            value: Digest::new(*value.as_bytes()),
        };
        Ok(Self {
            key: bytes(&tpm.key)?,
            quote: bytes(&tpm.quote)?,
            signature: bytes(&tpm.signature)?,
            registers: tpm.registers.iter().map(register).collect(),
            log: bytes(&tpm.log)?,
        })
    }

    /// Verifies the quote, and that it is over this data.
    fn verify(&self, data: &Digest) -> Result<tpm::Verified, NodeError> {
        let values = self.registers.iter().map(|register| (register.number, register.value));
        let values: tpm::Registers = values.collect();
        if values.len() != self.registers.len() {
            return Err(NodeError::NotCanonical);
        }
        let evidence = tpm::Evidence {
            key: &self.key,
            quote: &self.quote,
            signature: &self.signature,
            values: &values,
            log: &self.log,
        };
        Ok(tpm::verify(&evidence, data.as_bytes())?)
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

    /// The same for a policy, which knows whose keys these are.
    #[must_use]
    pub fn attested(&self) -> Attested {
        let hash = |digest: &Digest| Hash::new(*digest.as_bytes());
        let tpm = self.tpm.as_ref().map(|quote| Quoted {
            key: hash(&quote.key),
            registers: quote.registers.iter().map(|(at, value)| (*at, hash(value))).collect(),
        });
        let (statement, hardware) = (self.statement.clone(), self.hardware.clone());
        Attested { key: hash(&self.key), statement, tpm, hardware }
    }
}

#[cfg(test)]
pub(crate) mod tests;
