//! Evidence of hardware: what a processor or a TPM signed about the machine that asked.
//!
//! Each verifier is a pure function of the evidence, the collateral that was archived with it and a
//! moment: nothing is fetched, and no clock is asked, so that years later the same bytes give the
//! same answer. The roots are compiled in. What comes back is what was *shown*; whether that is good
//! enough is the release policy's word ([`cloudtaser_core::release::hardware`]), which starts from
//! "nothing is".
//!
//! What this does not show: that the processor's keys did not leak, and that nobody sat between the
//! processor and its memory (WireTap, Battering RAM, TEE.fail). A report says so where it matters.

pub mod machine;
pub mod snp;
pub mod tdx;
pub mod tpm;

/// How many bytes a guest may have signed along with its measurement.
pub const REPORT_DATA_LEN: usize = 64;
