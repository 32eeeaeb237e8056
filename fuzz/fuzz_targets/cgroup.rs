//! Paths of cgroups, which containers and root choose.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    cloudtaser_core::fuzz::cgroup(&String::from_utf8_lossy(data));
});
