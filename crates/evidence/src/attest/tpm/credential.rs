//! Credentials: a secret that a TPM gives out only where the key that it is told of lives beside its
//! endorsement key. Who gets the secret back knows that the quoting key is of *that* TPM.
//!
//! TPM 2.0 Library, Part 1, 24 and C.6 (P-256, SHA-256, AES-128-CFB). Done once for a node, when its
//! key is taken into a policy; afterwards the key's name is enough.

use aes::{
    Aes128,
    cipher::{BlockCipherEncrypt as _, KeyInit as _},
};
use hmac::{Hmac, Mac as _};
use p256::{PublicKey, SecretKey, elliptic_curve::sec1::ToSec1Point as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{Public, TpmError};

/// Longest secret: of one SHA-256.
pub const SECRET_MAX: usize = 32;
/// One block of AES.
const BLOCK: usize = 16;

/// What goes to the TPM.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Challenge {
    /// `TPM2B_ID_OBJECT`, without its size.
    pub blob: Vec<u8>,
    /// `TPM2B_ENCRYPTED_SECRET`, without its size.
    pub secret: Vec<u8>,
}

/// Wraps `secret` for the TPM of this endorsement key, and for this quoting key of it. `random` is
/// 32 bytes that nobody else knows and that are used once.
///
/// # Errors
/// [`TpmError::Attributes`] for keys that may leave their TPM; [`TpmError::Credential`].
pub fn challenge(
    endorsement: &Public,
    key: &Public,
    secret: &[u8],
    random: &Zeroizing<[u8; 32]>,
) -> Result<Challenge, TpmError> {
    if !endorsement.is_endorsement_key() || !key.is_attestation_key() {
        return Err(TpmError::Attributes);
    }
    if secret.is_empty() || secret.len() > SECRET_MAX {
        return Err(TpmError::Credential);
    }
    let ephemeral = SecretKey::from_slice(&**random).map_err(|_scalar| TpmError::Credential)?;
    let their = endorsement.point()?;
    let shared = ephemeral.diffie_hellman(&their);
    let (own_x, own_y) = coordinates(&ephemeral.public_key())?;
    let (their_x, _) = coordinates(&their)?;
    let mut hasher = Sha256::new();
    // KDFe: one block is as long as a hash.
    for part in
        [&1_u32.to_be_bytes()[..], shared.raw_secret_bytes(), b"IDENTITY\0", &own_x, &their_x]
    {
        hasher.update(part);
    }
    let seed: Zeroizing<[u8; 32]> = Zeroizing::new(hasher.finalize().into());
    let name = key.tpm_name();
    let wrapping = derived(&*seed, b"STORAGE\0", &name, 128)?;
    let length = u16::try_from(secret.len()).map_err(|_long| TpmError::Credential)?;
    let mut hidden = [&length.to_be_bytes()[..], secret].concat();
    let wrapping = wrapping.get(..BLOCK).ok_or(TpmError::Credential)?;
    cfb(wrapping, &mut hidden)?;
    let integrity = derived(&*seed, b"INTEGRITY\0", &[], 256)?;
    let proof = mac(&*integrity, &[&hidden, &name])?;
    Ok(Challenge {
        blob: [&sized(&proof)?[..], &hidden].concat(),
        secret: [sized(&own_x)?, sized(&own_y)?].concat(),
    })
}

fn coordinates(key: &PublicKey) -> Result<([u8; 32], [u8; 32]), TpmError> {
    let point = key.to_sec1_point(false);
    let (x, y) = point
        .as_bytes()
        .get(1..)
        .ok_or(TpmError::Credential)?
        .split_at_checked(32)
        .ok_or(TpmError::Credential)?;
    let array = |bytes: &[u8]| bytes.try_into().map_err(|_length| TpmError::Credential);
    Ok((array(x)?, array(y)?))
}

/// KDFa, of which one block is enough.
fn derived(
    seed: &[u8],
    label: &[u8],
    context: &[u8],
    bits: u32,
) -> Result<Zeroizing<[u8; 32]>, TpmError> {
    let (counter, bits) = (1_u32.to_be_bytes(), bits.to_be_bytes());
    mac(seed, &[&counter, label, context, &bits]).map(Zeroizing::new)
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Result<[u8; 32], TpmError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_length| TpmError::Credential)?;
    parts.iter().for_each(|part| mac.update(part));
    Ok(mac.finalize().into_bytes().into())
}

/// Cipher feedback over whole blocks, from a zero vector: no key is used twice here.
fn cfb(key: &[u8], bytes: &mut [u8]) -> Result<(), TpmError> {
    let cipher = Aes128::new_from_slice(key).map_err(|_length| TpmError::Credential)?;
    let mut feedback = [0_u8; BLOCK];
    for chunk in bytes.chunks_mut(BLOCK) {
        let mut block = feedback.into();
        cipher.encrypt_block(&mut block);
        chunk.iter_mut().zip(&block).for_each(|(byte, key)| *byte ^= key);
        feedback.iter_mut().zip(&*chunk).for_each(|(next, byte)| *next = *byte);
    }
    Ok(())
}

fn sized(bytes: &[u8]) -> Result<Vec<u8>, TpmError> {
    let length = u16::try_from(bytes.len()).map_err(|_long| TpmError::Credential)?;
    Ok([&length.to_be_bytes()[..], bytes].concat())
}
