//! Policies of other tools, which anybody may have written.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    cloudtaser_compose::fuzz::policies(&String::from_utf8_lossy(data));
});
