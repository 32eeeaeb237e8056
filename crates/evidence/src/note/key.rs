//! Keys that sign notes, as C2SP signed-note writes them: name, number, kind, and 32 bytes.

use std::{fmt, str::FromStr};

use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{NoteError, NoteSignature, cosigned};
use crate::hash::unbase64;

const SECRET_PREFIX: &str = "PRIVATE+KEY+";

/// What a key signs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum KeyKind {
    /// Notes: a log's key.
    Log = 1,
    /// Checkpoints with the time: a witness's key.
    Witness = 4,
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

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
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

    /// The same key once more, for a log that is opened twice.
    pub(crate) fn copy(&self) -> Self {
        Self { name: self.name.clone(), kind: self.kind, key: self.key.clone() }
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
