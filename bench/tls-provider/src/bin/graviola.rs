//! One HTTPS GET with graviola.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    cloudtaser_tls_provider::run(rustls_graviola::default_provider())
}
