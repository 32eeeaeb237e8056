//! Reports and quotes of hardware, and the certificates above them.
#![no_main]
use cloudtaser_evidence::fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::hardware(bytes));
