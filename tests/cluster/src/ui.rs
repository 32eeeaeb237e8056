//! What the suite prints: progress on stdout, complaints on stderr.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the one place that prints")]

/// Prints one line or block of plain text.
pub(crate) fn say(text: &str) {
    println!("{}", text.trim_end());
}

/// Prints one line or block to stderr.
pub(crate) fn complain(text: &str) {
    eprintln!("{}", text.trim_end());
}
