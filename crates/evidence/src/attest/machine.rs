//! Confidential machines of either kind: a report as the kernel hands it out, with what it is verified
//! with.
//!
//! [`Report`] is what is archived. A bridge has no network for this: AMD's certificates come with the
//! report or are in files, Intel's collateral is in files ([`complete`]), and somebody fetches those.

use cloudtaser_core::release::hardware::Hardware;
use minicbor::{Decode, Encode};

use super::{
    REPORT_DATA_LEN,
    snp::{self, Certificates, SnpError},
    tdx::{self, TdxError},
};

/// Linux's word for reports of SEV-SNP.
const SNP: &str = "sev_guest";
/// And for quotes of TDX.
const TDX: &str = "tdx_guest";

/// Why a report shows nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// By hardware that is not known here.
    #[error("it is of a kind that this program does not know")]
    Kind,
    /// Somebody else's, or an earlier one.
    #[error("it was made for another statement")]
    Binding,
    /// There is nothing that it can be verified with.
    #[error("there are no certificates to verify it with: {0}")]
    Collateral(&'static str),
    /// AMD's hardware did not make it.
    #[error("the report of SEV-SNP does not hold")]
    Snp(#[from] SnpError),
    /// Intel's did not.
    #[error("the quote of TDX does not hold")]
    Tdx(#[from] TdxError),
}

/// A report, and what was at hand to verify it when it came.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(map)]
pub struct Report {
    /// Linux's name for what the bytes are.
    #[n(0)]
    pub provider: String,
    /// The report or quote.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub report: Vec<u8>,
    /// AMD's certificates as a table ([`snp::table`]), or Intel's collateral as JSON.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub collateral: Vec<u8>,
}

impl Report {
    /// Verifies that hardware made it over this data, as of `at` (seconds since 1970).
    ///
    /// # Errors
    /// [`MachineError`].
    pub fn verify(&self, data: &[u8; REPORT_DATA_LEN], at: u64) -> Result<Hardware, MachineError> {
        let (named, hardware) = match self.provider.as_str() {
            SNP => {
                let certificates = Certificates::parse(&self.collateral)
                    .ok_or(MachineError::Collateral("a table of AMD's is none, or not whole"))?;
                let found = snp::verify(&self.report, &certificates.collateral(), at)?;
                (found.report.report_data, Hardware::Snp(found.facts()))
            }
            TDX => {
                let found = tdx::verify(&self.report, &self.collateral, at)?;
                (found.report_data, Hardware::Tdx(found.facts()))
            }
            _ => return Err(MachineError::Kind),
        };
        // SECURITY: a genuine report of something else says nothing about this launch.
        if named == *data { Ok(hardware) } else { Err(MachineError::Binding) }
    }
}

/// Gives a report that came in what it is verified with, where that did not come along: `files` are
/// certificates (DER) and collateral (JSON), of which whichever verifies it at this moment is taken.
///
/// # Errors
/// [`MachineError`]: with all there is it does not hold.
pub fn complete(
    provider: &str,
    report: Vec<u8>,
    table: Vec<u8>,
    files: &[Vec<u8>],
    at: u64,
) -> Result<Report, MachineError> {
    let collateral = match provider {
        SNP if Certificates::parse(&table).is_some() => table,
        SNP => Certificates::among(files, &report, at)
            .ok_or(MachineError::Collateral("none of AMD came with it, and no file has them"))?
            .to_table(),
        TDX => {
            let mut why = None;
            let mut texts = files.iter().filter(|file| file.first() == Some(&b'{'));
            let found = texts.find(|text| {
                tdx::verify(&report, text, at).map_err(|error| why = Some(error)).is_ok()
            });
            let lacking = MachineError::Collateral("no file has Intel's collateral");
            found.ok_or_else(|| why.map_or(lacking, MachineError::Tdx))?.clone()
        }
        _ => return Err(MachineError::Kind),
    };
    Ok(Report { provider: provider.to_owned(), report, collateral })
}

#[cfg(test)]
mod tests;
