//! What a node's agent signs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    cloudtaser_core::fuzz::statement(&String::from_utf8_lossy(data));
});
