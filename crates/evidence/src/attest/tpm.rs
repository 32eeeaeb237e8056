//! TPM 2.0: quotes over platform registers (PCRs), the event log that explains them, and the proof
//! that a signing key lives in the TPM that an endorsement key names.
//!
//! All of it is verified from bytes, with no TPM library: P-256 with SHA-256 is what every TPM 2.0
//! has, and all that is accepted. Structures: TCG, TPM 2.0 Library, Part 2; event log: TCG PC Client
//! Platform Firmware Profile, 1.06, section 10; key templates: TCG EK Credential Profile, 2.5.
//!
//! What a quote shows: that a TPM signed these register values over this data, with a key that
//! cannot leave it. Whose TPM it is follows from the key ([`mod@credential`]) and from who owns the
//! machine: a provider's own TPM proves nothing against the provider.

use std::collections::BTreeMap;

use p256::ecdsa::{Signature, VerifyingKey, signature::Verifier as _};

use crate::hash::Digest;

pub mod credential;
pub mod endorsement;
pub mod log;
pub mod public;
mod wire;

pub use public::Public;
use wire::Reader;

/// `TPM_GENERATED_VALUE`: the TPM made this structure itself.
const GENERATED: u32 = 0xff54_4347;
/// `TPM_ST_ATTEST_QUOTE`.
const QUOTE: u16 = 0x8018;
/// `TPM_ALG_ECDSA`.
const ECDSA: u16 = 0x0018;
/// `TPM_ALG_SHA256`.
const SHA256: u16 = 0x000b;
/// A TPM has 24 registers that a quote can name.
pub const REGISTERS: u8 = 24;
/// Length of a scalar of P-256.
const SCALAR_LEN: usize = 32;
/// A quote has some 145 bytes, and a signature 72.
const STRUCTURE_MAX: usize = 1024;

/// Why a quote shows nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// It is not what the specification says, or something that is not accepted.
    #[error("it is no {0} that this program accepts")]
    Form(&'static str),
    /// The key may have been made elsewhere, or signs what it is told to.
    #[error("the key is none that stays in its TPM and signs only what the TPM made")]
    Attributes,
    /// Another key has signed, or something else was signed.
    #[error("the quote's signature is not by its key")]
    Signature,
    /// It does not name what it should have been made for.
    #[error("the quote was made for something else")]
    Data,
    /// Values and quote do not fit.
    #[error("the register values are not those of the quote")]
    Values,
    /// The log does not lead to the values.
    #[error("the event log does not lead to register {0}")]
    Log(u8),
    /// A credential is for another TPM or another key.
    #[error("the credential cannot be made for this key")]
    Credential,
}

/// Values of registers, by number.
pub type Registers = BTreeMap<u8, Digest>;

/// What a node gives beside its statement.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The key that signed (`TPMT_PUBLIC`).
    pub key: &'a [u8],
    /// What it signed (`TPMS_ATTEST`).
    pub quote: &'a [u8],
    /// Its signature (`TPMT_SIGNATURE`).
    pub signature: &'a [u8],
    /// Values of the registers that the quote names.
    pub values: &'a Registers,
    /// The firmware's event log.
    pub log: &'a [u8],
}

/// A quote that a TPM made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified {
    /// The name of the key that signed: SHA-256 of its public area.
    pub key: Digest,
    /// The registers that the quote covers.
    pub registers: Registers,
    /// How often the TPM was reset: another number is another boot.
    pub resets: u32,
    /// How often it was suspended or restarted without that.
    pub restarts: u32,
}

