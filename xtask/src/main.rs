//! `cargo xtask VERB`: every chore of the repository in one program that needs nothing but Rust.
//!
//! Reading order: [`mod@test`] is the whole of CI, and its steps name the other modules. Nothing here
//! is shipped; product code must not depend on it.

#![forbid(unsafe_code)]

mod artifacts;
mod bench;
mod boundaries;
mod codegen;
mod command;
mod demo;
mod dist;
mod elf;
mod fuzz;
mod house;
mod images;
mod lint;
mod outcome;
mod place;
mod soak;
mod spdx;
mod supply;
mod test;
mod tools;
mod ui;
mod vm;

use std::process::ExitCode;

use crate::command::Unavailable;
use crate::tools::Need;

const HELP: &str = "\
cargo xtask VERB: the chores of this repository

  test              everything that CI runs: tools, lints, boundaries, builds, tests, docs
  check             the quick part of it: fmt, clippy, boundaries, docs
  demo [ARGS]       builds the programs and runs `cloudtaser demo ARGS` with a real OpenBao
  demo --road       the road instead: beacon, bridge and broker, each in its network (needs root)
  bench [NAME ARGS] builds the programs and measures them (without a name: what there is)
  soak [ARGS]       the road for half an hour, thousands of starts and clients, and a long cut of
                    the network, each with a bound (--help says what there is; needs root)
  codegen           writes manual pages, completions and the Helm chart from what the programs say
  boundaries        who may depend on whom, licences, sources, sizes of files
  vm test [--full] [--write] [--keep] [--only WORDS]...
                    the agent in virtual machines, attacked on every road; --full also boots what
                    degrades it, --write renews docs/kernel-support.md, --only boots those alone
                    whose name holds the words, such as 6.12 or fmod_ret, --keep takes what the
                    same machine found earlier
  fuzz [SECONDS]    each target of fuzz/ for so long (default 60; needs nightly and cargo-fuzz)
  e2e [ARGS]        an installation on the cluster of KUBECONFIG, from install to uninstall;
                    `cargo xtask e2e --help` says how images get there
  images            the programs as reproducible OCI image archives in target/images, no engine needed
  dist              release build of the programs into target/dist, with their sha256
  tools             installs what is missing for the verbs above, and says what
  help              this text

Exit codes: 0 done, 1 something failed, 64 wrong usage, 69 something needed is not there.
CARGO_TARGET_DIR is respected; OpenBao and other downloads go to its folder `tools`.
";

/// What a wrong command line ends with, as in `sysexits.h`.
const USAGE: u8 = 64;
/// What a missing tool or service ends with, as in `sysexits.h`.
const UNAVAILABLE: u8 = 69;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((verb, rest)) = arguments.split_first() else {
        ui::complain(HELP);
        return ExitCode::from(USAGE);
    };
    let takes_arguments =
        matches!(verb.as_str(), "bench" | "demo" | "e2e" | "fuzz" | "soak" | "vm");
    if !rest.is_empty() && !takes_arguments {
        return misused(&format!("{verb} takes no arguments"));
    }
    let done = match verb.as_str() {
        "test" => test::run(),
        "check" => lint::check(),
        "demo" => demo::run(rest),
        "bench" => bench::run(rest),
        "boundaries" => boundaries::report(),
        "codegen" => codegen::run(),
        "fuzz" => match fuzz::parse_seconds(rest) {
            Some(seconds) => fuzz::run(seconds),
            None => return misused("fuzz takes one number of seconds, at least 1"),
        },
        "dist" => dist::run(),
        "e2e" => images::e2e::run(rest),
        "soak" => soak::run(rest),
        "images" => images::run(),
        "vm" => match vm::Wanted::parse(rest) {
            Some(wanted) => vm::test(&wanted),
            None => {
                return misused(
                    "vm takes `test`, and after it --full, --write, --keep, --only WORDS",
                );
            }
        },
        "tools" => tools::ensure(Need::Tests).and_then(|()| tools::ensure(Need::Vm)),
        "help" | "--help" | "-h" => {
            ui::say(HELP);
            Ok(())
        }
        unknown => return misused(&format!("there is no verb `{unknown}`")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui::complain(&format!("xtask: {error:#}"));
            let unavailable = error.is::<Unavailable>();
            if unavailable { ExitCode::from(UNAVAILABLE) } else { ExitCode::FAILURE }
        }
    }
}

fn misused(problem: &str) -> ExitCode {
    ui::complain(&format!("xtask: {problem}\n\n{HELP}"));
    ExitCode::from(USAGE)
}
