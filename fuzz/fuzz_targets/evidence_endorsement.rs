//! Certificates of TPMs, and lists of revoked ones.
#![no_main]
use cloudtaser_evidence::fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::endorsement(bytes));
