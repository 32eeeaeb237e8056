//! `cargo xtask bench agent`: what the agent costs the rest of a node, in instructions.
//!
//! Emulated time says nothing, and a shared host is noisy. So the machine's clock counts its
//! instructions, which makes the ratio of two figures exact but for the timer's interrupts. Compiled
//! BPF programs are counted like any other code.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};

use super::boots::{Boot, Work, ordinary};
use super::contents::{archive, prepared};
use super::kernels;
use super::lanes;
use super::qemu::{self, Clock, Machine};
use crate::place;
use crate::ui;

const DOCUMENT: &str = "bench/results/agent.md";
const RECORD: &str = "bench/results/agent.json";

/// More than this on processes that nobody guards wants a reason.
const TARGET: f64 = 1.02;

/// Operations whose cost is that of the two hooks.
const FLOORED: &[&str] = &["open", "read", "write"];

const INTRODUCTION: &str = "\
# What the agent costs

Instructions for one operation, in user space and kernel together, on Debian's kernels in an emulated \
machine whose clock counts them: without the agent; with programs that do nothing in the place of \
`file_open` and `file_permission` (`floor`: the kernel's own way into a program and back); beside the \
agent (a process that nobody guards); and under its guard. The least of twelve batches. The target is a ratio of 1.02 for what is not guarded. \
Made by `cargo xtask bench agent`; the counts are in `agent.json`. Instructions are no time: cache \
misses are not in them. What `read` and `write` pay is the hook `file_permission`, which refuses \
descriptors that were opened before the agent started. Its program ends after some twenty of its \
instructions for a file of no interest; the rest is the floor, paid once per call, and weighs less on \
calls that do more than these (64 bytes of `/dev/zero`). Why it stays: \
[ADR 0033](../../docs/adr/0033-every-read-is-asked.md).
";

/// What one boot said.
struct Run {
    kernel: String,
    tier: &'static str,
    state: String,
    /// By phase and operation.
    costs: BTreeMap<(String, String), u64>,
    /// In the order in which they were measured.
    operations: Vec<String>,
}

/// The verb. Where a part of a boot's name is given, only such boots, and no document.
pub(crate) fn run(only: Option<&str>) -> anyhow::Result<()> {
    let guest = prepared()?.context("no qemu-system-x86 or busybox-static here")?;
    let archive = archive(&guest, Work::Attacks, "cost", &[])?;
    let mut jobs = Vec::new();
    for meta in kernels::KERNELS {
        let kernel = kernels::of(meta)?.image;
        let boots =
            ordinary().filter(|boot| only.is_none_or(|part| boot.place(meta).contains(part)));
        jobs.extend(boots.map(|boot| (boot, kernel.clone(), *meta)));
    }
    // Counts are the same beside another machine.
    let lanes = lanes::that_fit(qemu::MEMORY);
    let runs = lanes::each(
        &jobs,
        lanes,
        |_| 0,
        |(boot, kernel, meta)| {
            let run = boot_once(boot, kernel, &archive, meta);
            ui::heading(&format!("{meta}, {}: done", boot.name));
            run
        },
    );
    let runs: Vec<Run> = runs.into_iter().collect::<anyhow::Result<_>>()?;
    let text = document(&runs);
    ui::say(&text);
    if only.is_some() {
        return Ok(());
    }
    fs::write(place::root().join(DOCUMENT), &text)?;
    fs::write(place::root().join(RECORD), record(&runs))?;
    ui::say(&format!("wrote {DOCUMENT} and {RECORD}"));
    Ok(())
}

fn boot_once(boot: &Boot, kernel: &Path, archive: &Path, meta: &str) -> anyhow::Result<Run> {
    let expected = boot.expected;
    let parameters =
        format!("lsm={} {} CT_WORK=cost CT_EXPECT=\"{expected}\"", boot.lsm, boot.more);
    let log = place::target().join("vm").join(format!("cost-{meta}-{}.log", boot.name));
    let clock = Clock::Instructions;
    let lines = qemu::run(&Machine {
        kernel,
        initramfs: archive,
        parameters,
        log: &log,
        clock,
        memory: qemu::MEMORY,
        disks: Vec::new(),
        measured: None,
    })?;
    let run = Run::parse(boot.name, &lines)?;
    ensure!(
        run.state.starts_with(expected) && !run.operations.is_empty(),
        "the machine gave no result; its last words: {}",
        log.display()
    );
    Ok(run)
}

