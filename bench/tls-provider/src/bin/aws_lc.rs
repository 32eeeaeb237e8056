//! One HTTPS GET with aws-lc-rs.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    cloudtaser_tls_provider::run(rustls::crypto::aws_lc_rs::default_provider())
}
