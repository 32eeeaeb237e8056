//! One line of JSON per event on standard error.

use std::io;

pub(crate) use cloudtaser_core::blame::chain;

/// Sets the log up, once per process.
pub(crate) fn start() {
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_target(false);
    let _already = log.with_writer(io::stderr).with_ansi(false).try_init();
}
