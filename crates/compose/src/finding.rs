//! What is found, and how it is told.

use std::{fmt, ops::Range};

use cloudtaser_core::needs::Step;

use crate::{edit::Edit, rule::Rule};

/// How bad it is. The order is that of importance, the worst first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// A step of ours fails: the app does not start, or loses its secrets.
    Breaks,
    /// A value becomes readable for others.
    Leaks,
    /// Protection or sight is lost, and the level or the state says so.
    Blinds,
    /// Nothing of ours stops; expect events, or keep it in mind.
    Noisy,
}

impl Severity {
    /// All of them, the worst first.
    pub const ALL: [Self; 4] = [Self::Breaks, Self::Leaks, Self::Blinds, Self::Noisy];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Breaks => "breaks",
            Self::Leaks => "leaks",
            Self::Blinds => "blinds",
            Self::Noisy => "noisy",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What to write so that it does not happen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exception {
    /// In words.
    pub words: String,
    /// In the language of the tool, with the values of this policy.
    pub text: String,
    /// The changes of the file that do it; none where only a person can choose.
    pub edits: Vec<Edit>,
    /// What is given up by it.
    pub costs: Option<&'static str>,
}

/// One thing that was found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// How bad it is here.
    pub severity: Severity,
    /// Which file.
    pub source: usize,
    /// Where in it.
    pub span: Range<usize>,
    /// The object, as `Kind namespace/name`.
    pub object: String,
    /// What the policy does to ours, in one sentence.
    pub words: String,
    /// Which step of ours is hit.
    pub step: Step,
    /// The workloads that are hit; none where all are assumed.
    pub workloads: Vec<String>,
    /// What to do.
    pub exception: Option<Exception>,
}

/// Something that could not be checked, or not wholly.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Which file.
    pub source: usize,
    /// Where in it.
    pub span: Range<usize>,
    /// What is wrong.
    pub words: String,
    /// Whether a document was left out because of it.
    pub skipped: bool,
}
