//! One line of JSON per event on standard error, and errors with their causes.

use std::{error::Error, fmt::Write as _, io};

/// Sets the log up, once per process, and has panics in it.
pub fn start() {
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_target(false);
    // A second time would be a test that set up its own.
    let _already = log.with_writer(io::stderr).with_ansi(false).try_init();
    crate::panics::count();
}

/// An error and what caused it, in one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a String does not fail.
        let _never = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
