//! Builds the programs that are shipped, and holds them to the gates of [`crate::elf`].
//!
//! `test`, `demo`, `bench` and `dist` share these builds, so what is tested is what is shipped.
//! All are built with an explicit target: the paths then do not depend on the machine, and flags
//! do not reach build scripts.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, ensure};

use crate::command::{self, cargo};
use crate::elf::{Headers, Linkage};
use crate::place;
use crate::tools::rust;
use crate::ui;

/// The wrapper is copied into the memory of every pod, so its size is paid there.
const WRAPPER_MAX_BYTES: u64 = 4 << 20;

/// Beacon and broker face others: what is in them is what can be attacked.
const BEACON_MAX_BYTES: u64 = 5 << 20;

/// The bridge listens on nothing; it speaks HTTP and JSON to OpenBao, seals, keeps the log, and verifies
/// what the makers of TPMs and of confidential machines signed, Intel's quotes with their collateral.
const BRIDGE_MAX_BYTES: u64 = 11 << 20;

/// What a user starts; the demo and the bench need no more.
#[derive(Debug)]
pub(crate) struct Programs {
    /// The static wrapper.
    pub(crate) wrapper: PathBuf,
    /// The command line.
    pub(crate) cli: PathBuf,
}

/// The programs of a release build.
#[derive(Debug)]
pub(crate) struct Artifacts {
    /// What a user starts.
    pub(crate) programs: Programs,
    /// The static agent.
    pub(crate) agent: PathBuf,
    /// The static programs of the road.
    pub(crate) relay: Relay,
    /// The static operator.
    pub(crate) operator: PathBuf,
}

impl Programs {
    /// Gives a child the paths by which tests, demo and bench find the real programs.
    pub(crate) fn announce(&self, command: &mut Command) {
        command.env("CLOUDTASER_BAO", place::bao());
        command.env("CLOUDTASER_WRAPPER", &self.wrapper);
        command.env("CLOUDTASER_CLI", &self.cli);
    }
}

impl Artifacts {
    /// Gives a child the paths by which tests find the real programs.
    pub(crate) fn announce(&self, command: &mut Command) {
        self.programs.announce(command);
        self.relay.announce(command);
    }
}

/// The programs of a virtual machine, which has no library of any kind.
#[derive(Debug)]
pub(crate) struct Guest {
    /// The attack suite.
    pub(crate) cli: PathBuf,
    /// The agent as it is shipped.
    pub(crate) agent: PathBuf,
    /// The wrapper as it is shipped.
    pub(crate) wrapper: PathBuf,
    /// What runs the test inside.
    pub(crate) guest: PathBuf,
}

/// Builds what goes into a virtual machine. Whoever has the static programs that attack and deliver
/// there already names them, as the tests are told.
pub(crate) fn build_guest() -> anyhow::Result<Guest> {
    let (target, linkage_flags) = static_target();
    let agent = build_agent(&["--bins", "--examples"])?;
    let examples = agent.with_file_name("examples");
    let made = |package: &str, variable: &str| -> anyhow::Result<PathBuf> {
        match env::var_os(variable) {
            Some(program) => Ok(PathBuf::from(program)),
            None => Ok(build_one(package, &target, linkage_flags)?.join(package)),
        }
    };
    let cli = made("cloudtaser", "CLOUDTASER_CLI")?;
    let wrapper = made("cloudtaser-wrapper", "CLOUDTASER_WRAPPER")?;
    Ok(Guest { cli, agent, wrapper, guest: examples.join("guest") })
}

/// Builds what releases secrets inside a virtual machine and judges what came of it.
pub(crate) fn build_measured() -> anyhow::Result<PathBuf> {
    let (target, linkage_flags) = static_target();
    let mut build = cargo(["build", "--quiet", "--locked", "--release"]);
    build.args(["--package", "cloudtaser-e2e", "--example", "measured", "--target", &target]);
    command::run(build.env("RUSTFLAGS", flags(linkage_flags)?))?;
    Ok(place::target().join(target).join("release/examples/measured"))
}

