//! That a log is signed by another key from here on: what both keys signed of it.
//!
//! The log has a notice of it (`new-key`), under a checkpoint that the old key signed, and keeps this
//! document. It shows that whoever had the old key meant the new one, and that somebody has that. It
//! does not show that the old key was still its owner's alone: whom an auditor believes from then on
//! is said by his policy (`log` and `was`), which he has from the owner and not from the log.

use minicbor::{Decode, Encode, decode, to_vec};

use crate::{
    hash::Digest,
    note::{KeyKind, Signer, VerifierKey},
};

/// How every document of this kind begins, as CBOR.
const KIND: &str = "cloudtaser log key change 1";
/// What stands before the keys when they are signed. No checkpoint has such a second line.
const PURPOSE: &str = "cloudtaser log key change, version 1";
/// Two keys with their names, two signatures.
const LONGEST: usize = 2048;

/// Why a document shows no change of keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyChangeError {
    /// It is not the CBOR that the format says, or could be written otherwise.
    #[error("it is not in the one form that it may have")]
    Form,
    /// The keys are not two of one log.
    #[error("its keys are not two keys of one log")]
    Keys,
    /// Somebody else has signed, or something else.
    #[error("it is not signed by both keys")]
    Signature,
    /// It is of another log.
    #[error("it is of another log")]
    Log,
    /// The policy says that the key was replaced elsewhere.
    #[error("by the policy the old key was replaced at size {until}, and this is at size {size}")]
    Place {
        /// What the policy says.
        until: u64,
        /// Where it is.
        size: u64,
    },
}

/// Both keys, and what both signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyChange {
    /// The key that signed until then.
    pub old: VerifierKey,
    /// The key that signs from then on.
    pub new: VerifierKey,
}

#[derive(Debug, Decode, Encode)]
#[cbor(map)]
struct Document {
    #[n(0)]
    kind: String,
    #[n(1)]
    old: String,
    #[n(2)]
    new: String,
    #[cbor(n(3), with = "minicbor::bytes")]
    by_old: Vec<u8>,
    #[cbor(n(4), with = "minicbor::bytes")]
    by_new: Vec<u8>,
}

impl KeyChange {
    /// Signs it by both keys.
    ///
    /// # Errors
    /// [`KeyChangeError::Keys`].
    pub fn sign(old: &Signer, new: &Signer) -> Result<Vec<u8>, KeyChangeError> {
        let change = Self::of(old.verifier(), new.verifier())?;
        let text = change.text();
        let document = Document {
            kind: KIND.to_owned(),
            old: change.old.to_string(),
            new: change.new.to_string(),
            by_old: old.sign(&text, 0).bytes,
            by_new: new.sign(&text, 0).bytes,
        };
        to_vec(document).map_err(|_never| KeyChangeError::Form)
    }

    /// Reads a document and verifies both signatures.
    ///
    /// # Errors
    /// [`KeyChangeError`].
    pub fn verify(bytes: &[u8]) -> Result<Self, KeyChangeError> {
        let form = KeyChangeError::Form;
        if bytes.len() > LONGEST {
            return Err(form);
        }
        let document: Document = decode(bytes).map_err(|_other| form)?;
        if document.kind != KIND || to_vec(&document).ok().as_deref() != Some(bytes) {
            return Err(form);
        }
        let key = |text: &str| text.parse().map_err(|_bad| KeyChangeError::Keys);
        let change = Self::of(key(&document.old)?, key(&document.new)?)?;
        let text = change.text();
        let signed = change.old.verifies(text.as_bytes(), &document.by_old)
            && change.new.verifies(text.as_bytes(), &document.by_new);
        if signed { Ok(change) } else { Err(KeyChangeError::Signature) }
    }

    /// The document's name, by which the notice has it.
    #[must_use]
    pub fn hash(document: &[u8]) -> Digest {
        Digest::of(document)
    }

    fn of(old: VerifierKey, new: VerifierKey) -> Result<Self, KeyChangeError> {
        let right = old.name() == new.name()
            && [&old, &new].iter().all(|key| key.kind() == KeyKind::Log)
            && old.as_bytes() != new.as_bytes();
        if right { Ok(Self { old, new }) } else { Err(KeyChangeError::Keys) }
    }

    fn text(&self) -> String {
        format!("{PURPOSE}\n{}\n{}\n", self.old, self.new)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn signer(seed: u8) -> Signer {
        Signer::from_seed("log.example/test", KeyKind::Log, &[seed; 32]).unwrap()
    }

    #[test]
    fn a_change_is_signed_by_both_keys_and_any_other_byte_is_refused() {
        let (old, new) = (signer(1), signer(5));
        let document = KeyChange::sign(&old, &new).unwrap();
        let change = KeyChange::verify(&document).unwrap();
        assert_eq!((change.old, change.new), (old.verifier(), new.verifier()));
        for at in 0..document.len() {
            for bit in [1, 0x80] {
                let mut bent = document.clone();
                bent[at] ^= bit;
                assert!(KeyChange::verify(&bent).is_err(), "byte {at}");
            }
            assert!(KeyChange::verify(&document[..at]).is_err(), "cut at {at}");
        }
        assert!(KeyChange::verify(&[&document[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_change_to_the_same_key_to_another_log_or_by_a_witness_is_none() {
        let named = |name, kind, seed| Signer::from_seed(name, kind, &[seed; 32]).unwrap();
        let old = signer(1);
        for new in [
            signer(1),
            named("log.example/other", KeyKind::Log, 5),
            named("log.example/test", KeyKind::Witness, 5),
        ] {
            assert_eq!(KeyChange::sign(&old, &new).err(), Some(KeyChangeError::Keys));
        }
    }

    /// Whoever has one of the keys alone.
    #[test]
    fn one_key_alone_changes_nothing() {
        let (old, new, thief) = (signer(1), signer(5), signer(6));
        let right = KeyChange::sign(&old, &new).unwrap();
        let document: Document = decode(&right).unwrap();
        let by_thief = thief.sign(&KeyChange::verify(&right).unwrap().text(), 0).bytes;
        for (by_old, by_new) in [
            (by_thief.clone(), document.by_new.clone()),
            (document.by_old.clone(), by_thief),
            (document.by_new.clone(), document.by_old.clone()),
        ] {
            let [kind, old, new] = [&document.kind, &document.old, &document.new].map(Clone::clone);
            let forged = to_vec(Document { kind, old, new, by_old, by_new }).unwrap();
            assert_eq!(KeyChange::verify(&forged), Err(KeyChangeError::Signature));
        }
    }

    #[test]
    fn what_both_keys_sign_is_no_checkpoint() {
        let document = KeyChange::sign(&signer(1), &signer(5)).unwrap();
        let text = KeyChange::verify(&document).unwrap().text();
        assert!(crate::checkpoint::Checkpoint::parse(&text).is_err());
    }
}
