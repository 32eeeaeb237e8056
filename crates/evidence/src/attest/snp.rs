//! AMD SEV-SNP: attestation reports, verified offline.
//!
//! The chain is ARK (compiled in) → ASK or ASVK → VCEK or VLEK → report. Source: AMD publication
//! 56860 (SEV-SNP firmware ABI) revision 1.58, 57230 (VCEK certificates).
//!
//! Reading order: [`report`] (bytes), [`chain`] (certificates), [`table`] (where they come from), then
//! [`verify`]. Whether a genuine report is enough is the release policy's word
//! ([`cloudtaser_core::release::hardware`]).

pub mod chain;
pub mod report;
pub mod table;

pub use chain::{Collateral, Endorsement, Product};
pub use report::Report;
pub use table::Certificates;

use cloudtaser_core::release::hardware::Snp;
use p384::ecdsa::{Signature, VerifyingKey, signature::Verifier as _};

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

impl Verified {
    /// What a policy is asked about.
    #[must_use]
    pub fn facts(&self) -> Snp {
        let report = &self.report;
        Snp {
            measurement: report.measurement,
            chip: report.chip,
            vmpl: report.vmpl,
            // SECURITY: the chip's name is signed for by a chip's own key alone.
            by_fleet: self.endorsement != Endorsement::Vcek,
            debug: report.debug_allowed(),
            migration: report.migration_allowed(),
            reported: self.product.tcb(report.reported_tcb),
            committed: self.product.tcb(report.committed_tcb),
        }
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
