//! `/etc/hosts` and `/etc/resolv.conf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cloudtaser_bao::fuzz::dns_files(data));