impl Run {
    fn parse(tier: &'static str, lines: &[String]) -> anyhow::Result<Self> {
        let mut run = Self {
            kernel: String::new(),
            tier,
            state: String::new(),
            costs: BTreeMap::new(),
            operations: Vec::new(),
        };
        for line in lines {
            let words: Vec<&str> = line.split('\t').collect();
            match words.as_slice() {
                ["@@COST", phase, operation, count] => {
                    let count = count.parse().with_context(|| format!("in {line}"))?;
                    run.costs.insert(((*phase).to_owned(), (*operation).to_owned()), count);
                    if *phase == "without" {
                        run.operations.push((*operation).to_owned());
                    }
                }
                ["@@STATE", state] => run.state = (*state).to_owned(),
                _ => {
                    if let Some(rest) = line.strip_prefix("@@KERNEL ") {
                        run.kernel = rest.split(' ').next().unwrap_or_default().to_owned();
                    }
                }
            }
        }
        Ok(run)
    }

    fn cost(&self, phase: &str, operation: &str) -> u64 {
        self.costs.get(&(phase.to_owned(), operation.to_owned())).copied().unwrap_or(0)
    }

    /// How many times the cost without the agent; not a number where a count does not fit.
    fn ratio(&self, phase: &str, operation: &str) -> f64 {
        let number = |phase| {
            let count = u32::try_from(self.cost(phase, operation));
            count.map_or(f64::NAN, f64::from)
        };
        number(phase) / number("without")
    }
}

fn document(runs: &[Run]) -> String {
    let mut text = INTRODUCTION.to_owned();
    for run in runs {
        let heading = format!("{}, {}", run.kernel, run.tier);
        text.push_str(&format!("\n## {heading}\n\n`{}`\n\n", run.state));
        text.push_str(
            "| operation | without | floor | ratio | beside | ratio | guarded | ratio |\n",
        );
        text.push_str("|---|---:|---:|---:|---:|---:|---:|---:|\n");
        for operation in &run.operations {
            let (beside, guarded) =
                (run.ratio("beside", operation), run.ratio("guarded", operation));
            let over = if beside > TARGET { " (over)" } else { "" };
            let count = |phase| run.cost(phase, operation);
            let (one, two, three) = (count("without"), count("beside"), count("guarded"));
            // Other hooks than these two are not what is measured there.
            let floor = if FLOORED.iter().any(|of| operation.starts_with(of)) {
                format!("{} | {:.3}", count("floor"), run.ratio("floor", operation))
            } else {
                "|".to_owned()
            };
            let _written = writeln!(
                text,
                "| {operation} | {one} | {floor} | {two} | {beside:.3}{over} | {three} | {guarded:.3} |"
            );
        }
        let agent = |operation| run.cost("agent", operation);
        let mut lost =
            run.costs.iter().filter(|((phase, _), lost)| phase == "events" && **lost > 0);
        let lost = lost.next().map_or_else(
            || "the highest that was tried".to_owned(),
            |((_, rate), lost)| format!("at {rate} in a second, {lost} found no room"),
        );
        let _written = writeln!(
            text,
            "\nStart to a proved state: {} million instructions. Resident: {} KiB. Maps: {} KiB. \
             Denials in a second (10^9 instructions) that are all reported: {}; {lost}.",
            agent("start") / 1_000_000,
            agent("resident") / 1024,
            agent("maps") / 1024,
            agent("events"),
        );
    }
    text
}

fn record(runs: &[Run]) -> String {
    let each = runs.iter().map(|run| {
        let costs = run
            .costs
            .iter()
            .map(|((phase, operation), count)| format!("    \"{phase}: {operation}\": {count}"));
        let costs = costs.collect::<Vec<_>>().join(",\n");
        let Run { kernel, tier, .. } = run;
        format!("{{\"kernel\": \"{kernel}\", \"tier\": \"{tier}\", \"counts\": {{\n{costs}\n}}}}")
    });
    format!("[\n{}\n]\n", each.collect::<Vec<_>>().join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_over_the_target_is_marked() {
        let lines = [
            "@@KERNEL 6.1.0-x lsm=bpf",
            "@@COST\twithout\topen\t1000",
            "@@COST\tfloor\topen\t1020",
            "@@COST\tbeside\topen\t1021",
            "@@COST\tguarded\topen\t1500",
            "@@STATE\tENFORCING(lsm)",
        ];
        let run = Run::parse("lsm", &lines.map(str::to_owned)).unwrap();
        let text = document(&[run]);
        assert!(
            text.contains("| open | 1000 | 1020 | 1.020 | 1021 | 1.021 (over) | 1500 | 1.500 |"),
            "{text}"
        );
        assert!(text.contains("## 6.1.0-x, lsm"));
    }
}
