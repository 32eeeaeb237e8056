//! Everything that this program writes to a terminal; no other module prints.
//!
//! Results go to standard output, words about the work to standard error. Colour is used where the
//! stream is a terminal and `NO_COLOR` is not set. A closed pipe ends the output, not the program.

pub(crate) mod demo;
pub(crate) mod evidence;
pub(crate) mod paint;
pub(crate) mod probe;

use std::{fmt::Display, io::Write, time::Duration};

use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};
use indicatif::{ProgressBar, ProgressStyle};

/// Widest line of any table: what fits two panes on a laptop and a mail without wrapping.
pub(crate) const WIDTH: u16 = 100;

/// Writes one line of the result.
pub(crate) fn line(text: &str) {
    // Nobody is left to be told when the reader has gone.
    let _closed = writeln!(anstream::stdout(), "{text}");
}

/// Writes a paragraph of the result, indented and broken at the width of all output.
pub(crate) fn wrapped(text: &str) {
    let mut written = String::new();
    let mut width = 0;
    for word in text.split_ascii_whitespace() {
        if width + word.chars().count() + 3 > usize::from(WIDTH) {
            line(&format!("  {written}"));
            written.clear();
            // What follows the first line stands further in, so that each entry is seen to start.
            written.push_str("  ");
            width = 2;
        } else if !written.is_empty() {
            written.push(' ');
            width += 1;
        }
        written.push_str(word);
        width += word.chars().count();
    }
    line(&format!("  {written}"));
}

/// Text that others wrote, for a terminal.
///
/// SECURITY: a pod, a node or a server may have put escape codes into what it says.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Writes without colour from now on.
pub(crate) fn without_colour() {
    anstream::ColorChoice::Never.write_global();
}

/// Writes bytes of a generated file, such as completions, as they are.
pub(crate) fn raw(bytes: &[u8]) {
    let _closed = std::io::stdout().write_all(bytes);
}

/// Writes one line about the work.
pub(crate) fn note(text: &str) {
    let _closed = writeln!(anstream::stderr(), "{text}");
}

/// An empty table in the one style that is used: a line under the header, no other lines.
pub(crate) fn table_with(header: &[&str]) -> Table {
    let under_header = LineStyle::none().fill('\u{2500}').junction('\u{2500}');
    let mut table = Table::new();
    table.load_style(TableStyle::new().header_separator(under_header));
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(WIDTH);
    table.set_header(header.iter().copied());
    table
}

/// Writes an error with its chain, once.
pub(crate) fn error(error: &anyhow::Error) {
    let _closed = writeln!(anstream::stderr(), "{} {}", paint::bad("error:"), chain(error));
}

/// Writes an error that was laid out already, such as one with a caret.
pub(crate) fn error_block(block: impl Display) {
    let _closed = writeln!(anstream::stderr(), "{block}");
}

/// The chain in one line; a cause that its consequence repeats is left out.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.ends_with(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}

/// A line that shows what is being done; nothing at all where no terminal would show it.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Starts to show.
    pub(crate) fn start() -> Self {
        // indicatif draws to standard error and hides itself where that is no terminal.
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Keeps the line moving while something is waited for.
    pub(crate) fn lively(self) -> Self {
        self.0.enable_steady_tick(Duration::from_millis(100));
        self
    }

    /// Makes room for a line that stays.
    pub(crate) fn hide(&self) {
        self.0.set_message(String::new());
        self.0.tick();
    }

    /// Shows what is done now.
    pub(crate) fn say(&self, what: &str) {
        self.0.set_message(what.to_owned());
        self.0.tick();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_moves_no_cursor() {
        assert_eq!(printable("a\u{1b}[2Jb\u{9b}c\rd\ne"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d\ne");
    }

    #[test]
    fn the_chain_is_printed_once() {
        let error =
            anyhow::anyhow!("no route").context("cannot reach it: no route").context("demo");
        assert_eq!(chain(&error), "demo: cannot reach it: no route");
    }
}
