//! Notes, checkpoints, keys, policies.
#![no_main]
use cloudtaser_evidence::fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::note(&String::from_utf8_lossy(bytes)));
