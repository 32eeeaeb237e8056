//! Entry for the fuzzer: what must hold for any text that somebody calls a policy.
//!
//! It panics where a promise is broken and says nothing otherwise. Not in a build that is shipped.

use crate::{
    Settings, Source, check, fix,
    report::{self, Colour},
};

/// More is slow to fix many times over and finds nothing that less does not.
const LONGEST: usize = 64 * 1024;

/// Any text as policies: what is found lies in the text, can be told in every form, and a fix leaves
/// a text that is read as before, with less to find in it.
pub fn policies(text: &str) {
    if text.len() > LONGEST {
        return;
    }
    let sources = [Source::new("fuzz.yaml", text)];
    let report = check(&sources, &Settings::default());
    for finding in &report.findings {
        assert!(text.get(finding.span.clone()).is_some(), "a finding outside the text");
        assert!(!report::finding(&sources, finding, Colour::Off).is_empty());
    }
    for problem in &report.problems {
        assert!(text.get(problem.span.clone()).is_some(), "a problem outside the text");
        assert!(!report::problem(&sources, problem).contains('\u{1b}'));
    }
    assert!(report::json(&sources, &report).is_object());
    assert!(report::sarif(&sources, &report, "0").is_object());
    let fixed = fix(&sources, &Settings::default());
    assert!(fixed.report.findings.len() <= report.findings.len());
    assert!(fixed.report.problems.len() <= report.problems.len());
    assert_eq!(fixed.report.judged, report.judged, "a fix took a document away");
    for change in &fixed.changes {
        assert!(!change.rule.is_empty());
    }
}

#[cfg(test)]
mod tests {
    include!("../../../fuzz/replay.rs");

    #[test]
    fn every_corpus_file_is_replayed() {
        replay("policies", |bytes| super::policies(&String::from_utf8_lossy(bytes)));
    }
}
