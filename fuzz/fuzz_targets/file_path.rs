//! Paths that a task gives to `open` and `stat`, where secret files are on offer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cloudtaser_sys::fuzz::file_path(data));
