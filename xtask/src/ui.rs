//! What xtask prints: headings and notes on stdout, complaints on stderr.
//!
//! Everything else in the crate prints through here, so that the tone and the colours are decided
//! once. No progress bars: the output must read well in a CI log.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the one place that prints")]

use std::io::{self, IsTerminal};
use std::time::Duration;

/// Prints one line or block of plain text.
pub(crate) fn say(text: &str) {
    println!("{}", text.trim_end());
}

/// Prints one line or block to stderr.
pub(crate) fn complain(text: &str) {
    eprintln!("{}", text.trim_end());
}

/// Begins a step.
pub(crate) fn heading(name: &str) {
    println!("\n{}", bold(&format!("== {name}")));
}

/// Ends a step that went well.
pub(crate) fn finished(name: &str, took: Duration) {
    println!("   {name}: ok, {}", human(took));
}

/// Emphasises a text on a terminal whose user did not ask for no colours.
pub(crate) fn bold(text: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if plain || !io::stdout().is_terminal() {
        return text.to_owned();
    }
    format!("\u{1b}[1m{text}\u{1b}[0m")
}

/// A duration as a person says it: `0.4s`, `12s`, `8m12s`, `1h02m`.
pub(crate) fn human(took: Duration) -> String {
    let seconds = took.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", took.as_secs_f32()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        assert_eq!(human(Duration::from_millis(440)), "0.4s");
        assert_eq!(human(Duration::from_secs(59)), "59s");
        assert_eq!(human(Duration::from_secs(492)), "8m12s");
        assert_eq!(human(Duration::from_secs(3720)), "1h02m");
    }
}
