//! The bytes of an attestation report (publication 56860, table 23), read once and never written.

use std::fmt;

use cloudtaser_core::release::hardware::{CHIP_LEN, MEASUREMENT_LEN, Tcb};

use super::{SnpError, chain::Endorsement};
use crate::attest::REPORT_DATA_LEN;

/// Length of a report.
pub const REPORT_LEN: usize = 0x4a0;

/// What the signature covers.
const SIGNED_LEN: usize = 0x2a0;
/// Each scalar has 72 bytes, of which a P-384 one fills 48; the other byte order than everybody's.
const SCALAR_FIELD: usize = 72;
const SCALAR_LEN: usize = 48;
/// ECDSA on P-384 with SHA-384.
const ALGORITHM: u32 = 1;
/// 2 is what Milan's firmware began with; 3 adds the processor's family, 5 mitigations.
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=5;

const POLICY_MIGRATION: u64 = 1 << 18;
const POLICY_DEBUG: u64 = 1 << 19;
const KEY_CHIP_MASKED: u32 = 1 << 1;

/// What a report says. Genuine only as part of [`super::Verified`].
#[derive(Clone)]
pub struct Report {
    /// What the guest had signed along.
    pub report_data: [u8; REPORT_DATA_LEN],
    /// What the guest's memory held when it started.
    pub measurement: [u8; MEASUREMENT_LEN],
    /// What the host said of the guest; nothing to rely on.
    pub host_data: [u8; 32],
    /// Which chip; zeros when masked.
    pub chip: [u8; CHIP_LEN],
    /// The privilege level that asked.
    pub vmpl: u32,
    /// What the guest's owner allows, as he wrote it before the start.
    pub policy: u64,
    /// The firmware that the signing key stands for.
    pub reported_tcb: [u8; 8],
    /// The firmware that cannot be rolled back.
    pub committed_tcb: [u8; 8],
    flags: u32,
    bytes: Box<[u8; REPORT_LEN]>,
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// [`SnpError::Form`].
    pub fn parse(bytes: &[u8]) -> Result<Self, SnpError> {
        let bytes: &[u8; REPORT_LEN] =
            bytes.try_into().map_err(|_length| SnpError::Form("it has another length"))?;
        if !VERSIONS.contains(&u32_at(bytes, 0)?) {
            return Err(SnpError::Form("this program does not know its version"));
        }
        if u32_at(bytes, 0x34)? != ALGORITHM {
            return Err(SnpError::Form("this program does not know its signature's kind"));
        }
        let report = Self {
            report_data: array_at(bytes, 0x50)?,
            measurement: array_at(bytes, 0x90)?,
            host_data: array_at(bytes, 0xc0)?,
            chip: array_at(bytes, 0x1a0)?,
            vmpl: u32_at(bytes, 0x30)?,
            policy: u64::from_le_bytes(array_at(bytes, 0x08)?),
            reported_tcb: array_at(bytes, 0x180)?,
            committed_tcb: array_at(bytes, 0x1e0)?,
            flags: u32_at(bytes, 0x48)?,
            bytes: Box::new(*bytes),
        };
        // SECURITY: no byte of a report is without meaning, so that no two reports say the same.
        let (rest, scalars) = bytes.split_at(SIGNED_LEN + 2 * SCALAR_FIELD);
        let tails = rest.get(SIGNED_LEN..).into_iter().flat_map(|fields| {
            fields.chunks(SCALAR_FIELD).filter_map(|field| field.get(SCALAR_LEN..)).flatten()
        });
        if tails.chain(scalars).any(|byte| *byte != 0) {
            return Err(SnpError::Form("there is something behind its signature"));
        }
        Ok(report)
    }

    /// Whether the host may read the guest's memory.
    #[must_use]
    pub const fn debug_allowed(&self) -> bool {
        self.policy & POLICY_DEBUG != 0
    }

    /// Whether another machine may be given the guest's memory.
    #[must_use]
    pub const fn migration_allowed(&self) -> bool {
        self.policy & POLICY_MIGRATION != 0
    }

    /// Whether the host had the chip's identity left out.
    #[must_use]
    pub const fn chip_masked(&self) -> bool {
        self.flags & KEY_CHIP_MASKED != 0
    }

    /// Which kind of key signed; `None` of the reserved ones counts as either.
    pub(super) const fn signing_key(&self) -> Endorsement {
        match (self.flags >> 2) & 0b111 {
            0 => Endorsement::Vcek,
            1 => Endorsement::Vlek,
            _ => Endorsement::Unknown,
        }
    }

    /// Turin's certificates name a chip by 8 bytes, and zeros follow them in the report.
    pub(super) fn is_of(&self, chip: &[u8]) -> bool {
        match self.chip.split_at_checked(chip.len()) {
            Some((name, rest)) => {
                !chip.is_empty() && name == chip && rest.iter().all(|byte| *byte == 0)
            }
            None => false,
        }
    }

    pub(super) fn signed(&self) -> &[u8] {
        self.bytes.get(..SIGNED_LEN).unwrap_or_default()
    }

    /// The two scalars, big-endian as everybody else writes them.
    pub(super) fn signature(&self) -> ([u8; SCALAR_LEN], [u8; SCALAR_LEN]) {
        let scalar = |at: usize| {
            let mut scalar = [0; SCALAR_LEN];
            if let Some(bytes) = self.bytes.get(at..at + SCALAR_LEN) {
                scalar.copy_from_slice(bytes);
            }
            scalar.reverse();
            scalar
        };
        (scalar(SIGNED_LEN), scalar(SIGNED_LEN + SCALAR_FIELD))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report").field("vmpl", &self.vmpl).finish_non_exhaustive()
    }
}

/// The versions of the firmware's parts, as Milan and Genoa have them.
pub(super) const fn classic(bytes: [u8; 8]) -> Tcb {
    let [bootloader, tee, _, _, _, _, snp, microcode] = bytes;
    Tcb { fmc: 0, bootloader, tee, snp, microcode }
}

/// The same of Turin.
pub(super) const fn turin(bytes: [u8; 8]) -> Tcb {
    let [fmc, bootloader, tee, snp, _, _, _, microcode] = bytes;
    Tcb { fmc, bootloader, tee, snp, microcode }
}

fn array_at<const N: usize>(bytes: &[u8; REPORT_LEN], at: usize) -> Result<[u8; N], SnpError> {
    let slice = bytes.get(at..at + N).ok_or(SnpError::Form("it is too short"))?;
    slice.try_into().map_err(|_length| SnpError::Form("it is too short"))
}

fn u32_at(bytes: &[u8; REPORT_LEN], at: usize) -> Result<u32, SnpError> {
    array_at(bytes, at).map(u32::from_le_bytes)
}
