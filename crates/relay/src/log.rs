//! One line of JSON per event on standard error, and errors with their causes.

use std::io;

pub use cloudtaser_core::blame::chain;

/// Sets the log up, once per process, and has panics in it.
pub fn start() {
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_target(false);
    // A second time would be a test that set up its own.
    let _already = log.with_writer(io::stderr).with_ansi(false).try_init();
    crate::panics::count();
}
