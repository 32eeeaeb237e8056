//! OpenBao's audit log.
#![no_main]
use cloudtaser_evidence::fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::audit(bytes));
