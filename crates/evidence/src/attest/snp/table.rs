//! The certificates that a host gives along with a report, as one table.
//!
//! Entries of 24 bytes (a GUID, where it stands, how long it is), an empty one, and what they name
//! behind it. Source: AMD publication 56421 (GHCB), 2.03, section 4.1.8.1. Linux shows it as the
//! `auxblob` of a report. The host may write into it what it likes: what is in here is believed when
//! AMD's root stands above it, and not before.

use x509_cert::{Certificate, der::Decode as _};

use super::{
    Report,
    chain::{CHIP, Collateral, PROVIDER, extension},
};

/// Certificates of one chip have some 4 kB; firmware gives them in pages.
pub const TABLE_MAX: usize = 64 * 1024;

const ENTRY_LEN: usize = 24;
/// Certificates that there are names for.
const ENTRIES_MAX: usize = 16;

const VCEK: Guid = Guid(0x63da_758d_e664_4564_adc5_f4b9_3be8_accd);
const VLEK: Guid = Guid(0xa807_4bc2_a25a_483e_aae6_39c0_45a0_b8a1);
const ASK: Guid = Guid(0x4ab7_b379_bbac_4fe4_a02f_05ae_f327_c782);
const CRL: Guid = Guid(0x92f8_1bc3_5811_4d3d_97ff_d19f_88dc_67ea);

/// What a certificate is called.
#[derive(Clone, Copy)]
struct Guid(u128);

impl Guid {
    /// Tools that fill the table write names in the order of RFC 4122 or in that of UEFI.
    fn is(self, bytes: &[u8]) -> bool {
        let plain = self.0.to_be_bytes();
        let [a, b, c, d, e, f, g, h, rest @ ..] = plain;
        let mixed = [d, c, b, a, f, e, h, g];
        bytes == plain || (bytes.starts_with(&mixed) && bytes.ends_with(&rest))
    }
}

/// The certificates of one chip, within a table or in files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificates {
    /// The ASK or ASVK.
    pub ask: Vec<u8>,
    /// The VCEK or VLEK.
    pub vek: Vec<u8>,
    /// AMD's list of revoked certificates.
    pub crl: Option<Vec<u8>>,
}

impl Certificates {
    /// Reads a table; nothing where it is none, or has not what a report is verified with.
    #[must_use]
    pub fn parse(table: &[u8]) -> Option<Self> {
        if table.len() > TABLE_MAX {
            return None;
        }
        let mut found: [Option<Vec<u8>>; 4] = [None, None, None, None];
        let entries = table.chunks_exact(ENTRY_LEN).take(ENTRIES_MAX);
        for entry in entries.take_while(|entry| entry.iter().any(|byte| *byte != 0)) {
            let (name, place) = entry.split_at(16);
            let (from, length) = place.split_at(4);
            let from = usize::try_from(u32::from_le_bytes(from.try_into().ok()?)).ok()?;
            let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
            let bytes = table.get(from..from.checked_add(length)?)?;
            let known = [VCEK, VLEK, ASK, CRL].iter().position(|known| known.is(name));
            if let Some(place) = known.and_then(|known| found.get_mut(known)) {
                *place = Some(bytes.to_vec());
            }
        }
        let [vcek, vlek, ask, crl] = found;
        Some(Self { ask: ask?, vek: vcek.or(vlek)?, crl })
    }

    /// Finds those that a report is verified with among files: of the chip that made it, or of the
    /// provider's fleet, and what stands above.
    #[must_use]
    pub fn among(files: &[Vec<u8>], report: &[u8], at: u64) -> Option<Self> {
        let chip = Report::parse(report).ok()?;
        let read = |der: &Vec<u8>| Some((Certificate::from_der(der).ok()?, der.clone()));
        let all: Vec<_> = files.iter().filter_map(read).collect();
        let is_its = |certificate: &Certificate| match extension(certificate, CHIP) {
            Some(name) => chip.is_of(name),
            None => extension(certificate, PROVIDER).is_some(),
        };
        let mut pairs = all.iter().filter(|(vek, _)| is_its(vek)).filter_map(|(vek, der)| {
            let issuer = vek.tbs_certificate().issuer();
            let above = all.iter().find(|(ask, _)| ask.tbs_certificate().subject() == issuer);
            above.map(|(_, ask)| Self { ask: ask.clone(), vek: der.clone(), crl: None })
        });
        // A chip has another certificate after each update of its firmware.
        pairs.find(|pair| super::verify(report, &pair.collateral(), at).is_ok())
    }

    /// The table of these, as a host writes it.
    #[must_use]
    pub fn to_table(&self) -> Vec<u8> {
        let fleet = Certificate::from_der(&self.vek)
            .is_ok_and(|certificate| extension(&certificate, PROVIDER).is_some());
        let parts = [
            (if fleet { VLEK } else { VCEK }, Some(&self.vek)),
            (ASK, Some(&self.ask)),
            (CRL, self.crl.as_ref()),
        ];
        let parts: Vec<_> =
            parts.into_iter().filter_map(|(name, bytes)| Some((name, bytes?))).collect();
        let (mut table, mut behind) = (Vec::new(), Vec::new());
        let head = (parts.len() + 1) * ENTRY_LEN;
        for (name, bytes) in parts {
            let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
            table.extend_from_slice(&name.0.to_be_bytes());
            table.extend_from_slice(&number(head + behind.len()));
            table.extend_from_slice(&number(bytes.len()));
            behind.extend_from_slice(bytes);
        }
        table.extend_from_slice(&[0; ENTRY_LEN]);
        table.extend_from_slice(&behind);
        table
    }

    /// For [`super::verify`].
    #[must_use]
    pub fn collateral(&self) -> Collateral<'_> {
        Collateral { ask: &self.ask, vek: &self.vek, crl: self.crl.as_deref() }
    }
}

#[cfg(test)]
pub(crate) mod tests;
