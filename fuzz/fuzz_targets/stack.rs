//! The kernel's tables on the stack of a new program, their address before them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cloudtaser_sys::fuzz::stack(data));
