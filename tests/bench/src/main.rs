//! `cloudtaser-bench NAME`: measures our programs beside what a user would run instead.
//!
//! Both sides run in turn within one run, against the same server, so that a busy machine is busy
//! for both. Reading order: [`wrapper`] says what is measured, [`subject`] how each side is started,
//! [`launch`] where the clock stands. Nothing here decides whether a figure is good enough: results
//! are recorded beside their target, and a person reads them.

#![forbid(unsafe_code)]

mod app;
mod evidence;
mod guard;
mod http;
mod launch;
mod machine;
mod memory;
mod random;
mod relay;
mod report;
mod server;
mod stats;
mod subject;
mod tls;
mod ui;
mod webhook;
mod wrapper;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;

const HELP: &str = "\
cargo xtask bench NAME [--quick] [--out DIR]

  wrapper   starting an app with secrets: cloudtaser-wrapper beside `bao agent` in exec mode
  evidence  receipts: keeping them, verifying one and a million, their size
  webhook   reviews at the operator: latency and rate at 1, 8 and 64 connections
  relay     carrying bytes: cloudtaser-beacon beside haproxy, nginx and rathole
  tls       one HTTPS GET by each crypto provider that docs/adr/0001 weighs

  --quick   few rounds, to see that it works; results go to bench-quick in the target directory
  --out DIR where results go instead of bench/results

Exit codes: 0 done, 1 something failed, 64 wrong usage, 130 interrupted.
";

/// What a wrong command line ends with, as in `sysexits.h`.
const USAGE: u8 = 64;

/// How much is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Effort {
    /// As many rounds as the figures need.
    Full,
    /// Enough to see that it works.
    Quick,
}

/// A bench that was asked for.
#[derive(Debug)]
struct Asked {
    name: String,
    effort: Effort,
    out: PathBuf,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|verb| verb == app::VERB) {
        return app::run();
    }
    let (inner, words) = match arguments.split_first() {
        Some((verb, rest)) if verb == guard::VERB => (true, rest),
        _ => (false, arguments.as_slice()),
    };
    let asked = match parse(words) {
        Ok(asked) => asked,
        Err(problem) => {
            ui::complain(&format!("bench: {problem}\n\n{HELP}"));
            return ExitCode::from(USAGE);
        }
    };
    if !inner {
        return match guard::run(&arguments, limit(asked.effort)) {
            Ok(code) => code,
            Err(error) => failed(&error),
        };
    }
    let done = guard::begin().and_then(|scratch| match asked.name.as_str() {
        "evidence" => evidence::run(asked.effort, &asked.out, &scratch),
        "relay" => relay::run(asked.effort, &asked.out, &scratch),
        "tls" => tls::run(asked.effort, &asked.out, &scratch),
        "webhook" => webhook::run(asked.effort, &asked.out, &scratch),
        _ => wrapper::run(asked.effort, &asked.out, &scratch),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    ui::complain(&format!("bench: {error:#}"));
    ExitCode::FAILURE
}

/// The longest that a bench may take; it is ended with all its processes then.
const fn limit(effort: Effort) -> Duration {
    match effort {
        Effort::Full => Duration::from_secs(1800),
        Effort::Quick => Duration::from_secs(180),
    }
}

fn parse(words: &[String]) -> anyhow::Result<Asked> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut words = words.iter();
    let name = match words.next().map(String::as_str) {
        Some(name @ ("evidence" | "relay" | "tls" | "webhook" | "wrapper")) => name.to_owned(),
        Some(other) => bail!("there is no bench `{other}`"),
        None => bail!("say what to measure"),
    };
    let mut effort = Effort::Full;
    let mut out = None;
    while let Some(word) = words.next() {
        match (word.as_str(), words.as_slice().first()) {
            ("--quick", _) => effort = Effort::Quick,
            ("--out", Some(directory)) => {
                out = Some(PathBuf::from(directory));
                words.next();
            }
            (other, _) => bail!("cannot use `{other}`"),
        }
    }
    let usual = match effort {
        Effort::Full => root.join("bench/results"),
        Effort::Quick => target(&root).join("bench-quick"),
    };
    Ok(Asked { name, effort, out: out.unwrap_or(usual) })
}

fn target(root: &std::path::Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) if !directory.is_empty() => root.join(directory),
        _ => root.join("target"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_quick_run_never_writes_over_recorded_results() {
        let asked = parse(&words("wrapper --quick")).unwrap();
        assert_eq!(asked.effort, Effort::Quick);
        assert!(asked.out.ends_with("bench-quick"), "{asked:?}");
        assert!(parse(&words("tls")).unwrap().out.ends_with("bench/results"));
        assert_eq!(parse(&words("tls --out x --quick")).unwrap().out, PathBuf::from("x"));
    }

    #[test]
    fn words_that_mean_nothing_are_refused() {
        for line in ["", "agent", "wrapper --slow", "wrapper --out"] {
            assert!(parse(&words(line)).is_err(), "{line}");
        }
    }
}
