//! Answers of OpenBao, each read as an answer to every question.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cloudtaser_bao::fuzz::answers(data));