/// Verifies that a TPM made this quote over `data` (its `extraData`), that these are the values it
/// covers, and that the event log leads to each of them.
///
/// # Errors
/// [`TpmError`] says what does not hold.
pub fn verify(evidence: &Evidence<'_>, data: &[u8]) -> Result<Verified, TpmError> {
    let key = Public::parse(evidence.key)?;
    if !key.is_attestation_key() {
        return Err(TpmError::Attributes);
    }
    let signature = signature(evidence.signature)?;
    let verifier = VerifyingKey::from(key.point()?);
    // SECURITY: before the quote is looked into.
    verifier.verify(evidence.quote, &signature).map_err(|_wrong| TpmError::Signature)?;
    let quote = Quote::parse(evidence.quote)?;
    if quote.data != data {
        return Err(TpmError::Data);
    }
    let named: Vec<u8> = evidence.values.keys().copied().collect();
    let each: Vec<u8> = evidence.values.values().flat_map(|value| *value.as_bytes()).collect();
    if named != quote.selected || Digest::of(&each) != quote.digest {
        return Err(TpmError::Values);
    }
    let replayed = log::replay(evidence.log)?;
    for (number, value) in evidence.values {
        // What nothing was measured into is as it was at the reset.
        let expected = replayed.get(number).copied().unwrap_or_default();
        if expected != *value {
            return Err(TpmError::Log(*number));
        }
    }
    Ok(Verified {
        key: key.name(),
        registers: evidence.values.clone(),
        resets: quote.resets,
        restarts: quote.restarts,
    })
}

/// `TPMS_ATTEST` of a quote.
#[derive(Debug)]
struct Quote {
    data: Vec<u8>,
    resets: u32,
    restarts: u32,
    selected: Vec<u8>,
    digest: Digest,
}

impl Quote {
    fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        let mut reader = Reader::new(bytes, STRUCTURE_MAX, "quote")?;
        if reader.u32()? != GENERATED || reader.u16()? != QUOTE {
            return Err(reader.odd());
        }
        // The signer's name under its parents: the key is known by its public area.
        let _signer = reader.sized()?;
        let data = reader.sized()?.to_vec();
        let _since_clear = reader.u64()?;
        let (resets, restarts) = (reader.u32()?, reader.u32()?);
        // Whether the clock may go back: nothing here goes by it.
        let _safe = reader.u8()?;
        let _firmware = reader.u64()?;
        if reader.u32()? != 1 || reader.u16()? != SHA256 {
            return Err(reader.odd());
        }
        let bits = reader.u8()?;
        let bits = reader.take(bits.into())?;
        let digest = reader.sized()?;
        let digest = Digest::from_slice(digest).ok_or_else(|| reader.odd())?;
        let odd = reader.odd();
        reader.end()?;
        let selected = selected(bits).ok_or(odd)?;
        Ok(Self { data, resets, restarts, selected, digest })
    }
}

/// The registers of a bitmap, lowest first.
fn selected(bits: &[u8]) -> Option<Vec<u8>> {
    let each = (0_u8..).zip(bits).flat_map(|(byte, bits)| {
        (0..8).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| byte.saturating_mul(8) + bit)
    });
    let selected: Vec<u8> = each.collect();
    selected.iter().all(|number| *number < REGISTERS).then_some(selected)
}

/// `TPMT_SIGNATURE`: ECDSA on P-256 with SHA-256.
fn signature(bytes: &[u8]) -> Result<Signature, TpmError> {
    let mut reader = Reader::new(bytes, STRUCTURE_MAX, "signature")?;
    if reader.u16()? != ECDSA || reader.u16()? != SHA256 {
        return Err(reader.odd());
    }
    let mut scalars = [0; 2 * SCALAR_LEN];
    let (r, s) = scalars.split_at_mut(SCALAR_LEN);
    for scalar in [r, s] {
        // A TPM may leave leading zeros out.
        let given = reader.sized()?;
        let place = scalar.len().checked_sub(given.len()).ok_or_else(|| reader.odd())?;
        scalar.get_mut(place..).ok_or_else(|| reader.odd())?.copy_from_slice(given);
    }
    let odd = reader.odd();
    reader.end()?;
    Signature::from_slice(&scalars).map_err(|_zero| odd)
}

#[cfg(test)]
mod tests;
