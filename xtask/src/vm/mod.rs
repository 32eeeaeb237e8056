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
mod qemu;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};

use crate::artifacts::Guest;
use crate::outcome::Outcome;
use crate::place;
use crate::ui;

use boots::{Boot, Work};
pub(crate) use boots::{Document, Wanted};
use findings::Findings;
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
    let mut runs = Vec::new();
    for (meta, boot) in wanted.boots() {
        let name = boot.place(meta);
        let kernel = match kernels::image(meta) {
            Ok(kernel) => kernel,
            Err(error) => {
                outcome.skip(&name, &format!("{error:#}"));
                continue;
            }
        };
        ui::heading(&name);
        let begin = Instant::now();
        let archive = archives.of(boot.work)?;
        let log = home.join(format!("{name}.log"));
        let findings = match earlier(wanted, boot, (&kernel, &archive), &log)? {
            Some(findings) => findings,
            None => boot_once(boot, &kernel, &archive, &log)?,
        };
        count(&findings, outcome);
        ui::finished(&findings.kernel, begin.elapsed());
        runs.push(findings);
    }
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

fn count(findings: &Findings, outcome: &mut Outcome) {
    for check in &findings.checks {
        let right = check.is_right();
        *if right { &mut outcome.passed } else { &mut outcome.failed } += 1;
        if !right {
            ui::say(&format!("   FAILED {}: {}", check.name, check.words));
        }
    }
}

/// Initial file systems, each written once.
struct Archives {
    guest: Guest,
    written: BTreeMap<&'static str, PathBuf>,
}

impl Archives {
    fn of(&mut self, work: Work) -> anyhow::Result<PathBuf> {
        if let Some(file) = self.written.get(work.as_str()) {
            return Ok(file.clone());
        }
        let file = contents::archive(&self.guest, work)?;
        self.written.insert(work.as_str(), file.clone());
        Ok(file)
    }
}

/// What an earlier run of the very same machine found, where that is wanted and all was right.
fn earlier(
    wanted: &Wanted,
    boot: &Boot,
    files: (&Path, &Path),
    log: &Path,
) -> anyhow::Result<Option<Findings>> {
    let Ok(text) = fs::read_to_string(log) else { return Ok(None) };
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if !wanted.keeps || lines.last() != Some(&inputs(boot, files)?) {
        return Ok(None);
    }
    let found = Findings::parse(&lines, boot.name);
    Ok(found.filter(|found| found.checks.iter().all(findings::Check::is_right)))
}

/// A line that tells one machine from every other one: its kernel, its files, its parameters.
fn inputs(boot: &Boot, (kernel, archive): (&Path, &Path)) -> anyhow::Result<String> {
    let mut hasher = DefaultHasher::new();
    fs::read(kernel)?.hash(&mut hasher);
    fs::read(archive)?.hash(&mut hasher);
    (boot.parameters(), boot.work.memory()).hash(&mut hasher);
    Ok(format!("@@INPUTS {:016x}", hasher.finish()))
}

fn boot_once(boot: &Boot, kernel: &Path, archive: &Path, log: &Path) -> anyhow::Result<Findings> {
    let inputs = inputs(boot, (kernel, archive))?;
    let lines = qemu::run(&Machine {
        kernel,
        initramfs: archive,
        parameters: boot.parameters(),
        log,
        clock: Clock::Host,
        memory: boot.work.memory(),
        disks: disks()?,
    })?;
    // Last: a machine that broke off is no earlier run.
    writeln!(OpenOptions::new().append(true).open(log)?, "{inputs}")?;
    let findings = Findings::parse(&lines, boot.name);
    let shown = log.display();
    findings.with_context(|| format!("the machine gave no result; its last words: {shown}"))
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
