//! `cargo xtask fuzz`: each target of `fuzz/` for some seconds.
//!
//! Needs a nightly toolchain and cargo-fuzz, which are not installed by themselves: they are big,
//! and the corpora are replayed by `cargo test` without them.

use std::fs;
use std::num::NonZeroU32;

use anyhow::Context as _;

use crate::command::{self, Unavailable, find, program, succeeds};
use crate::place;
use crate::test::step;
use crate::ui;

const DEFAULT_SECONDS: NonZeroU32 = NonZeroU32::new(60).unwrap();

/// Reads the arguments of the verb; libFuzzer takes 0 for "without end", so 0 is refused.
pub(crate) fn parse_seconds(arguments: &[String]) -> Option<NonZeroU32> {
    match arguments {
        [] => Some(DEFAULT_SECONDS),
        [seconds] => seconds.parse().ok(),
        _ => None,
    }
}

/// The verb: fails at the first target that finds something.
pub(crate) fn run(seconds: NonZeroU32) -> anyhow::Result<()> {
    let targets = targets()?;
    let nightly = || {
        let mut cargo = program("cargo");
        // The toolchain that runs xtask must not win over `+nightly` in a child of cargo-fuzz.
        cargo.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").arg("+nightly");
        cargo
    };
    let can_run = find("rustup").is_some() && succeeds(nightly().args(["fuzz", "--version"]));
    if !can_run {
        let words = "fuzzing needs nightly and cargo-fuzz: \
                     `rustup toolchain install nightly && cargo install cargo-fuzz --locked`";
        return Err(Unavailable(words.into()).into());
    }
    for target in &targets {
        step("fuzz", || {
            ui::say(&format!("   {target}, {seconds} s"));
            let limit = format!("-max_total_time={seconds}");
            command::run(nightly().args(["fuzz", "run", target, "--", &limit]))
        })?;
    }
    Ok(())
}

fn targets() -> anyhow::Result<Vec<String>> {
    let folder = place::root().join("fuzz/fuzz_targets");
    if !folder.is_dir() {
        return Err(Unavailable("there is no fuzz/fuzz_targets".into()).into());
    }
    let mut targets = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("in {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "rs") {
            targets.extend(path.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
        }
    }
    targets.sort();
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_positive_number_of_seconds_is_taken() {
        let parse = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            parse_seconds(&words).map(NonZeroU32::get)
        };
        assert_eq!(parse(&[]), Some(60));
        assert_eq!(parse(&["5"]), Some(5));
        for odd in [&["0"] as &[&str], &["-1"], &["soon"], &["5", "6"]] {
            assert_eq!(parse(odd), None, "{odd:?}");
        }
    }
}
