//! Exceptions written into the files that need them.
//!
//! One finding after the other: its changes are made, the files are checked again, and so on until
//! nothing is left that can be changed. So every change stands on a text that was read, and two
//! findings never write into each other.

use crate::{
    check::{Report, check},
    edit,
    finding::Finding,
    settings::Settings,
    source::Source,
};

/// What was done.
#[derive(Clone, Debug)]
pub struct Fixed {
    /// The files, changed or not.
    pub sources: Vec<Source>,
    /// What was changed, in order.
    pub changes: Vec<Change>,
    /// What is left.
    pub report: Report,
}

/// One finding that was dealt with.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which file.
    pub source: usize,
    /// The rule's name.
    pub rule: &'static str,
    /// The object.
    pub object: String,
    /// What was done.
    pub words: String,
    /// What is given up by it.
    pub costs: Option<&'static str>,
}

/// A file has at most so many findings that are written away.
const MOST_ROUNDS: usize = 500;

/// A finding whose change helped nothing, so that it is not tried again.
type Hopeless = std::collections::BTreeSet<(usize, &'static str, String)>;

/// Writes exceptions until nothing is left that has one.
#[must_use]
pub fn fix(sources: &[Source], settings: &Settings) -> Fixed {
    let mut sources = sources.to_vec();
    let mut changes = Vec::new();
    let mut report = check(&sources, settings);
    let mut hopeless = Hopeless::new();
    for _ in 0..MOST_ROUNDS {
        let tried = attempts(&sources, &report, &hopeless);
        if tried.is_empty() {
            break;
        }
        let mut old = Vec::new();
        for attempt in &tried {
            if let Some(source) = sources.get_mut(attempt.change.source) {
                let new = Source::new(source.name().to_owned(), attempt.text.clone());
                old.push(std::mem::replace(source, new));
            }
        }
        let mut after = check(&sources, settings);
        let mut undone = false;
        for (attempt, old) in tried.into_iter().zip(old) {
            let index = attempt.change.source;
            // SECURITY: a change must take something away and bring nothing new, or it is no fix.
            let better = count(&after, index) < count(&report, index)
                && problems(&after, index) <= problems(&report, index);
            if better {
                changes.push(attempt.change);
            } else if let Some(source) = sources.get_mut(index) {
                *source = old;
                undone = true;
                hopeless.insert(attempt.key);
            }
        }
        if undone {
            after = check(&sources, settings);
        }
        report = after;
    }
    Fixed { sources, changes, report }
}

/// A change that is about to be made.
struct Attempt {
    change: Change,
    text: String,
    key: (usize, &'static str, String),
}

/// One change for each file, at most.
fn attempts(sources: &[Source], report: &Report, hopeless: &Hopeless) -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = Vec::new();
    for finding in &report.findings {
        let taken = attempts.last().is_some_and(|last| last.change.source == finding.source);
        let key = (finding.source, finding.rule.id, finding.words.clone());
        if taken || hopeless.contains(&key) {
            continue;
        }
        let Some((text, exception)) = changed(sources, finding).zip(finding.exception.as_ref())
        else {
            continue;
        };
        let change = Change {
            source: finding.source,
            rule: finding.rule.id,
            object: finding.object.clone(),
            words: exception.words.clone(),
            costs: exception.costs,
        };
        attempts.push(Attempt { change, text, key });
    }
    attempts
}

fn count(report: &Report, source: usize) -> usize {
    report.findings.iter().filter(|finding| finding.source == source).count()
}

fn problems(report: &Report, source: usize) -> usize {
    report.problems.iter().filter(|problem| problem.source == source).count()
}

fn changed(sources: &[Source], finding: &Finding) -> Option<String> {
    let edits = &finding.exception.as_ref()?.edits;
    let source = sources.get(finding.source)?;
    if edits.is_empty() {
        return None;
    }
    edit::apply(source.text(), edits).filter(|text| text != source.text())
}
