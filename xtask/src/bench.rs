//! `cargo xtask bench`: builds what is to be measured, and runs the bench program on it.
//!
//! What is measured, and how, is known to that program alone (`tests/bench`, `cloudtaser-bench`).

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::artifacts;
use crate::command::{self, cargo};
use crate::place;
use crate::tools::{self, Need, apt, rust};
use crate::ui;
use crate::vm;

/// The relay that the beacon is measured beside.
const RATHOLE: &str = "0.5.0";

/// Names the directory of the programs that `bench tls` compares.
const TLS_PROGRAMS: &str = "CLOUDTASER_TLS_PROGRAMS";

/// One build of `bench/tls-provider`: the name that the bench knows, and how it comes about.
struct Provider {
    name: &'static str,
    feature: &'static str,
    program: &'static str,
    /// A switch that the C library's build script reads.
    switch: Option<&'static str>,
}

const PROVIDERS: &[Provider] = &[
    Provider { name: "graviola", feature: "graviola", program: "get-graviola", switch: None },
    Provider { name: "aws-lc", feature: "aws-lc", program: "get-aws-lc", switch: None },
    Provider {
        name: "aws-lc-no-jitter",
        feature: "aws-lc",
        program: "get-aws-lc",
        switch: Some("AWS_LC_SYS_NO_JITTER_ENTROPY"),
    },
];

/// The verb; without a name the bench program says what it has.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    match arguments {
        [name] if name == "agent" => return vm::cost::run(None),
        [name, flag, part] if name == "agent" && flag == "--only" => {
            return vm::cost::run(Some(part));
        }
        _ => {}
    }
    // Receipts need no server and no other program.
    let alone = arguments.first().is_some_and(|name| name == "evidence");
    if !alone {
        tools::ensure(Need::Demo)?;
    }
    let mut bench = cargo(["run", "--quiet", "--locked", "--release", "--package"]);
    bench.args(["cloudtaser-bench", "--"]).args(arguments);
    match arguments.first().map(String::as_str) {
        Some("tls") => {
            bench.env("CLOUDTASER_BAO", place::bao()).env(TLS_PROGRAMS, tls_programs()?);
        }
        Some("relay") => {
            apt::ensure(Need::Bench);
            artifacts::build_relay()?.announce(&mut bench);
            artifacts::build_programs()?.announce(&mut bench);
            bench.env("CLOUDTASER_BENCH_TOOLS", rathole());
        }
        Some("webhook") => {
            bench.env("CLOUDTASER_OPERATOR", artifacts::build_operator()?);
        }
        Some(_) if alone => {}
        Some(_) => artifacts::build_programs()?.announce(&mut bench),
        None => {}
    }
    command::run(&mut bench)
}

/// Where rathole is, or would be: it is built once, and where it cannot be had the bench goes
/// without and says so.
fn rathole() -> PathBuf {
    let root = place::target().join("tools/rathole");
    let folder = root.join("bin");
    if !folder.join("rathole").is_file() {
        ui::say("building rathole, once");
        let mut install = cargo(["install", "--quiet", "rathole", "--version", RATHOLE, "--root"]);
        install.arg(&root).args(["--no-default-features", "--features", "server,client"]);
        install.env("CARGO_TARGET_DIR", place::target().join("rathole"));
        if let Err(error) = command::run(&mut install) {
            ui::say(&format!("going on without rathole: {error:#}"));
        }
    }
    folder
}

/// Builds each provider's program, statically with glibc: the C library of one of them has no musl
/// compiler everywhere. Each has a target directory of its own, since a switch in the environment
/// must not be hidden by an earlier build.
fn tls_programs() -> anyhow::Result<PathBuf> {
    let home = place::target().join("tls-provider");
    let programs = home.join("programs");
    fs::create_dir_all(&programs).context("cannot make the directory of the programs")?;
    let target = rust::host();
    for provider in PROVIDERS {
        let folder = home.join(provider.name);
        let mut build = cargo(["build", "--quiet", "--locked", "--release", "--manifest-path"]);
        build.arg(place::root().join("bench/tls-provider/Cargo.toml"));
        build.args(["--target", &target, "--features", provider.feature]);
        build.args(["--bin", provider.program]);
        build.env("CARGO_TARGET_DIR", &folder).env("RUSTFLAGS", "-C target-feature=+crt-static");
        match provider.switch {
            Some(switch) => build.env(switch, "1"),
            None => build.env_remove("AWS_LC_SYS_NO_JITTER_ENTROPY"),
        };
        command::run(&mut build)?;
        let built = folder.join(&target).join("release").join(provider.program);
        fs::copy(&built, programs.join(provider.name))
            .with_context(|| format!("cannot copy {}", built.display()))?;
    }
    Ok(programs)
}
