//! An operator's order to the node agent.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    cloudtaser_core::fuzz::order(&String::from_utf8_lossy(data));
});
