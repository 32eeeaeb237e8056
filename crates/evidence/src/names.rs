//! Names of secrets as keyed hashes, and how their owner opens one for an auditor.
//!
//! The log holds a hash that says nothing to whom has not the key, and is the same for the same
//! name, so that releases of one secret can be counted. An [`Opening`] shows one name and proves it
//! without the key: who gets one cannot try other names.

use std::fmt;

use data_encoding::HEXLOWER_PERMISSIVE;
use hmac::{Hmac, KeyInit as _, Mac as _};
use minicbor::{Decode, Encode};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{
    hash::Digest,
    receipt::{Name, NameError},
};

const BLINDING: &[u8] = b"cloudtaser name blinding v1\0";
const HASH: &[u8] = b"cloudtaser name v1\0";

/// The owner's key to names. Wiped when dropped, and never shown.
pub struct NameKey(Zeroizing<[u8; 32]>);

/// A key that is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a name key is 64 hexadecimal digits")]
pub struct NameKeyError;

/// One name, and what proves that a hash in the log is of it.
#[derive(Clone, Debug, Decode, Encode, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cbor(map)]
pub struct Opening {
    /// The path, as OpenBao's audit log has it.
    #[n(0)]
    pub path: Name,
    /// The fields, sorted.
    #[n(1)]
    pub fields: Vec<Name>,
    /// What the key made of both.
    #[n(2)]
    pub blinding: Digest,
}

impl NameKey {
    /// Takes 32 random bytes.
    #[must_use]
    pub const fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`NameKeyError`]; it shows nothing of the text.
    pub fn parse(text: &str) -> Result<Self, NameKeyError> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.trim_end_matches('\n').as_bytes());
        let bytes = Zeroizing::new(bytes.map_err(|_bad| NameKeyError)?);
        let bytes = bytes.as_slice().try_into().map_err(|_bad| NameKeyError)?;
        Ok(Self(Zeroizing::new(bytes)))
    }

    /// The hash of a name, for a receipt.
    ///
    /// # Errors
    /// [`NameError`] for a path or a field that no receipt can be opened to.
    pub fn hash(&self, path: &str, fields: &[&str]) -> Result<Digest, NameError> {
        self.open(path, fields).map(|opening| opening.hash())
    }

    /// What shows this name to whom has not the key.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn open(&self, path: &str, fields: &[&str]) -> Result<Opening, NameError> {
        let path = Name::try_from(path)?;
        let fields: Result<Vec<Name>, _> =
            fields.iter().map(|field| Name::try_from(*field)).collect();
        let mut fields = fields?;
        fields.sort();
        fields.dedup();
        let message = message(&path, &fields);
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(self.0.as_slice()) else {
            return Err(NameError);
        };
        let mac = mac.chain_update(BLINDING).chain_update(&message);
        let blinding = Digest::new(mac.finalize().into_bytes().into());
        Ok(Opening { path, fields, blinding })
    }
}

impl fmt::Debug for NameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameKey")
    }
}

impl Opening {
    /// The hash that a receipt has of this name.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let hash = Sha256::new()
            .chain_update(HASH)
            .chain_update(self.blinding.as_bytes())
            .chain_update(message(&self.path, &self.fields));
        Digest::new(hash.finalize().into())
    }
}

/// Path and fields, each after its length.
fn message(path: &Name, fields: &[Name]) -> Vec<u8> {
    let mut message = Vec::new();
    for text in std::iter::once(path).chain(fields) {
        let length = u32::try_from(text.as_str().len()).unwrap_or(u32::MAX);
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(text.as_str().as_bytes());
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> NameKey {
        NameKey::new(Zeroizing::new([byte; 32]))
    }

    #[test]
    fn the_hash_is_of_path_and_fields_together_and_of_the_key() {
        let hash = key(1).hash("secret/data/db", &["password", "user"]).unwrap();
        assert_eq!(key(1).hash("secret/data/db", &["user", "password", "user"]), Ok(hash));
        for (path, fields) in [
            ("secret/data/db", &["password"][..]),
            ("secret/data/db", &["passworduser"]),
            ("secret/data/dbpassword", &["user"]),
        ] {
            assert_ne!(key(1).hash(path, fields), Ok(hash));
        }
        assert_ne!(key(2).hash("secret/data/db", &["password", "user"]), Ok(hash));
    }

    #[test]
    fn an_opening_proves_its_name_and_no_other() {
        let opening = key(1).open("secret/data/db", &["password"]).unwrap();
        assert_eq!(key(1).hash("secret/data/db", &["password"]), Ok(opening.hash()));
        let other =
            Opening { path: Name::try_from("secret/data/other").unwrap(), ..opening.clone() };
        assert_ne!(key(1).hash("secret/data/other", &["password"]), Ok(other.hash()));
        assert_eq!(
            opening.hash().to_string(),
            "dedb320bfbfbbf150827e742d9cdab2008d1041b3f310f099d064f2987a26df2"
        );
    }

    #[test]
    fn keys_are_sixty_four_digits() {
        assert!(NameKey::parse(&format!("{}\n", "ab".repeat(32))).is_ok());
        for wrong in ["", "ab", &"xy".repeat(32)] {
            assert!(NameKey::parse(wrong).is_err());
        }
        assert_eq!(format!("{:?}", key(1)), "NameKey");
    }
}
