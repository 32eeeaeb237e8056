//! Answers that one launch alone can open: HPKE (RFC 9180) with the hybrid post-quantum KEM X-Wing.
//!
//! TLS ends at whoever holds the session's keys. What is sealed here ends at the key that the launch
//! made for itself, and opens only together with the receipts that the bridge wrote: a session that
//! is relayed or diverted carries nothing that its thief could use, and a value without a receipt is
//! no value.

use hpke::{
    Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _, aead::ChaCha20Poly1305,
    kdf::HkdfSha256, kem::XWing, single_shot_open, single_shot_seal,
};
use zeroize::Zeroizing;

/// The suite, as receipts name it.
pub const SUITE: &str = "X-Wing/HKDF-SHA256/ChaCha20Poly1305";
/// Length of a key that is sealed to.
pub const PUBLIC_LEN: usize = 1216;
/// Length of an encapsulated key, which stands before the ciphertext.
pub const ENCAPSULATED_LEN: usize = 1120;

/// Why something was not sealed or opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The key is none of X-Wing's.
    #[error("the key is not one that can be sealed to")]
    Key,
    /// It was not sealed to this key, for this request and with these receipts.
    #[error("the answer was not sealed to this launch, or not with these receipts")]
    Opening,
}

/// The public half of a launch's key.
pub struct SealingKey(<XWing as hpke::Kem>::PublicKey);

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey")
    }
}

/// A launch's key. It exists in this memory alone.
pub struct Recipient {
    key: <XWing as hpke::Kem>::PrivateKey,
    public: Vec<u8>,
}

impl std::fmt::Debug for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recipient")
    }
}

impl Recipient {
    /// Makes a key, by the kernel's randomness.
    #[must_use]
    pub fn generate() -> Self {
        let (key, public) = XWing::gen_keypair();
        Self { key, public: public.to_bytes().to_vec() }
    }

    /// What others seal to.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Opens what was sealed with the same `info` and `data`.
    ///
    /// # Errors
    /// [`SealError::Opening`].
    pub fn open(
        &self,
        sealed: &[u8],
        info: &[u8],
        data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (key, text) = sealed.split_at_checked(ENCAPSULATED_LEN).ok_or(SealError::Opening)?;
        let key = <XWing as hpke::Kem>::EncappedKey::from_bytes(key)
            .map_err(|_form| SealError::Opening)?;
        let opened = single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeR::Base,
            &self.key,
            &key,
            info,
            text,
            data,
        );
        opened.map(Zeroizing::new).map_err(|_wrong| SealError::Opening)
    }
}

impl SealingKey {
    /// Reads a launch's key.
    ///
    /// # Errors
    /// [`SealError::Key`].
    pub fn parse(public: &[u8]) -> Result<Self, SealError> {
        <XWing as hpke::Kem>::PublicKey::from_bytes(public)
            .map(Self)
            .map_err(|_form| SealError::Key)
    }

    /// Seals to the launch.
    ///
    /// # Errors
    /// [`SealError::Key`].
    pub fn seal(&self, text: &[u8], info: &[u8], data: &[u8]) -> Result<Vec<u8>, SealError> {
        let (key, text) = single_shot_seal::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeS::Base,
            &self.0,
            info,
            text,
            data,
        )
        .map_err(|_wrong| SealError::Key)?;
        Ok([key.to_bytes().as_slice(), &text].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(public: &[u8], text: &[u8], info: &[u8], data: &[u8]) -> Result<Vec<u8>, SealError> {
        SealingKey::parse(public)?.seal(text, info, data)
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_words_alone() {
        let [one, two] = [Recipient::generate(), Recipient::generate()];
        assert_eq!(one.public().len(), PUBLIC_LEN);
        let sealed = seal(one.public(), b"value", b"info", b"data").unwrap();
        assert_eq!(sealed.len(), ENCAPSULATED_LEN + 5 + 16);
        assert_eq!(*one.open(&sealed, b"info", b"data").unwrap(), b"value");
        for (recipient, info, data) in
            [(&two, &b"info"[..], &b"data"[..]), (&one, b"Info", b"data"), (&one, b"info", b"")]
        {
            assert_eq!(recipient.open(&sealed, info, data), Err(SealError::Opening));
        }
        assert_ne!(seal(one.public(), b"value", b"info", b"data").unwrap(), sealed);
    }

    #[test]
    fn a_changed_or_cut_answer_does_not_open() {
        let one = Recipient::generate();
        let sealed = seal(one.public(), b"value", b"info", b"data").unwrap();
        for at in (0..sealed.len()).step_by(13).chain(ENCAPSULATED_LEN..sealed.len()) {
            let mut changed = sealed.clone();
            changed[at] ^= 1 << (at % 8);
            assert!(one.open(&changed, b"info", b"data").is_err(), "byte {at}");
        }
        for len in (0..sealed.len()).step_by(101).chain(sealed.len() - 20..sealed.len()) {
            assert!(one.open(&sealed[..len], b"info", b"data").is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        for key in [&[][..], &[0; 32], &[0xff; PUBLIC_LEN], &[0; PUBLIC_LEN + 1]] {
            assert_eq!(seal(key, b"", b"", b""), Err(SealError::Key), "{} bytes", key.len());
        }
    }
}
