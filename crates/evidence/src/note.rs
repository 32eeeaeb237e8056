//! Signed notes (C2SP signed-note) with Ed25519 keys, and cosignatures (C2SP tlog-cosignature).
//!
//! Two kinds of key are known: of logs (type 1) and of witnesses (type 4). Signatures of unknown
//! keys are kept and never believed; one that names a known key and does not verify spoils the note.

use std::fmt;

use data_encoding::BASE64;

use crate::hash::unbase64;

mod key;

pub use key::{KeyKind, Signer, VerifierKey, is_key_name};

/// More than a note of ours ever has; post-quantum cosignatures of others fit.
pub const NOTE_MAX: usize = 128 * 1024;
/// Most signatures that are looked at.
pub const SIGNATURES_MAX: usize = 64;
/// A cosignature: time, then the signature.
const COSIGNATURE_LEN: usize = 8 + 64;

/// Why a key or a note cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// A key is not written as C2SP signed-note has it.
    #[error("this is no key: name+id+base64 is expected")]
    Key,
    /// The name of a key is empty, or has spaces, control characters or `+`.
    #[error("a key's name is one word without +")]
    KeyName,
    /// Another kind of key is needed here.
    #[error("this key is of another kind: log keys are of type 1, witness keys of type 4")]
    KeyKind,
    /// It is not written as C2SP signed-note has it.
    #[error("this is no signed note: {0}")]
    Form(&'static str),
    /// A signature says that it is by this key, and is not.
    #[error("a signature in the name of {0} does not verify")]
    Forged(String),
    /// There is no signature by this key.
    #[error("there is no signature by {0}")]
    Unsigned(String),
}

/// One signature line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NoteSignature {
    /// Who says that they signed.
    pub name: String,
    /// Number of the key.
    pub id: [u8; 4],
    /// What the key made of the text.
    pub bytes: Vec<u8>,
}

/// Text and signatures, none of which has been believed yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// The message of a cosignature.
fn cosigned(text: &str, unix_seconds: u64) -> String {
    format!("cosignature/v1\ntime {unix_seconds}\n{text}")
}

impl NoteSignature {
    /// Reads one line, with its end of line.
    ///
    /// # Errors
    /// [`NoteError::Form`].
    pub fn parse(line: &str) -> Result<Self, NoteError> {
        const FORM: NoteError = NoteError::Form("a signature line is: — name base64");
        let line = line.strip_prefix("— ").and_then(|line| line.strip_suffix('\n'));
        let (name, base64) = line.and_then(|line| line.split_once(' ')).ok_or(FORM)?;
        let bytes = unbase64(base64).ok_or(FORM)?;
        let (id, bytes) = bytes.split_first_chunk().ok_or(FORM)?;
        if !is_key_name(name) {
            return Err(FORM);
        }
        Ok(Self { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
    }

    /// Whether it says that this key made it.
    #[must_use]
    pub fn is_by(&self, key: &VerifierKey) -> bool {
        self.name == key.name() && self.id == key.id()
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.id.to_vec();
        bytes.extend_from_slice(&self.bytes);
        writeln!(f, "— {} {}", self.name, BASE64.encode(&bytes))
    }
}

impl Note {
    /// A text with a signature.
    #[must_use]
    pub fn new(text: String, signatures: Vec<NoteSignature>) -> Self {
        Self { text, signatures }
    }

    /// Reads a note; nothing is verified.
    ///
    /// # Errors
    /// [`NoteError::Form`].
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > NOTE_MAX {
            return Err(NoteError::Form("it is too long"));
        }
        if note.contains(|c: char| c < ' ' && c != '\n') {
            return Err(NoteError::Form("it has control characters"));
        }
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::Form("no empty line"))?;
        let signatures: Result<Vec<_>, _> =
            lines.split_inclusive('\n').map(NoteSignature::parse).collect();
        let signatures = signatures?;
        if signatures.is_empty() {
            return Err(NoteError::Form("no signature"));
        }
        if signatures.len() > SIGNATURES_MAX {
            return Err(NoteError::Form("too many signatures"));
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// The text, with its last end of line.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, as they stand there.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds a signature, unless it is there.
    pub fn add(&mut self, signature: NoteSignature) {
        if !self.signatures.contains(&signature) {
            self.signatures.push(signature);
        }
    }

    /// Keeps what a caller wants to keep.
    pub fn retain(&mut self, keep: impl FnMut(&NoteSignature) -> bool) {
        self.signatures.retain(keep);
    }

    /// Verifies the signature of a log's key.
    ///
    /// # Errors
    /// [`NoteError::Unsigned`] where there is none, [`NoteError::Forged`] where one is false.
    pub fn verify(&self, key: &VerifierKey) -> Result<(), NoteError> {
        if key.kind() != KeyKind::Log {
            return Err(NoteError::KeyKind);
        }
        let mut found = false;
        for signature in self.signatures.iter().filter(|signature| signature.is_by(key)) {
            if !key.verifies(self.text.as_bytes(), &signature.bytes) {
                return Err(NoteError::Forged(key.name().to_owned()));
            }
            found = true;
        }
        if found { Ok(()) } else { Err(NoteError::Unsigned(key.name().to_owned())) }
    }

    /// Verifies the cosignatures of a witness's key; tells the time of the earliest.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_cosigned(&self, key: &VerifierKey) -> Result<u64, NoteError> {
        if key.kind() != KeyKind::Witness {
            return Err(NoteError::KeyKind);
        }
        let forged = || NoteError::Forged(key.name().to_owned());
        let mut earliest = None;
        for signature in self.signatures.iter().filter(|signature| signature.is_by(key)) {
            let (time, bytes) = signature.bytes.split_first_chunk::<8>().ok_or_else(forged)?;
            let time = u64::from_be_bytes(*time);
            let right = signature.bytes.len() == COSIGNATURE_LEN && time <= u64::MAX >> 1;
            if !right || !key.verifies(cosigned(&self.text, time).as_bytes(), bytes) {
                return Err(forged());
            }
            earliest = Some(earliest.map_or(time, |before: u64| before.min(time)));
        }
        earliest.ok_or_else(|| NoteError::Unsigned(key.name().to_owned()))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| write!(f, "{signature}"))
    }
}

#[cfg(test)]
mod tests;
