//! What is sent to the webhook, which anyone who reaches its port can do.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    cloudtaser_k8s::fuzz::review(data);
});
