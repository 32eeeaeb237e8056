//! Frames, preambles and headers of legs.
#![no_main]
use cloudtaser_relay::proto::fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::frames(bytes));
