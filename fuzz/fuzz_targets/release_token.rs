//! Tokens of workloads, and sets of keys.
#![no_main]
use cloudtaser_relay::bridge::release::token::fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::token(bytes));
