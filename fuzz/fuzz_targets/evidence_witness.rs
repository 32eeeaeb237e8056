//! Requests to a witness.
#![no_main]
use cloudtaser_evidence::fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::witness(bytes));
