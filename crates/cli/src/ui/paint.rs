//! Colours, by meaning.
//!
//! Tables are laid out without colour, since escape codes would count as width, and are painted
//! afterwards by the words that stand in them.

use anstyle::{AnsiColor, Style};

const BAD: Style = AnsiColor::Red.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const DIM: Style = Style::new().dimmed();
const STRONG: Style = Style::new().bold();
const WARN: Style = AnsiColor::Yellow.on_default();

/// Something that must not be.
pub(crate) fn bad(text: &str) -> String {
    paint(BAD, text)
}

/// Something as it should be.
pub(crate) fn good(text: &str) -> String {
    paint(GOOD, text)
}

/// A heading.
pub(crate) fn strong(text: &str) -> String {
    paint(STRONG, text)
}

/// Something of less weight.
pub(crate) fn dim(text: &str) -> String {
    paint(DIM, text)
}

/// Paints the words of a table that was laid out already.
pub(crate) fn words(table: &str) -> String {
    let mut painted = table.to_owned();
    for (word, style) in [
        ("GOT IT", BAD),
        ("  open ", WARN),
        ("its own", WARN),
        ("closed", GOOD),
        ("nothing", GOOD),
        ("skipped", DIM),
        ("absent", DIM),
    ] {
        painted = painted.replace(word, &paint(style, word));
    }
    painted
}

fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}