/// The agent is static as well. Its C libraries are Debian's, so it is linked with glibc.
pub(crate) fn build_agent(what: &[&str]) -> anyhow::Result<PathBuf> {
    let (package, target) = ("cloudtaser-agent", rust::host());
    let mut build = cargo(["build", "--quiet", "--locked", "--release", "--package", package]);
    build.args(what).args(["--target", &target]);
    command::run(build.env("RUSTFLAGS", flags("-C target-feature=+crt-static")?))?;
    Ok(place::target().join(target).join("release").join(package))
}

/// The operator: a panic ends one review alone.
pub(crate) fn build_operator() -> anyhow::Result<PathBuf> {
    let package = "cloudtaser-operator";
    Ok(build_serving(package)?.join(package))
}

/// Programs that serve many have a profile of their own: speed counts, and a panic ends what it
/// happened in (docs/adr/0038). Returns the folder where they are.
fn build_serving(package: &str) -> anyhow::Result<PathBuf> {
    const PROFILE: &str = "cluster";
    let (target, linkage_flags) = static_target();
    let mut build = cargo(["build", "--quiet", "--locked", "--profile", PROFILE]);
    build.args(["--package", package, "--target", &target]);
    command::run(build.env("RUSTFLAGS", flags(linkage_flags)?))?;
    Ok(place::target().join(target).join(PROFILE))
}

/// Builds what a user starts, silently when nothing changed.
pub(crate) fn build_programs() -> anyhow::Result<Programs> {
    let (target, linkage_flags) = static_target();
    let wrapper = build_one("cloudtaser-wrapper", &target, linkage_flags)?;
    Ok(Programs {
        wrapper: wrapper.join("cloudtaser-wrapper"),
        cli: build_one("cloudtaser", &rust::host(), "")?.join("cloudtaser"),
    })
}

/// The programs of the road.
#[derive(Debug)]
pub(crate) struct Relay {
    /// The static beacon.
    pub(crate) beacon: PathBuf,
    /// The static bridge.
    pub(crate) bridge: PathBuf,
    /// The static broker.
    pub(crate) broker: PathBuf,
}

impl Relay {
    /// Gives a child the paths by which tests and benches find the real programs.
    pub(crate) fn announce(&self, command: &mut Command) {
        command.env("CLOUDTASER_BEACON", &self.beacon);
        command.env("CLOUDTASER_BRIDGE", &self.bridge);
        command.env("CLOUDTASER_BROKER", &self.broker);
    }
}

/// Builds the programs of the road, silently when nothing changed.
pub(crate) fn build_relay() -> anyhow::Result<Relay> {
    let folder = build_serving("cloudtaser-relay")?;
    let [beacon, bridge, broker] =
        ["beacon", "bridge", "broker"].map(|name| folder.join(format!("cloudtaser-{name}")));
    Ok(Relay { beacon, bridge, broker })
}

/// What goes into container images: everything but the command line.
#[derive(Debug)]
pub(crate) struct Contained {
    /// The static wrapper.
    pub(crate) wrapper: PathBuf,
    /// The static agent.
    pub(crate) agent: PathBuf,
    /// The static programs of the road.
    pub(crate) relay: Relay,
    /// The static operator.
    pub(crate) operator: PathBuf,
}

/// Builds what goes into container images, silently when nothing changed.
pub(crate) fn build_contained() -> anyhow::Result<Contained> {
    Ok(build_beside(|| Ok(()))?.0)
}

