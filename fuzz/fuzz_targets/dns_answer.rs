//! Answers of a DNS server.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cloudtaser_bao::fuzz::dns_message(data));
