//! Names of images, which anyone who may create a pod can write.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    cloudtaser_k8s::fuzz::image(&String::from_utf8_lossy(data));
});
