//! Signed notes (C2SP signed-note) with Ed25519 keys, and cosignatures (C2SP tlog-cosignature).
//!
//! Two kinds of key are known: of logs (type 1) and of witnesses (type 4). Signatures of unknown
//! keys are kept and never believed; one that names a known key and does not verify spoils the note.

use std::{fmt, str::FromStr};

use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::hash::unbase64;

/// More than a note of ours ever has; post-quantum cosignatures of others fit.
pub const NOTE_MAX: usize = 128 * 1024;
/// Most signatures that are looked at.
pub const SIGNATURES_MAX: usize = 64;
const SECRET_PREFIX: &str = "PRIVATE+KEY+";
/// A cosignature: time, then the signature.
const COSIGNATURE_LEN: usize = 8 + 64;

/// What a key signs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum KeyKind {
    /// Notes: a log's key.
    Log = 1,
    /// Checkpoints with the time: a witness's key.
    Witness = 4,
}

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

/// A public key with its name (a "vkey").
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    key: VerifyingKey,
}

/// A private key with its name. Wiped when dropped, and never shown.
pub struct Signer {
    name: String,
    kind: KeyKind,
    key: SigningKey,
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

impl KeyKind {
    const fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Log),
            4 => Some(Self::Witness),
            _ => None,
        }
    }
}

fn key_id(name: &str, kind: KeyKind, key: &VerifyingKey) -> [u8; 4] {
    let hash = Sha256::new()
        .chain_update(name)
        .chain_update(b"\n")
        .chain_update([kind as u8])
        .chain_update(key.as_bytes())
        .finalize();
    let mut id = [0; 4];
    id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    id
}

/// Whether a word can name a key.
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.contains(|c: char| c == '+' || c.is_whitespace() || c.is_control())
}

/// Name, number, kind, and the 32 bytes of a key of either half.
type KeyParts<'a> = (&'a str, [u8; 4], KeyKind, Zeroizing<[u8; 32]>);

/// Base64 of `kind || 32 bytes` with the id and the name before it.
fn parse_key(text: &str) -> Result<KeyParts<'_>, NoteError> {
    let mut parts = text.splitn(3, '+');
    let mut part = || parts.next().ok_or(NoteError::Key);
    let (name, id, key) = (part()?, part()?, part()?);
    if !is_key_name(name) {
        return Err(NoteError::KeyName);
    }
    let id = HEXLOWER.decode(id.as_bytes()).map_err(|_bad| NoteError::Key)?;
    let key = Zeroizing::new(unbase64(key).ok_or(NoteError::Key)?);
    let (kind, key) = key.split_first().ok_or(NoteError::Key)?;
    let kind = KeyKind::of(*kind).ok_or(NoteError::KeyKind)?;
    let id = id.try_into().map_err(|_bad| NoteError::Key)?;
    let key = key.try_into().map_err(|_bad| NoteError::Key)?;
    Ok((name, id, kind, Zeroizing::new(key)))
}

impl VerifierKey {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The number that signatures name it by.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        key_id(&self.name, self.kind, &self.key)
    }

    /// The bare public key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature = Signature::from_slice(signature);
        // SECURITY: strict, so that no second signature and no key of small order passes.
        signature.is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let (name, id, kind, key) = parse_key(text)?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_bad| NoteError::Key)?;
        if key.is_weak() || key_id(name, kind, &key) != id {
            return Err(NoteError::Key);
        }
        Ok(Self { name: name.to_owned(), kind, key })
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![self.kind as u8];
        key.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, HEXLOWER.encode(&self.id()), BASE64.encode(&key))
    }
}

impl Signer {
    /// Makes a key of 32 random bytes.
    ///
    /// # Errors
    /// [`NoteError::KeyName`].
    pub fn from_seed(name: &str, kind: KeyKind, seed: &[u8; 32]) -> Result<Self, NoteError> {
        if !is_key_name(name) {
            return Err(NoteError::KeyName);
        }
        Ok(Self { name: name.to_owned(), kind, key: SigningKey::from_bytes(seed) })
    }

    /// Reads what [`Self::to_secret`] wrote.
    ///
    /// # Errors
    /// [`NoteError`]; it shows nothing of the text.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let text = text.trim_end_matches('\n').strip_prefix(SECRET_PREFIX).ok_or(NoteError::Key)?;
        let (name, id, kind, seed) = parse_key(text)?;
        let signer = Self::from_seed(name, kind, &seed)?;
        if signer.verifier().id() == id { Ok(signer) } else { Err(NoteError::Key) }
    }

    /// Writes the private key, as Go's `note` package does.
    #[must_use]
    pub fn to_secret(&self) -> Zeroizing<String> {
        let mut key = Zeroizing::new(vec![self.kind as u8]);
        key.extend_from_slice(self.key.as_bytes());
        let id = HEXLOWER.encode(&self.verifier().id());
        let key = Zeroizing::new(BASE64.encode(&key));
        Zeroizing::new(format!("{SECRET_PREFIX}{}+{id}+{}", self.name, *key))
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The public half.
    #[must_use]
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey { name: self.name.clone(), kind: self.kind, key: self.key.verifying_key() }
    }

    /// Signs a text; a witness also says when. A log's signature has no time.
    #[must_use]
    pub fn sign(&self, text: &str, unix_seconds: u64) -> NoteSignature {
        let bytes = match self.kind {
            KeyKind::Log => self.key.sign(text.as_bytes()).to_bytes().to_vec(),
            KeyKind::Witness => {
                let signature = self.key.sign(cosigned(text, unix_seconds).as_bytes());
                let mut bytes = unix_seconds.to_be_bytes().to_vec();
                bytes.extend_from_slice(&signature.to_bytes());
                bytes
            }
        };
        NoteSignature { name: self.name.clone(), id: self.verifier().id(), bytes }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("name", &self.name).finish_non_exhaustive()
    }
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
        self.name == key.name && self.id == key.id()
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
        if key.kind != KeyKind::Log {
            return Err(NoteError::KeyKind);
        }
        let mut found = false;
        for signature in self.signatures.iter().filter(|signature| signature.is_by(key)) {
            if !key.verifies(self.text.as_bytes(), &signature.bytes) {
                return Err(NoteError::Forged(key.name.clone()));
            }
            found = true;
        }
        if found { Ok(()) } else { Err(NoteError::Unsigned(key.name.clone())) }
    }

    /// Verifies the cosignatures of a witness's key; tells the time of the earliest.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_cosigned(&self, key: &VerifierKey) -> Result<u64, NoteError> {
        if key.kind != KeyKind::Witness {
            return Err(NoteError::KeyKind);
        }
        let forged = || NoteError::Forged(key.name.clone());
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
        earliest.ok_or_else(|| NoteError::Unsigned(key.name.clone()))
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
