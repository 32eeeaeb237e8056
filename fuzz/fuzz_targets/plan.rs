//! Launch plans, as the webhook or a file gives them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cloudtaser_core::fuzz::plan(data));
