//! The agent's own log: lines of JSON on standard error.

use std::io::{self, Write as _};

use serde_json::Value;

/// One line.
pub(crate) fn write(line: &Value) {
    write_text(&format!("{line}\n"));
}

/// Whole lines. Whoever closed standard error does not want them.
pub(crate) fn write_text(lines: &str) {
    drop(io::stderr().lock().write_all(lines.as_bytes()));
}
