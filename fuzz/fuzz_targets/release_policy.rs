//! A bridge's release policy, and the engine that evaluates it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    cloudtaser_core::fuzz::policy(data);
});
