//! Messages between wrapper and bridge, either way.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cloudtaser_core::fuzz::release(bytes));
