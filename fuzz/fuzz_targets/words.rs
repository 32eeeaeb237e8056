//! Requirements and lengths of time.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| cloudtaser_core::fuzz::words(text));
