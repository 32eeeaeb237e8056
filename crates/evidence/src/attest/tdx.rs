//! Intel TDX: quotes, verified offline against collateral that was archived with them.
//!
//! The work is `dcap-qvl`'s, with its pure Rust provider and Intel's production root: quote (v4, v5),
//! PCK chain, revocation lists, TCB info and QE identity. Here are the limits, what we demand on top,
//! and words of our own for it. Source: Intel TDX DCAP quoting library API, 348549-002US.
//!
//! Intel's collateral is valid for 30 days: it must be of the time of the release, and so must `at`.

use cloudtaser_core::release::hardware::{Digits, Tdx, TdxMeasurements};
use dcap_qvl::{QuoteCollateralV3, quote::TDAttributes, verify::QuoteVerifier};

use super::REPORT_DATA_LEN;

/// A quote with its certificates has some 5 kB.
pub const QUOTE_MAX: usize = 64 * 1024;
/// Collateral has some 20 kB.
pub const COLLATERAL_MAX: usize = 512 * 1024;

const HEADER_LEN: usize = 48;
/// Length of the report in a quote of version 4.
const TD10_LEN: usize = 584;
/// An ECDSA signature and the key that made it.
const KEY_AND_SIGNATURE_LEN: usize = 128;
/// The report of the quoting enclave, and its signature.
const QE_REPORT_AND_SIGNATURE_LEN: usize = 384 + 64;
/// Kind of certification data: the report of a quoting enclave, with its own certificates.
const QE_REPORT_KIND: usize = 6;
/// Kind of certification data: certificates as PEM.
const PEM_CHAIN_KIND: usize = 5;

/// Why a quote shows nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TdxError {
    /// The collateral is not what Intel's service gives.
    #[error("the collateral cannot be read")]
    Collateral,
    /// It is a quote of an SGX enclave.
    #[error("the quote is of an enclave, not of a trust domain")]
    Enclave,
    /// Longer than any.
    #[error("the {0} is too long")]
    TooLong(&'static str),
    /// What the verifier says; it names no input.
    #[error("the quote does not hold: {0}")]
    Quote(String),
}

/// A quote that the hardware made.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What it runs.
    pub measurements: TdxMeasurements,
    /// What it had signed along.
    pub report_data: [u8; REPORT_DATA_LEN],
    /// Intel's word on the platform: `UpToDate`, `OutOfDate`, …
    pub status: String,
    /// Numbers of Intel's advisories that concern the platform.
    pub advisories: Vec<String>,
    /// Which processor (PPID, encrypted identity of the platform).
    pub processor: Vec<u8>,
    migratable: bool,
}

/// Verifies that Intel hardware made this quote, as of `at` (seconds since 1970).
///
/// A trust domain under debug, one with reserved attributes and one that is bound to a service
/// domain are refused here already.
///
/// # Errors
/// [`TdxError`] says what does not hold.
pub fn verify(quote: &[u8], collateral: &[u8], at: u64) -> Result<Verified, TdxError> {
    if quote.len() > QUOTE_MAX {
        return Err(TdxError::TooLong("quote"));
    }
    if collateral.len() > COLLATERAL_MAX {
        return Err(TdxError::TooLong("collateral"));
    }
    check_layout(quote)?;
    let collateral: QuoteCollateralV3 =
        serde_json::from_slice(collateral).map_err(|_form| TdxError::Collateral)?;
    let found = QuoteVerifier::new_prod()
        .with_config::<dcap_qvl::configs::RustCryptoConfig>()
        .verify(quote, &collateral, at)
        .map_err(|error| TdxError::Quote(format!("{error:#}")))?;
    let report = found.report.as_td10().ok_or(TdxError::Enclave)?;
    let attributes = TDAttributes::parse(report.td_attributes)
        .map_err(|error| TdxError::Quote(error.to_string()))?;
    Ok(Verified {
        measurements: TdxMeasurements {
            mr_td: Digits(report.mr_td),
            rtmr: [report.rt_mr0, report.rt_mr1, report.rt_mr2, report.rt_mr3].map(Digits),
        },
        report_data: report.report_data,
        status: found.status,
        advisories: found.advisory_ids,
        processor: found.ppid,
        migratable: attributes.sec.migratable,
    })
}

/// The fields that no signature covers: lengths and kinds of what follows the report. Each has the
/// one value that fits, so that no two quotes say the same.
///
/// Version 4 has the report at a fixed length, version 5 says it.
fn check_layout(quote: &[u8]) -> Result<(), TdxError> {
    let mut rest = quote;
    let body = match number(take(&mut rest, 2)?) {
        4 => TD10_LEN,
        5 => number(quote.get(HEADER_LEN + 2..HEADER_LEN + 6).ok_or_else(misfit)?) + 6,
        _ => return Err(TdxError::Quote("this program does not know its version".to_owned())),
    };
    take(&mut rest, HEADER_LEN - 2)?;
    take(&mut rest, body)?;
    let length = number(take(&mut rest, 4)?);
    let mut signed = take(&mut rest, length)?;
    take(&mut signed, KEY_AND_SIGNATURE_LEN)?;
    let mut enclave = sized(&mut signed, QE_REPORT_KIND)?;
    take(&mut enclave, QE_REPORT_AND_SIGNATURE_LEN)?;
    let length = number(take(&mut enclave, 2)?);
    take(&mut enclave, length)?;
    sized(&mut enclave, PEM_CHAIN_KIND)?;
    // The kernel hands quotes out in a buffer of a fixed size, with zeros behind them.
    let padded = rest.iter().all(|byte| *byte == 0);
    if padded && signed.is_empty() && enclave.is_empty() { Ok(()) } else { Err(misfit()) }
}

/// Something of this kind, behind its kind and length.
fn sized<'a>(rest: &mut &'a [u8], kind: usize) -> Result<&'a [u8], TdxError> {
    if number(take(rest, 2)?) != kind {
        return Err(TdxError::Quote("its certificates are of another kind".to_owned()));
    }
    let length = number(take(rest, 4)?);
    take(rest, length)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], TdxError> {
    let (taken, left) = rest.split_at_checked(length).ok_or_else(misfit)?;
    *rest = left;
    Ok(taken)
}

/// Little-endian, of at most four bytes.
fn number(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

fn misfit() -> TdxError {
    TdxError::Quote("its parts do not have the lengths that it says".to_owned())
}

impl Verified {
    /// What a policy is asked about.
    #[must_use]
    pub fn facts(&self) -> Tdx {
        Tdx {
            measurements: self.measurements,
            status: self.status.clone(),
            processor: self.processor.clone(),
            migration: self.migratable,
        }
    }
}

#[cfg(test)]
mod tests;
