//! SHA-256, and the two hashes of the tree (RFC 6962 §2.1).

use std::{
    fmt,
    io::{self, Read},
};

use data_encoding::{BASE64, HEXLOWER};
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// A SHA-256 hash: of a leaf, of a node, or of a document.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Takes the bytes of a hash.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Hashes a document.
    #[must_use]
    pub fn of(document: &[u8]) -> Self {
        Self(Sha256::digest(document).into())
    }

    /// Hashes all that there is to read, in small pieces.
    ///
    /// # Errors
    /// What reading says.
    pub fn of_all(mut document: impl Read) -> io::Result<Self> {
        let (mut hasher, mut piece) = (Sha256::new(), [0; 16 * 1024]);
        loop {
            match document.read(&mut piece) {
                Ok(0) => return Ok(Self(hasher.finalize().into())),
                Ok(len) => hasher.update(piece.get(..len).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Hashes a leaf. RFC 6962 §2.1: the prefix keeps a leaf from being taken for a node.
    #[must_use]
    pub fn leaf(entry: &[u8]) -> Self {
        Self(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
    }

    /// Hashes two neighbours into their parent.
    #[must_use]
    pub fn node(left: Self, right: Self) -> Self {
        let hash = Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0);
        Self(hash.finalize().into())
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Base64, as checkpoints and proofs have it.
    #[must_use]
    pub fn to_base64(self) -> String {
        BASE64.encode(&self.0)
    }

    /// Reads base64 of exactly one hash.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        Self::from_slice(&unbase64(text)?)
    }

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        Self::from_slice(&HEXLOWER.decode(text.as_bytes()).ok()?)
    }

    /// Takes exactly 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// Reads base64 in its one form. The decoder alone would take padding in the middle as well.
pub(crate) fn unbase64(text: &str) -> Option<Vec<u8>> {
    let bytes = BASE64.decode(text.as_bytes()).ok()?;
    let written = Zeroizing::new(BASE64.encode(&bytes));
    if *written == text {
        return Some(bytes);
    }
    drop(Zeroizing::new(bytes));
    None
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<C> Encode<C> for Digest {
    fn encode<W: encode::Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        encoder.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Digest {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let bytes = decoder.bytes()?;
        Self::from_slice(bytes).ok_or_else(|| decode::Error::message("a hash has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_one_form() {
        assert_eq!(unbase64("QUJD"), Some(b"ABC".to_vec()));
        assert_eq!(unbase64(""), Some(Vec::new()));
        for wrong in ["QQ==QQ==", "QQ==QUJD", "QQ=", "QR==", "QUJD\n", " QUJD", "QUJ", "QUI-"] {
            assert_eq!(unbase64(wrong), None, "{wrong:?}");
        }
    }
}
