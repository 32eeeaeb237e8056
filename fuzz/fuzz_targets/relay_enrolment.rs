//! What is said around enrolment.
#![no_main]
use cloudtaser_relay::proto::fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::enrolment(bytes));
