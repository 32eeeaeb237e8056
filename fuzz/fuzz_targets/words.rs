//! Requirements and lengths of time.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    cloudtaser_core::fuzz::words(&String::from_utf8_lossy(data));
});
