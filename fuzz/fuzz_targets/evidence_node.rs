//! What a node signed, as it is archived.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cloudtaser_evidence::fuzz::node(data));
