//! AMD SEV-SNP: attestation reports, verified offline.
//!
//! The chain is ARK (compiled in) → ASK or ASVK → VCEK or VLEK → report. Source: AMD publication
//! 56860 (SEV-SNP firmware ABI) revision 1.58, 57230 (VCEK certificates).
//!
//! Reading order: [`report`] (bytes), [`chain`] (certificates), then [`verify`] and [`Policy`].

pub mod chain;
pub mod report;

pub use chain::{Collateral, Endorsement, Product};
pub use report::{Report, Tcb};

use p384::ecdsa::{Signature, VerifyingKey, signature::Verifier as _};

use super::REPORT_DATA_LEN;

/// Why a report shows nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SnpError {
    /// The bytes are not a report.
    #[error("this is no attestation report: {0}")]
    Form(&'static str),
    /// A certificate is not one, or not of the kind that belongs there.
    #[error("the {which} certificate {problem}")]
    Certificate {
        /// Which of the chain.
        which: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A certificate was not signed by the one above it.
    #[error("the {0} certificate was not signed by the one above it")]
    Chain(&'static str),
    /// A certificate or the list of revoked ones was not valid at that moment.
    #[error("the {0} was not valid at that time")]
    Expired(&'static str),
    /// AMD revoked the intermediate certificate.
    #[error("the {0} certificate was revoked")]
    Revoked(&'static str),
    /// The report is by another chip than the certificate.
    #[error("the report is of another chip than the certificate")]
    OtherChip,
    /// The report is by other firmware than the certificate.
    #[error("the report is of other firmware than the certificate")]
    OtherFirmware,
    /// The report was not signed by the certificate's key.
    #[error("the report's signature is not by the certificate's key")]
    Signature,
}

/// Why a report that is genuine is not enough.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It does not name this session and this key.
    #[error("the report was made for another session")]
    Binding,
    /// No such measurement is allowed.
    #[error("the guest's measurement is not allowed")]
    Measurement,
    /// The host may read the guest with a debugger.
    #[error("the guest may be debugged by the host")]
    Debug,
    /// A migration agent may carry the guest's memory elsewhere.
    #[error("the guest may be migrated")]
    Migration,
    /// Not the privilege level that was asked for.
    #[error("the report was made at VMPL {0}")]
    Privilege(u32),
    /// The firmware is older than allowed.
    #[error("the {0} is older than allowed")]
    Firmware(&'static str),
    /// The chip is none of those that belong to the customer.
    #[error("this chip is not on the list")]
    Chip,
    /// The key is the provider's own for a fleet of machines, not one chip's.
    #[error("the report is signed by a key of the provider's fleet (VLEK), not of one chip (VCEK)")]
    Fleet,
}

/// A report that the hardware made, and of which hardware.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What it says.
    pub report: Report,
    /// The processor's family.
    pub product: Product,
    /// By which kind of key.
    pub endorsement: Endorsement,
}

/// What is demanded of a genuine report. The default allows none.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Launch measurements, any of which will do.
    pub measurements: Vec<[u8; report::MEASUREMENT_LEN]>,
    /// No part of the firmware may be older than this.
    pub minimum: Tcb,
    /// Chips that the customer has to himself; empty allows all.
    pub chips: Vec<[u8; report::CHIP_LEN]>,
    /// Whether a key of the provider's fleet will do.
    pub fleet: Fleet,
    /// The privilege level at which the guest must have asked; 0 is the highest.
    pub vmpl: u32,
}

/// Whether a VLEK, which the provider shares among its machines, is accepted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Fleet {
    /// A VLEK will do.
    Accept,
    /// Only a chip's own key.
    #[default]
    Refuse,
}

/// Verifies that AMD hardware made this report, as of `at` (seconds since 1970).
///
/// # Errors
/// [`SnpError`] says what does not hold.
pub fn verify(bytes: &[u8], collateral: &Collateral<'_>, at: u64) -> Result<Verified, SnpError> {
    let report = Report::parse(bytes)?;
    let key = chain::endorsed(collateral, at)?;
    if report.signing_key() != key.endorsement {
        let problem = "is not of the kind that signed the report";
        return Err(SnpError::Certificate { which: chain::VEK, problem });
    }
    if let Some(chip) = &key.chip
        && (report.chip_masked() || !report.is_of(chip))
    {
        return Err(SnpError::OtherChip);
    }
    if key.product.tcb(report.reported_tcb) != key.tcb {
        return Err(SnpError::OtherFirmware);
    }
    check_signature(&report, &key.point)?;
    Ok(Verified { report, product: key.product, endorsement: key.endorsement })
}

impl Policy {
    /// Checks a genuine report against this policy, and that it names `report_data`.
    ///
    /// # Errors
    /// The first [`Refusal`].
    pub fn check(
        &self,
        verified: &Verified,
        report_data: &[u8; REPORT_DATA_LEN],
    ) -> Result<(), Refusal> {
        let report = &verified.report;
        if report.report_data != *report_data {
            return Err(Refusal::Binding);
        }
        if report.debug_allowed() {
            return Err(Refusal::Debug);
        }
        if report.migration_allowed() {
            return Err(Refusal::Migration);
        }
        if report.vmpl != self.vmpl {
            return Err(Refusal::Privilege(report.vmpl));
        }
        if verified.endorsement == Endorsement::Vlek && self.fleet == Fleet::Refuse {
            return Err(Refusal::Fleet);
        }
        if !self.measurements.contains(&report.measurement) {
            return Err(Refusal::Measurement);
        }
        // SECURITY: the committed version is the one that the firmware cannot be rolled back behind;
        // the reported one is what the key was derived from. Both must be new enough.
        for tcb in [report.reported_tcb, report.committed_tcb] {
            if let Some(part) = verified.product.tcb(tcb).older_than(self.minimum) {
                return Err(Refusal::Firmware(part));
            }
        }
        if !self.chips.is_empty() && !self.chips.contains(&report.chip) {
            return Err(Refusal::Chip);
        }
        Ok(())
    }
}

fn check_signature(report: &Report, point: &[u8]) -> Result<(), SnpError> {
    let problem = "has no P-384 key";
    let key = VerifyingKey::from_sec1_bytes(point)
        .map_err(|_point| SnpError::Certificate { which: chain::VEK, problem })?;
    let (r, s) = report.signature();
    let signature = Signature::from_scalars(r, s).map_err(|_scalars| SnpError::Signature)?;
    key.verify(report.signed(), &signature).map_err(|_wrong| SnpError::Signature)
}

#[cfg(test)]
mod tests;
