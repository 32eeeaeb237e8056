//! What people sign for a bridge.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    cloudtaser_core::fuzz::release_order(&String::from_utf8_lossy(data));
});
