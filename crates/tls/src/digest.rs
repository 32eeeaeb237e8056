//! SHA-256 and HMAC by the provider, for protocols of our own.
//!
//! It is made once and kept: looking for a suite in the provider costs more than the hash itself.

use std::io::{self, Read};

use cloudtaser_core::Secret;
use rustls::crypto::{
    hash::{Hash, HashAlgorithm},
    tls13::{Hkdf, OkmBlock},
};

use crate::{error::TlsError, provider::provider};

/// The two functions. Copies are free.
#[derive(Clone, Copy)]
pub struct Digest {
    hash: &'static dyn Hash,
    hmac: &'static dyn Hkdf,
}

/// A key of HMAC-SHA-256. It is wiped when it is dropped.
pub struct MacKey(OkmBlock);

impl Digest {
    /// Looks for both in the provider.
    ///
    /// # Errors
    /// [`TlsError::Cpu`].
    pub fn new() -> Result<Self, TlsError> {
        let provider = provider()?;
        let suites = provider.cipher_suites.iter().filter_map(|suite| suite.tls13());
        suites
            .map(|suite| Self { hash: suite.common.hash_provider, hmac: suite.hkdf_provider })
            .find(|digest| digest.hash.algorithm() == HashAlgorithm::SHA256)
            .ok_or_else(|| TlsError::Refused(rustls::Error::General("no SHA-256".to_owned())))
    }

    /// SHA-256 of the parts, one behind the other.
    #[must_use]
    pub fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = self.hash.start();
        for part in parts {
            context.update(part);
        }
        whole(context.finish().as_ref())
    }

    /// SHA-256 of all that can be read, of which little is held at a time.
    ///
    /// # Errors
    /// The reader's.
    pub fn sha256_of(&self, from: &mut impl Read) -> io::Result<[u8; 32]> {
        let mut context = self.hash.start();
        let mut chunk = vec![0; 64 << 10];
        loop {
            match from.read(&mut chunk) {
                Ok(0) => return Ok(whole(context.finish().as_ref())),
                Ok(len) => context.update(chunk.get(..len).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// HMAC-SHA-256 of the parts, one behind the other.
    #[must_use]
    pub fn hmac(&self, key: &MacKey, parts: &[&[u8]]) -> [u8; 32] {
        whole(self.hmac.hmac_sign(&key.0, &parts.concat()).as_ref())
    }

    /// HMAC-SHA-256 as a key for a narrower purpose.
    #[must_use]
    pub fn derive(&self, key: &MacKey, parts: &[&[u8]]) -> MacKey {
        MacKey::new(&self.hmac(key, parts))
    }
}

impl MacKey {
    /// How long a key is.
    pub const LEN: usize = 32;

    /// Copies the key.
    #[must_use]
    pub fn new(bytes: &[u8; Self::LEN]) -> Self {
        Self(OkmBlock::new(bytes))
    }

    /// The bytes, for the one place that hands them on.
    #[must_use]
    pub fn expose(&self) -> [u8; Self::LEN] {
        whole(self.0.as_ref())
    }

    /// The bytes as a secret.
    #[must_use]
    pub fn to_secret(&self) -> Secret {
        Secret::new(self.0.as_ref().to_vec())
    }
}

/// Compares without telling by time where the two differ.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len()
        && std::hint::black_box(a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b))) == 0
}

/// A digest of the algorithm that [`Digest::new`] looked for has this length.
fn whole(bytes: &[u8]) -> [u8; 32] {
    let mut array = [0; 32];
    for (to, from) in array.iter_mut().zip(bytes) {
        *to = *from;
    }
    array
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest(SHA-256)")
    }
}

impl std::fmt::Debug for MacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MacKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    #[test]
    fn both_are_those_of_the_standards() {
        let digest = Digest::new().unwrap();
        let hash = HEXLOWER.encode(&digest.sha256(&[b"a", b"", b"bc"]));
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let long = vec![7; 200_000];
        assert_eq!(digest.sha256_of(&mut &long[..]).unwrap(), digest.sha256(&[&long]));
        // RFC 4231, case 1, its key filled up with zeros as HMAC does.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let mac = HEXLOWER.encode(&digest.hmac(&MacKey::new(&key), &[b"Hi ", b"There"]));
        assert_eq!(mac, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }

    #[test]
    fn comparing_needs_length_and_bytes() {
        assert!(same(b"abc", b"abc") && same(b"", b""));
        assert!(!same(b"abc", b"abd") && !same(b"abc", b"ab"));
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", MacKey::new(&[7; 32])), "MacKey(redacted)");
    }
}
