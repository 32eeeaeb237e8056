//! What was found, beside what it may be.

use std::fmt::Write as _;

/// All findings.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

#[derive(Debug)]
struct Finding {
    part: &'static str,
    what: String,
    found: String,
    bound: String,
    kept: bool,
}

impl Findings {
    /// A number that must not be more than this.
    pub(crate) fn at_most(&mut self, part: &'static str, what: &str, found: f64, bound: f64) {
        let (what, kept) = (what.to_owned(), found <= bound);
        let (found, bound) = (number(found), format!("≤ {}", number(bound)));
        self.0.push(Finding { part, what, found, bound, kept });
    }

    /// Something that is told and has no bound.
    pub(crate) fn told(&mut self, part: &'static str, what: &str, found: impl ToString) {
        let (what, found, bound) = (what.to_owned(), found.to_string(), "–".to_owned());
        self.0.push(Finding { part, what, found, bound, kept: true });
    }

    pub(crate) fn all_kept(&self) -> bool {
        self.0.iter().all(|finding| finding.kept)
    }

    pub(crate) fn table(&self) -> String {
        let mut text = String::from("| part | what | found | bound | |\n|---|---|---:|---:|---|\n");
        for Finding { part, what, found, bound, kept } in &self.0 {
            let kept = if *kept { "" } else { "BROKEN" };
            let _never = writeln!(text, "| {part} | {what} | {found} | {bound} | {kept} |");
        }
        text
    }
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}
