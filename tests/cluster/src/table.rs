//! What came of each step, and the closing line.

use std::{fmt, time::Duration};

/// What came of a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Failed,
    Passed,
    Skipped,
}

/// One step.
#[derive(Debug)]
struct Row {
    name: String,
    outcome: Outcome,
    took: Duration,
    note: String,
}

/// All steps so far.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn passed(&mut self, name: &str, took: Duration, note: &str) {
        self.add(name, Outcome::Passed, took, note.to_owned());
    }

    pub(crate) fn failed(&mut self, name: &str, error: &anyhow::Error) {
        self.failed_after(name, Duration::ZERO, error);
    }

    pub(crate) fn failed_after(&mut self, name: &str, took: Duration, error: &anyhow::Error) {
        self.add(name, Outcome::Failed, took, format!("{error:#}"));
    }

    pub(crate) fn skipped(&mut self, name: &str, why: &str) {
        self.add(name, Outcome::Skipped, Duration::ZERO, why.to_owned());
    }

    fn add(&mut self, name: &str, outcome: Outcome, took: Duration, note: String) {
        let row = Row { name: name.to_owned(), outcome, took, note };
        crate::ui::say(&row.to_string());
        self.rows.push(row);
    }

    /// Whether a step of this name passed.
    pub(crate) fn has_passed(&self, name: &str) -> bool {
        self.rows.iter().any(|row| row.name == name && row.outcome == Outcome::Passed)
    }

    /// Whether nothing failed.
    pub(crate) fn is_good(&self) -> bool {
        self.count(Outcome::Failed) == 0
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.rows.iter().filter(|row| row.outcome == outcome).count()
    }

    /// The last line, in a form that machines read.
    pub(crate) fn closing(&self) -> String {
        let [passed, failed, skipped] =
            [Outcome::Passed, Outcome::Failed, Outcome::Skipped].map(|outcome| self.count(outcome));
        format!("e2e: {passed} passed, {failed} failed, {skipped} skipped")
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.outcome {
            Outcome::Failed => "FAILED",
            Outcome::Passed => "ok",
            Outcome::Skipped => "skipped",
        };
        let first = self.note.lines().next().unwrap_or_default();
        write!(f, "{word:<8} {:>6.1}s  {}", self.took.as_secs_f32(), self.name)?;
        if !first.is_empty() {
            write!(f, ": {first}")?;
        }
        if self.outcome == Outcome::Failed {
            self.note
                .lines()
                .skip(1)
                .try_for_each(|line| write!(f, "\n                 {line}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_counts_each_outcome_once() {
        let mut table = Table::default();
        table.passed("a", Duration::ZERO, "");
        table.passed("b", Duration::from_secs(2), "two pods");
        table.skipped("c", "no shell");
        assert!(table.is_good() && table.has_passed("b") && !table.has_passed("c"));
        table.failed("d", &anyhow::anyhow!("first\nsecond"));
        assert!(!table.is_good());
        assert_eq!(table.closing(), "e2e: 2 passed, 1 failed, 1 skipped");
        assert!(table.to_string().contains("FAILED      0.0s  d: first\n                 second"));
    }
}
