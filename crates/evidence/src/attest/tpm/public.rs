//! Public areas of keys in a TPM (`TPMT_PUBLIC`): P-256 alone, in the two forms that are used.

use p256::PublicKey;

use super::{ECDSA, SCALAR_LEN, SHA256, TpmError, wire::Reader};
use crate::hash::Digest;

/// A public area has some 120 bytes.
const PUBLIC_MAX: usize = 512;
/// `TPM_ALG_ECC`.
const ECC: u16 = 0x0023;
/// `TPM_ALG_NULL`.
const NULL: u16 = 0x0010;
/// `TPM_ALG_AES`, 128 bits, `TPM_ALG_CFB`.
const AES_128_CFB: [u16; 3] = [0x0006, 128, 0x0043];
/// `TPM_ECC_NIST_P256`.
const P256: u16 = 0x0003;

/// Cannot leave this TPM, by itself or with its parent, and was made in it.
const STAYS: u32 = 1 << 1 | 1 << 4 | 1 << 5;
/// Works only on what the TPM made: a restricted signing key signs no quote that was made up.
const RESTRICTED: u32 = 1 << 16;
const DECRYPT: u32 = 1 << 17;
const SIGN: u32 = 1 << 18;

/// A key of a TPM.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Public {
    bytes: Vec<u8>,
    attributes: u32,
    protects: bool,
    x: [u8; SCALAR_LEN],
    y: [u8; SCALAR_LEN],
}

impl Public {
    /// Reads a public area.
    ///
    /// # Errors
    /// [`TpmError::Form`] for other kinds of keys as well.
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        let mut reader = Reader::new(bytes, PUBLIC_MAX, "public key")?;
        if reader.u16()? != ECC || reader.u16()? != SHA256 {
            return Err(reader.odd());
        }
        let attributes = reader.u32()?;
        let _policy = reader.sized()?;
        // Symmetric: how it protects others' secrets; a signing key has none.
        let protects = match reader.u16()? {
            NULL => false,
            algorithm if [algorithm, reader.u16()?, reader.u16()?] == AES_128_CFB => true,
            _ => return Err(reader.odd()),
        };
        let signs = match reader.u16()? {
            NULL => false,
            ECDSA if reader.u16()? == SHA256 => true,
            _ => return Err(reader.odd()),
        };
        if reader.u16()? != P256 || reader.u16()? != NULL || protects == signs {
            return Err(reader.odd());
        }
        let mut coordinates = [[0; SCALAR_LEN]; 2];
        for coordinate in &mut coordinates {
            *coordinate = reader.sized()?.try_into().map_err(|_length| reader.odd())?;
        }
        reader.end()?;
        let [x, y] = coordinates;
        Ok(Self { bytes: bytes.to_vec(), attributes, protects, x, y })
    }

    /// SHA-256 of the public area: what a TPM calls its name, without the algorithm before it.
    #[must_use]
    pub fn name(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// The name as a TPM writes it.
    #[must_use]
    pub(super) fn tpm_name(&self) -> Vec<u8> {
        [&SHA256.to_be_bytes()[..], self.name().as_bytes()].concat()
    }

    /// Whether it stays in its TPM and signs nothing but what the TPM made.
    #[must_use]
    pub const fn is_attestation_key(&self) -> bool {
        let wanted = STAYS | RESTRICTED | SIGN;
        self.attributes & (wanted | DECRYPT) == wanted && !self.protects
    }

    /// Whether it stays in its TPM and opens credentials.
    #[must_use]
    pub const fn is_endorsement_key(&self) -> bool {
        let wanted = STAYS | RESTRICTED | DECRYPT;
        self.attributes & (wanted | SIGN) == wanted && self.protects
    }

    /// The point, which is checked to be on the curve.
    pub(super) fn point(&self) -> Result<PublicKey, TpmError> {
        PublicKey::from_sec1_bytes(&self.sec1()).map_err(|_off| TpmError::Form("public key"))
    }

    /// The point as certificates have it.
    pub(super) fn sec1(&self) -> Vec<u8> {
        // SEC 1, 2.3.4: uncompressed.
        [&[4][..], &self.x, &self.y].concat()
    }
}
