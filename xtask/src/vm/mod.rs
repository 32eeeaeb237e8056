//! `cargo xtask vm test`: the agent against the attack suite, in virtual machines with Debian's
//! kernels, with and without `bpf` among the active LSMs.
//!
//! What happens inside is `crates/agent/examples/guest/`; this module builds the machine, reads
//! its findings from the serial line, and prints one table. Where the machine cannot be had, it
//! skips with a reason and counts the skip: nothing passes in silence.

mod boots;
mod contents;
pub(crate) mod cost;
pub(crate) mod demo;
mod findings;
mod initramfs;
mod kernels;
mod lanes;
mod measured;
mod qemu;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, ensure};

use crate::artifacts::Guest;
use crate::outcome::Outcome;
use crate::place;
use crate::ui;

use boots::{Boot, Work};
pub(crate) use boots::{Document, Wanted};
use findings::Findings;
use kernels::Kernel;
use qemu::{Clock, Machine};

/// Where the support table is kept.
const DOCUMENT: &str = "docs/kernel-support.md";

/// The verb; the document is renewed from a run that was whole.
pub(crate) fn test(wanted: &Wanted) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut outcome = Outcome::default();
    let done = run(wanted, &mut outcome);
    for reason in &outcome.reasons {
        ui::say(&format!("skipped: {reason}"));
    }
    let took = ui::human(start.elapsed());
    ui::say(&ui::bold(&format!("\nvm test: {outcome} in {took}")));
    done
}

/// Boots each kernel in each way, and adds what came of it to the outcome.
pub(crate) fn run(wanted: &Wanted, outcome: &mut Outcome) -> anyhow::Result<()> {
    let Some(guest) = contents::prepared()? else {
        outcome.skip("virtual machines", "no qemu-system-x86 or busybox-static here");
        return Ok(());
    };
    let home = place::target().join("vm");
    let mut archives = Archives { guest, written: BTreeMap::new() };
    let mut jobs = Vec::new();
    for (meta, boot) in wanted.boots() {
        let name = boot.place(meta);
        if let Some(lacks) = measured::lacks().filter(|_lacks| boot.work == Work::Measured) {
            outcome.skip(&name, lacks);
            continue;
        }
        match kernels::of(meta) {
            Ok(Kernel { image: kernel, modules }) => {
                let log = home.join(format!("{name}.log"));
                let archive = archives.of(boot.work, meta, &modules)?;
                let cli = archives.guest.cli.clone();
                let is_measured = boot.work == Work::Measured;
                let disk = is_measured.then(measured::disk).transpose()?;
                jobs.push(Job { boot, kernel, archive, disk, log, name, cli });
            }
            Err(error) => outcome.skip(&name, &format!("{error:#}")),
        }
    }
    let disks = disks()?;
    let largest = jobs.iter().map(|job| job.boot.work.memory()).max().unwrap_or(0);
    let lanes = lanes::that_fit(largest);
    let longest = |job: &Job| job.boot.work.length();
    let done = lanes::each(&jobs, lanes, longest, |job| job.run(wanted.keeps, &disks));
    let runs: Vec<Findings> = done.into_iter().filter_map(|one| count(one, outcome)).collect();
    ui::say(&findings::table(&runs));
    ensure!(
        outcome.failed == 0,
        "{} checks failed; serial lines: {}",
        outcome.failed,
        home.display()
    );
    if wanted.document == Document::Write {
        ensure!(outcome.skipped == 0, "{DOCUMENT} is written from a whole run only");
        fs::write(place::root().join(DOCUMENT), findings::document(&runs))?;
        ui::say(&format!("wrote {DOCUMENT}"));
    }
    Ok(())
}

/// Adds what one machine found; one that gave no result is a failure, and the others count.
fn count(done: anyhow::Result<Findings>, outcome: &mut Outcome) -> Option<Findings> {
    let Ok(findings) = done else {
        outcome.failed += 1;
        return None;
    };
    let right = findings.checks.iter().filter(|check| check.is_right()).count();
    outcome.passed += right;
    outcome.failed += findings.checks.len() - right;
    Some(findings)
}

/// One machine to boot.
struct Job {
    boot: &'static Boot,
    kernel: PathBuf,
    archive: PathBuf,
    /// A disk of its own, in the place of those that all others share.
    disk: Option<PathBuf>,
    log: PathBuf,
    name: String,
    /// The command line, which runs on this host as well.
    cli: PathBuf,
}

