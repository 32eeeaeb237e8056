//! Signatures outside of a handshake, by the same keys.
//!
//! The caller puts its own words in front of what is signed; those of TLS begin with 64 spaces
//! (RFC 8446 §4.4.3), so that neither can be taken for the other.

use rustls::SignatureScheme;

use super::{KeyPair, PublicKey};
use crate::{error::TlsError, provider::provider};

/// Bytes of a signature.
pub const SIGNATURE_LEN: usize = 64;

impl KeyPair {
    /// Signs with Ed25519.
    ///
    /// # Errors
    /// [`TlsError::Refused`].
    pub fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], TlsError> {
        let refused = |what: &str| TlsError::Refused(rustls::Error::General(what.to_owned()));
        let signer = self.key.choose_scheme(&[SignatureScheme::ED25519]);
        let signer = signer.ok_or_else(|| refused("the key does not sign"))?;
        let signature = signer.sign(message).map_err(TlsError::Refused)?;
        signature.try_into().map_err(|_odd| refused("a signature of another length"))
    }
}

impl PublicKey {
    /// Whether the holder of this key has signed the message.
    ///
    /// # Errors
    /// [`TlsError::Cpu`].
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> Result<bool, TlsError> {
        let provider = provider()?;
        let known = provider.signature_verification_algorithms.mapping;
        let found = known.iter().find(|(scheme, _)| *scheme == SignatureScheme::ED25519);
        let algorithm = found.and_then(|(_, algorithms)| algorithms.first());
        let verified = algorithm
            .map(|algorithm| algorithm.verify_signature(self.as_bytes(), message, signature));
        Ok(matches!(verified, Some(Ok(()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_one_key_and_one_message() {
        let (pair, _) = KeyPair::generate().unwrap();
        let (other, _) = KeyPair::generate().unwrap();
        let signature = pair.sign(b"words").unwrap();
        assert!(pair.public().has_signed(b"words", &signature).unwrap());
        assert!(!pair.public().has_signed(b"word", &signature).unwrap());
        assert!(!other.public().has_signed(b"words", &signature).unwrap());
        for at in 0..SIGNATURE_LEN {
            let mut changed = signature;
            changed[at] ^= 1;
            assert!(!pair.public().has_signed(b"words", &changed).unwrap(), "byte {at}");
        }
        assert!(!pair.public().has_signed(b"words", &signature[..63]).unwrap());
    }

    /// RFC 8032, 7.1, test 2.
    #[test]
    fn a_signature_is_that_of_the_standard() {
        let decode = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        let key = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        let signature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        let key = PublicKey::from_bytes(decode(key).try_into().unwrap());
        assert!(key.has_signed(&[0x72], &decode(signature)).unwrap());
    }
}