/// The same and something else of the profile `release`. The two profiles are built side by side,
/// each having its own folder to lock: what links a program keeps one core, and there is another.
fn build_beside<T>(more: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(Contained, T)> {
    let (target, linkage_flags) = static_target();
    thread::scope(|scope| {
        let serving = scope.spawn(|| Ok::<_, anyhow::Error>((build_relay()?, build_operator()?)));
        let wrapper = build_one("cloudtaser-wrapper", &target, linkage_flags)?;
        let agent = build_agent(&["--bins"])?;
        let more = more()?;
        let (relay, operator) = serving.join().ok().context("a build panicked")??;
        let wrapper = wrapper.join("cloudtaser-wrapper");
        Ok((Contained { wrapper, agent, relay, operator }, more))
    })
}

/// Holds what goes into container images to its promises.
pub(crate) fn gate_contained(built: &Contained) -> anyhow::Result<()> {
    let Contained { wrapper, agent, relay, operator } = built;
    gate_sized(wrapper, WRAPPER_MAX_BYTES)?;
    gate_sized(&relay.beacon, BEACON_MAX_BYTES)?;
    gate_sized(&relay.bridge, BRIDGE_MAX_BYTES)?;
    gate_sized(&relay.broker, BEACON_MAX_BYTES)?;
    gate_one(agent, Linkage::Static)?;
    gate_one(operator, Linkage::Static)?;
    Ok(())
}

/// Builds all programs, silently when nothing changed.
pub(crate) fn build() -> anyhow::Result<Artifacts> {
    let (Contained { agent, relay, operator, .. }, programs) = build_beside(build_programs)?;
    Ok(Artifacts { programs, agent, relay, operator })
}

/// Fails with each promise that the built files break.
pub(crate) fn gate(artifacts: &Artifacts) -> anyhow::Result<()> {
    let Artifacts { programs, agent, relay: Relay { beacon, bridge, broker }, operator } =
        artifacts;
    gate_sized(&programs.wrapper, WRAPPER_MAX_BYTES)?;
    gate_one(&programs.cli, Linkage::Dynamic)?;
    gate_one(agent, Linkage::Static)?;
    gate_one(operator, Linkage::Static)?;
    gate_sized(beacon, BEACON_MAX_BYTES)?;
    gate_sized(bridge, BRIDGE_MAX_BYTES)?;
    gate_sized(broker, BEACON_MAX_BYTES)
}

fn gate_sized(program: &Path, budget: u64) -> anyhow::Result<()> {
    let len = gate_one(program, Linkage::Static)?;
    ensure!(
        len <= budget,
        "{} has {len} bytes, more than its budget of {budget}",
        program.display()
    );
    Ok(())
}

fn static_target() -> (String, &'static str) {
    let musl = rust::musl();
    if rust::has_target(&musl) {
        return (musl, "");
    }
    ui::say(&format!("no target {musl}: static programs are linked with glibc"));
    (rust::host(), "-C target-feature=+crt-static")
}

/// Builds all programs of a package; returns the folder where they are.
fn build_one(package: &str, target: &str, linkage_flags: &str) -> anyhow::Result<PathBuf> {
    let mut build = cargo(["build", "--quiet", "--locked", "--release", "--package", package]);
    build.args(["--target", target]).env("RUSTFLAGS", flags(linkage_flags)?);
    command::run(&mut build)?;
    Ok(place::target().join(target).join("release"))
}

/// The caller's own flags, ours for linkage, and names for the folders of this machine, so that a
/// build on another machine gives the same bytes.
fn flags(linkage: &str) -> anyhow::Result<OsString> {
    let mut flags = env::var_os("RUSTFLAGS").unwrap_or_default();
    if !linkage.is_empty() {
        flags.push(format!(" {linkage}"));
    }
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let registry = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let renamed = [(Some(place::root().to_owned()), "/cloudtaser"), (registry, "/cargo")];
    for (from, to) in renamed {
        let Some(from) = from else { continue };
        let from = from.to_str().context("the path of the sources is not UTF-8")?;
        // RUSTFLAGS splits at spaces; a path with one keeps its name rather than break the build.
        if !from.contains(char::is_whitespace) {
            flags.push(format!(" --remap-path-prefix={from}={to}"));
        }
    }
    Ok(flags)
}

fn gate_one(path: &Path, linkage: Linkage) -> anyhow::Result<u64> {
    let shown = path.display();
    let bytes = fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    let headers = Headers::parse(&bytes).with_context(|| format!("cannot judge {shown}"))?;
    let broken = headers.broken_promises(linkage);
    ensure!(broken.is_empty(), "{shown}: {}", broken.join("; "));
    let len = u64::try_from(bytes.len())?;
    ui::say(&format!("   {shown}: {linkage:?}, hardened, {} KiB", len / 1024));
    Ok(len)
}
