//! Lines of OpenBao's audit log, of which a bridge learns what has changed.
#![no_main]
use cloudtaser_relay::bridge::release::changes::fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::line(bytes));
