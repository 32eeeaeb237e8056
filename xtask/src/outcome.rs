//! Counts what a test run said: passed, failed, and the tests that skipped with a reason.
//!
//! A test that lacks something prints `SKIP: reason` and returns, which every runner counts as
//! passed. Here it is not: `passed` are the tests that did all of their work.

use std::fmt;
use std::ops::AddAssign;

const SKIP: &str = "SKIP: ";

/// What came of a number of tests.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    /// Those of the passed that failed at the first try: each is a finding, named at the end.
    pub(crate) shaky: Vec<String>,
    /// Test and reason, one for each `SKIP` line.
    pub(crate) reasons: Vec<String>,
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.skipped += more.skipped;
        self.shaky.extend(more.shaky);
        self.reasons.extend(more.reasons);
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped, .. } = self;
        let hint = if *skipped == 0 { "" } else { " (reasons above)" };
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped{hint}")?;
        match self.shaky.len() {
            0 => Ok(()),
            shaky => write!(f, ", {shaky} only at the second try (named above)"),
        }
    }
}

impl Outcome {
    /// Reads the JUnit report that cargo-nextest writes.
    pub(crate) fn from_junit(report: &str) -> Self {
        let mut outcome = Self::default();
        for case in report.split("<testcase ").skip(1) {
            let case = case.split("</testcase>").next().unwrap_or_default();
            if case.contains("<failure") || case.contains("<error") {
                outcome.failed += 1;
                continue;
            }
            let name = |key| attribute(case, key).unwrap_or_default();
            let full = format!("{} {}", name("classname"), name("name"));
            if case.contains("<flakyFailure") {
                outcome.passed += 1;
                outcome.shaky.push(full);
                continue;
            }
            outcome.add_success(&full, case.lines().filter_map(reason).map(unescaped));
        }
        outcome
    }

    /// Reads what `cargo test -- --show-output` prints.
    pub(crate) fn from_libtest(output: &str) -> Self {
        let mut outcome = Self::default();
        let mut test: Option<&str> = None;
        let mut said = Vec::new();
        let mut successes = false;
        for line in output.lines() {
            let title =
                line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"));
            let result = line.strip_prefix("test result: ");
            let is_section = matches!(line, "successes:" | "failures:");
            if is_section || title.is_some() || result.is_some() {
                outcome.add_skips(test.take(), &mut said);
            }
            if let Some(result) = result {
                outcome.passed += number_before(result, " passed");
                outcome.failed += number_before(result, " failed");
                successes = false;
            } else if is_section {
                successes = line == "successes:";
            } else if title.is_some() {
                // What a failed test said before it failed is no skip.
                test = title.filter(|_| successes);
            } else if test.is_some() {
                said.extend(reason(line).map(str::to_owned));
            }
        }
        // Skips were counted as passed by the runner.
        outcome.passed = outcome.passed.saturating_sub(outcome.skipped);
        outcome
    }

    /// Counts something that could not be run, with the reason.
    pub(crate) fn skip(&mut self, what: &str, reason: &str) {
        self.skipped += 1;
        self.reasons.push(format!("{what}: {reason}"));
    }

    fn add_success(&mut self, name: &str, reasons: impl Iterator<Item = String>) {
        let before = self.reasons.len();
        self.reasons.extend(reasons.map(|reason| format!("{name}: {reason}")));
        if self.reasons.len() > before { self.skipped += 1 } else { self.passed += 1 }
    }

    fn add_skips(&mut self, test: Option<&str>, said: &mut Vec<String>) {
        if let Some(name) = test
            && !said.is_empty()
        {
            self.skipped += 1;
            self.reasons.extend(said.iter().map(|reason| format!("{name}: {reason}")));
        }
        said.clear();
    }
}

fn reason(line: &str) -> Option<&str> {
    let (_, reason) = line.split_once(SKIP)?;
    Some(reason.split("</system-").next().unwrap_or(reason).trim())
}

fn attribute<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    // The blank keeps `name` from being found in `classname`; the first attribute has none.
    let start = format!("{key}=\"");
    let rest = match text.strip_prefix(&start) {
        Some(rest) => rest,
        None => text.split_once(&format!(" {start}"))?.1,
    };
    Some(rest.split_once('"')?.0)
}

fn unescaped(text: &str) -> String {
    let marks = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    marks.iter().fold(text.to_owned(), |text, (mark, letter)| text.replace(mark, letter))
}

fn number_before(text: &str, word: &str) -> usize {
    let before = text.split_once(word).map(|(before, _)| before).unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JUNIT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="4" failures="1" errors="0">
    <testsuite name="cloudtaser-sys" tests="4">
        <testcase name="a::works" classname="cloudtaser-sys" time="0.1"/>
        <testcase name="a::lacks" classname="cloudtaser-sys" time="0.1">
            <system-out>running 1 test
</system-out>
            <system-err>SKIP: no &lt;secretmem&gt; here
SKIP: no ptrace</system-err>
        </testcase>
        <testcase name="a::breaks" classname="cloudtaser-sys" time="0.1">
            <failure type="test failure">SKIP: said before it broke</failure>
        </testcase>
        <testcase name="a::works_too" classname="cloudtaser-sys">
            <system-out>fine</system-out>
        </testcase>
    </testsuite>
</testsuites>
"#;

    const LIBTEST: &str = "\
running 3 tests
test a::lacks ... ok
test a::works ... ok
test a::talks ... ok

successes:

---- a::lacks stdout ----
SKIP: no gdb
---- a::talks stdout ----
hello

successes:
    a::lacks
    a::works

test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

running 2 tests
test b::breaks ... FAILED
test b::works ... ok

successes:

successes:
    b::works

failures:

---- b::breaks stdout ----
SKIP: said before it broke
thread panicked

failures:
    b::breaks

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.0s
";

    #[test]
    fn nextest_report_is_counted() {
        let outcome = Outcome::from_junit(JUNIT);
        assert_eq!(outcome.to_string(), "2 passed, 1 failed, 1 skipped (reasons above)");
        assert_eq!(
            outcome.reasons,
            ["cloudtaser-sys a::lacks: no <secretmem> here", "cloudtaser-sys a::lacks: no ptrace"]
        );
    }

    #[test]
    fn a_test_that_passed_at_the_second_try_is_named() {
        let retried = JUNIT.replace("failure", "flakyFailure");
        let outcome = Outcome::from_junit(&retried);
        assert_eq!(
            outcome.to_string(),
            "3 passed, 0 failed, 1 skipped (reasons above), 1 only at the second try (named above)"
        );
        assert_eq!(outcome.shaky, ["cloudtaser-sys a::breaks"]);
    }

    #[test]
    fn libtest_output_is_counted() {
        let outcome = Outcome::from_libtest(LIBTEST);
        assert_eq!(outcome.to_string(), "3 passed, 1 failed, 1 skipped (reasons above)");
        assert_eq!(outcome.reasons, ["a::lacks: no gdb"]);
    }

    #[test]
    fn runs_add_up() {
        let mut sum = Outcome::from_libtest(LIBTEST);
        sum += Outcome::from_junit(JUNIT);
        assert_eq!((sum.passed, sum.failed, sum.skipped, sum.reasons.len()), (5, 2, 2, 3));
        assert_eq!(Outcome::default().to_string(), "0 passed, 0 failed, 0 skipped");
    }
}
