//! `cargo xtask test`: everything that CI runs, in order, stopping at the first step that fails.
//!
//! The quick judges come first. Tests run against the built release programs and the pinned
//! OpenBao, whose paths they find in the environment.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};

use crate::artifacts::{self, Artifacts};
use crate::command::{self, cargo, succeeds};
use crate::lint;
use crate::outcome::Outcome;
use crate::place;
use crate::tools::{self, Need};
use crate::ui;
use crate::vm::{self, Wanted};

/// The verb.
pub(crate) fn run() -> anyhow::Result<()> {
    let start = Instant::now();
    let mut outcome = Outcome::default();
    let done = steps(&mut outcome);
    for reason in &outcome.reasons {
        ui::say(&format!("skipped: {reason}"));
    }
    for test in &outcome.shaky {
        ui::say(&format!("failed at the first try: {test}"));
    }
    let verdict = if done.is_ok() { "" } else { ", NOT all steps" };
    let took = ui::human(start.elapsed());
    ui::say(&ui::bold(&format!("\ntest: {outcome} in {took}{verdict}")));
    done
}

/// Runs one step between a heading and a line with its time; its errors name it.
pub(crate) fn step<T>(
    name: &'static str,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    ui::heading(name);
    let start = Instant::now();
    let result = work().context(name)?;
    ui::finished(name, start.elapsed());
    Ok(result)
}

fn steps(outcome: &mut Outcome) -> anyhow::Result<()> {
    step("tools", || tools::ensure(Need::Tests))?;
    lint::static_checks()?;
    let artifacts = step("release build", artifacts::build)?;
    step("binary gates", || artifacts::gate(&artifacts))?;
    step("tests", || {
        if succeeds(&mut cargo(["nextest", "--version"])) {
            by_nextest(&artifacts, outcome)
        } else {
            ui::say("cargo-nextest is not here: plain cargo test, one test at a time");
            // Tests fork and trace; a second test thread in the same process would disturb them.
            let mut tests =
                cargo(["test", "--locked", "--workspace", "--lib", "--bins", "--tests"]);
            tests.env("RUST_TEST_THREADS", "1");
            by_libtest(tests, &artifacts, outcome)
        }
    })?;
    step("documentation tests", || {
        let tests = cargo(["test", "--quiet", "--locked", "--workspace", "--doc"]);
        by_libtest(tests, &artifacts, outcome)
    })?;
    step("documentation", lint::documentation)?;
    // Last: it takes minutes, and has nothing to say about code that fails above.
    step("virtual machines", || vm::run(&Wanted::usual(), outcome))
}

fn by_nextest(artifacts: &Artifacts, outcome: &mut Outcome) -> anyhow::Result<()> {
    // nextest keeps its store in the work tree, whatever CARGO_TARGET_DIR says.
    let report = place::root().join("target/nextest/default/junit.xml");
    if report.exists() {
        // A report of an earlier run must not speak for this one.
        fs::remove_file(&report).with_context(|| format!("cannot remove {}", report.display()))?;
    }
    let mut tests = cargo(["nextest", "run", "--locked", "--workspace", "--no-fail-fast"]);
    tests.args(["--profile=default", "--no-tests=fail"]);
    artifacts.announce(&mut tests);
    let ran = command::run(&mut tests);
    match fs::read_to_string(&report) {
        Ok(text) => *outcome += Outcome::from_junit(&text),
        Err(error) => {
            ran?;
            return Err(error).with_context(|| format!("no report at {}", report.display()));
        }
    }
    ran
}

fn by_libtest(
    mut tests: Command,
    artifacts: &Artifacts,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    tests.args(["--no-fail-fast", "--", "--show-output"]).stdout(Stdio::piped());
    artifacts.announce(&mut tests);
    let name = command::shown(&tests);
    let mut child = tests.spawn().with_context(|| format!("cannot run {name}"))?;
    let mut output = String::new();
    if let Some(pipe) = child.stdout.take() {
        for line in BufReader::new(pipe).split(b'\n') {
            let line = line?;
            // A test may print bytes that are no text.
            let line = String::from_utf8_lossy(&line);
            ui::say(&line);
            output.push_str(&line);
            output.push('\n');
        }
    }
    let status = child.wait()?;
    *outcome += Outcome::from_libtest(&output);
    ensure!(status.success(), "{name} failed ({status})");
    Ok(())
}
