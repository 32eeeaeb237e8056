//! Packets between a program and the node agent, either way.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cloudtaser_core::fuzz::agent(data));
