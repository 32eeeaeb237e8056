//! Whole programs against a real OpenBao.

#![forbid(unsafe_code)]