impl Job {
    /// Boots it, or takes what it found earlier; what came of it is told at once, in one piece.
    fn run(&self, keeps: bool, disks: &[PathBuf]) -> anyhow::Result<Findings> {
        let begin = Instant::now();
        let found = match self.earlier(keeps) {
            Ok(Some(findings)) => Ok(findings),
            Ok(None) => self.boot(disks),
            Err(error) => Err(error),
        };
        let mut said = format!("\n{}\n", ui::bold(&format!("== {}", self.name)));
        match &found {
            Ok(findings) => {
                for check in findings.checks.iter().filter(|check| !check.is_right()) {
                    said.push_str(&format!("   FAILED {}: {}\n", check.name, check.words));
                }
                said.push_str(&format!("   {}", findings.kernel));
            }
            Err(error) => said.push_str(&format!("   FAILED: {error:#}")),
        }
        ui::say(&format!("{said}: {}", ui::human(begin.elapsed())));
        found
    }

    /// What an earlier run of the very same machine found, where that is wanted and all was right.
    fn earlier(&self, keeps: bool) -> anyhow::Result<Option<Findings>> {
        let Ok(text) = fs::read_to_string(&self.log) else { return Ok(None) };
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if !keeps || lines.last() != Some(&self.inputs()?) {
            return Ok(None);
        }
        let found = Findings::parse(&lines, self.boot.name);
        Ok(found.filter(|found| found.checks.iter().all(findings::Check::is_right)))
    }

    /// A line that tells one machine from every other one: its kernel, its files, its parameters.
    fn inputs(&self) -> anyhow::Result<String> {
        let mut hasher = DefaultHasher::new();
        fs::read(&self.kernel)?.hash(&mut hasher);
        fs::read(&self.archive)?.hash(&mut hasher);
        (self.boot.parameters(), self.boot.work.memory()).hash(&mut hasher);
        if let Some(disk) = &self.disk {
            fs::read(disk)?.hash(&mut hasher);
            // Who verifies afterwards.
            fs::read(&self.cli)?.hash(&mut hasher);
        }
        Ok(format!("@@INPUTS {:016x}", hasher.finish()))
    }

    fn boot(&self, disks: &[PathBuf]) -> anyhow::Result<Findings> {
        let inputs = self.inputs()?;
        let machine = Machine {
            kernel: &self.kernel,
            initramfs: &self.archive,
            parameters: self.boot.parameters(),
            log: &self.log,
            clock: Clock::Host,
            memory: self.boot.work.memory(),
            disks: self.disk.as_ref().map_or_else(|| disks.to_vec(), |disk| vec![disk.clone()]),
            measured: None,
        };
        let lines = match self.boot.work {
            Work::Measured => measured::run(&machine, &self.cli)?,
            _ => qemu::run(&machine)?,
        };
        // Last: a machine that broke off is no earlier run.
        writeln!(OpenOptions::new().append(true).open(&self.log)?, "{inputs}")?;
        let findings = Findings::parse(&lines, self.boot.name);
        let shown = self.log.display();
        findings.with_context(|| format!("the machine gave no result; its last words: {shown}"))
    }
}

/// Initial file systems, each written once.
struct Archives {
    guest: Guest,
    written: BTreeMap<String, PathBuf>,
}

impl Archives {
    /// For a kind of work, with the modules of a kernel.
    fn of(
        &mut self,
        work: Work,
        meta: &str,
        modules: &[(&str, PathBuf)],
    ) -> anyhow::Result<PathBuf> {
        let name = format!("{}-{meta}", work.as_str());
        if let Some(file) = self.written.get(&name) {
            return Ok(file.clone());
        }
        let file = contents::archive(&self.guest, work, &name, modules)?;
        self.written.insert(name, file.clone());
        Ok(file)
    }
}

/// Two empty disks: one to swap to, and one that is nobody's.
fn disks() -> anyhow::Result<Vec<PathBuf>> {
    const LEN: u64 = 16 << 20;
    let home = place::target().join("vm");
    let each = ["swap", "other"].map(|name| home.join(format!("disk-{name}")));
    for path in &each {
        fs::File::create(path)?.set_len(LEN)?;
    }
    Ok(each.into())
}
