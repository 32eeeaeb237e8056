//! A file of the user, and places in it.
//!
//! Everything that is found points into a text by bytes; people and other programs are told lines
//! and columns, counted from one, columns in characters.

use std::ops::Range;

/// A file: its name as it is shown, and its text.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    text: String,
    /// Where each line begins.
    lines: Vec<usize>,
}

/// A line and a column, both from one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl Source {
    /// Takes a file's name and text.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(ends).collect();
        Self { name: name.into(), text, lines }
    }

    /// The name as it is shown.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte.
    #[must_use]
    pub fn place(&self, at: usize) -> Place {
        let line = self.lines.partition_point(|start| *start <= at).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..at.min(self.text.len())).unwrap_or_default();
        Place { line, column: before.chars().count() + 1 }
    }

    /// The lines of a span, without what is before and behind, and where they begin.
    ///
    /// A report shows a few lines of a file of many; to lay out all of them for each finding would
    /// make long files slow.
    #[must_use]
    pub fn around(&self, span: &Range<usize>) -> (usize, &str) {
        let first = self.place(span.start).line;
        let start = self.lines.get(first - 1).copied().unwrap_or(0);
        let behind = self.lines.get(first).copied().unwrap_or(self.text.len());
        (first, self.text.get(start..behind).unwrap_or_default())
    }

    /// Where the line with this byte begins.
    #[must_use]
    pub fn line_start(&self, at: usize) -> usize {
        let line = self.lines.partition_point(|start| *start <= at).max(1);
        self.lines.get(line - 1).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_one_in_characters() {
        let source = Source::new("f", "a: b\nü: c\n");
        assert_eq!(source.place(0), Place { line: 1, column: 1 });
        let at = source.text().find('c').unwrap();
        assert_eq!(source.place(at), Place { line: 2, column: 4 });
        assert_eq!(source.place(999).line, 3);
    }

    #[test]
    fn a_line_is_cut_out_with_its_number() {
        let source = Source::new("f", "one\ntwo\nthree");
        assert_eq!(source.around(&(5..6)), (2, "two\n"));
        assert_eq!(source.around(&(9..10)), (3, "three"));
    }
}
