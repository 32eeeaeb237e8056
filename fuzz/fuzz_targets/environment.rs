//! The environment that a task hands to a new program.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cloudtaser_sys::fuzz::environment(data));
