//! `cloudtaser-wrapper`: starts an unmodified program with secrets in sealed memory.
#![forbid(unsafe_code)]
mod args;
mod log;
mod resolve;
mod settings;
mod template;
mod variables;
fn main() {}
