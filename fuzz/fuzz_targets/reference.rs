//! References, as people write them into variables.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    cloudtaser_core::fuzz::reference(&String::from_utf8_lossy(data));
});
