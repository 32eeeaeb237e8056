//! Plain-text pointing: a line of the user's text, with carets under the part that is wrong.

use std::{fmt, ops::Range};

/// Longest piece of a line that is shown; a longer one is cut around the bad part.
const WIDTH: usize = 72;

/// Shows `text` on one line with carets under `span` (byte offsets).
///
/// Control characters are shown as `?`, so that a terminal cannot be driven by what it is shown.
#[derive(Clone, Debug)]
pub struct Pointed<'a> {
    text: &'a str,
    span: Range<usize>,
}

impl<'a> Pointed<'a> {
    /// Points at a byte range of a text. A range beyond the end points behind the last character.
    #[must_use]
    pub const fn new(text: &'a str, span: Range<usize>) -> Self {
        Self { text, span }
    }
}

impl fmt::Display for Pointed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.text.char_indices().take_while(|(at, _)| *at < self.span.start).count();
        let width =
            self.text.char_indices().filter(|(at, _)| self.span.contains(at)).count().max(1);
        let from = start.saturating_sub(WIDTH / 2);
        let shown = self
            .text
            .chars()
            .skip(from)
            .take(WIDTH)
            .map(|c| if c.is_control() { '?' } else { c })
            .collect::<String>();
        writeln!(f, "    {shown}")?;
        let carets = width.min(WIDTH.saturating_sub(start - from)).max(1);
        write!(f, "    {}{}", " ".repeat(start - from), "^".repeat(carets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carets_stand_under_the_bad_part() {
        let shown = Pointed::new("vault:a/b#k#vv", 12..14).to_string();
        assert_eq!(shown, "    vault:a/b#k#vv\n                ^^");
    }

    #[test]
    fn a_range_behind_the_end_points_behind_the_end() {
        assert_eq!(Pointed::new("abc", 3..9).to_string(), "    abc\n       ^");
    }

    #[test]
    fn terminal_codes_are_not_passed_on() {
        assert!(!Pointed::new("a\u{1b}[31mb", 0..1).to_string().contains('\u{1b}'));
    }
}
