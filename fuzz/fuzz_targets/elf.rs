//! Program files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cloudtaser_sys::fuzz::elf(data));
