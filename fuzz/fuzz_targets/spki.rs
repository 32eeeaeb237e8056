//! Certificates, and the pins of their keys.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    cloudtaser_tls::fuzz::spki(data);
    if let Ok(text) = std::str::from_utf8(data) {
        cloudtaser_tls::fuzz::pin(text);
    }
});
