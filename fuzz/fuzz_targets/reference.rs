//! References, as people write them into variables.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| cloudtaser_core::fuzz::reference(text));
