//! What a machine said on its serial line, and the tables made of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// All lines of one boot.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Release of the kernel.
    pub(super) kernel: String,
    tier: &'static str,
    /// Road → attacker → (without, with).
    rows: BTreeMap<String, BTreeMap<String, [String; 2]>>,
    /// In the order in which they were tried.
    order: Vec<String>,
    /// Road, before, now.
    canary: Vec<[String; 3]>,
    /// Race, tries, secrets found.
    races: Vec<[String; 3]>,
    /// Road, what came of it without the agent, and with it, where it kills.
    kills: Vec<[String; 3]>,
    /// What was counted, and how much it was.
    figures: Vec<[String; 2]>,
    /// What the agent said of itself at the end.
    state: String,
    /// Program, verified instructions.
    cost: Vec<(String, String)>,
    pub(super) checks: Vec<Check>,
}

/// One statement of the guest program.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) words: String,
}

impl Check {
    /// Whether it came out as it must.
    pub(super) fn is_right(&self) -> bool {
        self.words == "ok"
    }
}

/// What init says of a guest that broke off: what it did not come to must not pass for right.
const BROKE_OFF: &str = "@@RC 99";

impl Findings {
    /// Reads the lines; `None` when the guest did not come to its end.
    pub(super) fn parse(lines: &[String], tier: &'static str) -> Option<Self> {
        let mut findings = Self { tier, ..Self::default() };
        let mut ended = false;
        for line in lines {
            let line = line.trim();
            // Firmware leaves what it last drew at the beginning of the kernel's first line.
            if let Some((_drawn, rest)) = line.split_once("@@KERNEL ") {
                findings.kernel = rest.split(' ').next().unwrap_or_default().to_owned();
            }
            ended |= line.starts_with("@@RC ") && line != BROKE_OFF;
            let words: Vec<&str> = line.split('\t').collect();
            match words[..] {
                ["@@ROW", phase, attacker, road, result] => {
                    findings.row(phase, attacker, road, result);
                }
                ["@@CHECK", name, words] => {
                    findings.checks.push(Check { name: name.to_owned(), words: words.to_owned() });
                }
                ["@@CANARY", road, before, now] => {
                    findings.canary.push([road, before, now].map(str::to_owned));
                }
                ["@@RACE", race, tries, found] => {
                    findings.races.push([race, tries, found].map(str::to_owned));
                }
                ["@@KILL", road, without, with] => {
                    findings.kills.push([road, without, with].map(str::to_owned));
                }
                ["@@FIGURE", what, figure] => {
                    findings.figures.push([what, figure].map(str::to_owned));
                }
                ["@@STATE", words] => findings.state = words.to_owned(),
                ["@@COST", program, count] => {
                    findings.cost.push((program.to_owned(), count.to_owned()));
                }
                _ => {}
            }
        }
        ended.then_some(findings)
    }

    fn row(&mut self, phase: &str, attacker: &str, road: &str, result: &str) {
        if !self.rows.contains_key(road) {
            self.order.push(road.to_owned());
        }
        let attackers = self.rows.entry(road.to_owned()).or_default();
        let [without, with] = attackers.entry(attacker.to_owned()).or_default();
        *if phase == "with" { with } else { without } = result.to_owned();
    }

    fn title(&self) -> String {
        format!("{} {}", self.kernel, self.tier)
    }

    fn cell(&self, road: &str, attacker: &str) -> String {
        let found = self.rows.get(road).and_then(|row| row.get(attacker));
        found.map_or_else(String::new, |[without, with]| change(without, with))
    }
}

/// For a terminal: road by boot, once per attacker.
pub(super) fn table(runs: &[Findings]) -> String {
    let mut text = String::new();
    for attacker in ["root", "user"] {
        let title = format!("AS {attacker}, without -> with the agent");
        text.push('\n');
        text.push_str(&aligned(&attacks(runs, attacker, title)));
    }
    text.push('\n');
    for run in runs {
        let _infallible = writeln!(text, "{}: {}", run.title(), run.state);
    }
    text
}

/// `docs/kernel-support.md`.
pub(super) fn document(runs: &[Findings]) -> String {
    let mut text = HEAD.to_owned();
    for (attacker, who) in [("root", "root"), ("user", "another process of the same uid")] {
        let _infallible = write!(text, "\n## Attacked by {who}\n\n");
        text.push_str(&markdown(&attacks(runs, attacker, "road".to_owned())));
    }
    text.push_str(CANARY);
    text.push_str(&markdown(&canaries(runs)));
    text.push_str(RACES);
    for run in runs {
        for [race, tries, found] in &run.races {
            let _infallible =
                writeln!(text, "* {}: {race}: {tries} reads, {found} secrets", run.title());
        }
    }
    text.push_str(KILLS);
    text.push_str(&markdown(&kills(runs)));
    text.push_str(FIGURES);
    for run in runs {
        for [what, figure] in &run.figures {
            let _infallible = writeln!(text, "* {}: {what}: {figure}", run.title());
        }
    }
    text.push_str("\n## What the agent said at the end\n\n");
    for run in runs.iter().filter(|run| !run.state.is_empty()) {
        let _infallible = writeln!(text, "* {}: `{}`", run.title(), run.state);
    }
    text.push_str(COST);
    for run in runs.iter().filter(|run| !run.cost.is_empty()) {
        let each = run.cost.iter().map(|(program, count)| {
            let hook = program.trim_start_matches("lsm_").trim_start_matches("fmod_");
            format!("{hook} {count}")
        });
        let each: Vec<String> = each.collect();
        let _infallible = writeln!(text, "* {}: {}", run.title(), each.join(", "));
    }
    text.push_str("\n## What else was checked on each\n");
    let mut told: Vec<&str> = Vec::new();
    for run in runs {
        // Each check once, under the first boot that has it: what is in one kind is in all of it.
        let news: Vec<&str> = run.checks.iter().map(|check| check.name.as_str()).collect();
        let news: Vec<&str> = news.into_iter().filter(|name| !told.contains(name)).collect();
        if !news.is_empty() {
            let names: Vec<String> = news.iter().map(|name| format!("`{name}`")).collect();
            let _infallible = write!(text, "\n{}: {}.\n", run.tier, names.join(", "));
            told.extend(news);
        }
    }
    text
}

/// Road by boot; boots in which only the state was asked for have no column.
fn attacks(runs: &[Findings], attacker: &str, title: String) -> Vec<Vec<String>> {
    let attacked: Vec<&Findings> = runs.iter().filter(|run| !run.rows.is_empty()).collect();
    let head = [title].into_iter().chain(attacked.iter().map(|run| run.title()));
    let mut lines = vec![head.collect()];
    let roads = attacked.first().map(|run| run.order.as_slice()).unwrap_or_default();
    lines.extend(roads.iter().map(|road| {
        let cells = attacked.iter().map(|run| run.cell(road, attacker));
        [road.clone()].into_iter().chain(cells).collect()
    }));
    lines
}

fn canaries(runs: &[Findings]) -> Vec<Vec<String>> {
    let runs: Vec<&Findings> = runs.iter().filter(|run| !run.canary.is_empty()).collect();
    let head = ["road".to_owned()].into_iter().chain(runs.iter().map(|run| run.title()));
    let mut lines = vec![head.collect()];
    let roads = runs.first().map(|run| run.canary.as_slice()).unwrap_or_default();
    lines.extend(roads.iter().map(|[road, ..]| {
        let cells = runs.iter().map(|run| {
            let found = run.canary.iter().find(|[name, ..]| name == road);
            found.map_or_else(String::new, |[_, before, now]| change(before, now))
        });
        [road.clone()].into_iter().chain(cells).collect()
    }));
    lines
}

fn kills(runs: &[Findings]) -> Vec<Vec<String>> {
    let runs: Vec<&Findings> = runs.iter().filter(|run| !run.kills.is_empty()).collect();
    let head = ["road".to_owned()].into_iter().chain(runs.iter().map(|run| run.title()));
    let mut lines = vec![head.collect()];
    let roads = runs.first().map(|run| run.kills.as_slice()).unwrap_or_default();
    lines.extend(roads.iter().map(|[road, ..]| {
        let cells = runs.iter().map(|run| {
            let found = run.kills.iter().find(|[name, ..]| name == road);
            found.map_or_else(String::new, |[_, before, now]| change(before, now))
        });
        [road.clone()].into_iter().chain(cells).collect()
    }));
    lines
}

fn change(before: &str, now: &str) -> String {
    if before == now { now.to_owned() } else { format!("{before} -> {now}") }
}

fn markdown(lines: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let _infallible = writeln!(text, "| {} |", line.join(" | "));
        if number == 0 {
            let _infallible = writeln!(text, "|{}", "---|".repeat(line.len()));
        }
    }
    text
}

const HEAD: &str = "\
# What each kernel gives

Written by `cargo xtask vm test --write`; do not edit. Each column is one boot of a Debian kernel in \
an emulated machine, by the tier that the agent chose: `lsm` with `bpf` in `lsm=`, `fmod_ret` \
without. The target runs as an ordinary user and holds a secret in its environment, on its heap and \
in a sealed page whose descriptor it keeps open. Each cell is what the attacker got without the \
agent -> with it. `nothing`: the road is open and has no secret at its end. `open`: nothing at its \
end was searched. `skipped`: not tried here (no debugger is in the machine; core files are among the checks at the end). An attacker who needs \
the target's map of memory for a road and is refused there stops: the canary's table below has each \
call tried by itself.

A column with a parameter behind the tier was booted with it. Under \
`lockdown=confidentiality` the kernel refuses the programs that follow pointers; only the agent's \
statement is shown for it.

Not run here: kernels of other makers, any architecture but x86-64; systemd, runc, KubeArmor and \
Tetragon themselves: what they ask of the kernel is asked in their place.
";

const CANARY: &str = "
## The agent's own canary

The agent attacks its own canary as root, before its programs are attached -> afterwards, and goes \
on doing so. Its state follows from this table alone.
";

const RACES: &str = "
## Races

Root reads every `/proc/PID/environ` in a loop while guarded processes with the secret in their \
environment start and end.

";

const KILLS: &str = "
## What those who are killed had

The tier `kprobe` is for kernels without BPF trampolines or without a description of their types, \
and is forced here. It refuses nothing: it ends whoever asks, when the kernel is about to do what \
it was asked for. The attacker reads into memory that it shares with a process that lives on; \
where descriptors are shared, a second process reads what the first one has opened. What a kill \
comes too late for is in the state below.

";

const FIGURES: &str = "
## Crowds

A node with ten thousand guarded processes, a bomb of forks within a limit, process numbers that \
are used again and again, and threads that come and go. Each is checked to be guarded, each \
ordinary process beside them to be open, and the table to be empty afterwards.

";

const COST: &str = "
## Instructions that the verifier walked

";

fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERIAL: &str = "\
[    0.1] noise
\u{1b}[2J@@KERNEL 6.1.0-56 lsm=bpf preempt=(voluntary)
@@ROW\twithout\troot\tenviron\tGOT IT
@@ROW\twith\troot\tenviron\tEPERM
@@ROW\twith\troot\tcmdline\tnothing
@@CANARY\tkcore\topen\tdenied
@@CHECK\tstate\tok
@@CHECK\ttraceme\tOk(())
@@RC 1";

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn findings_are_read_between_the_noise() {
        let findings = Findings::parse(&lines(SERIAL), "lsm").unwrap();
        assert_eq!(findings.title(), "6.1.0-56 lsm");
        assert_eq!(findings.cell("environ", "root"), "GOT IT -> EPERM");
        let right: Vec<bool> = findings.checks.iter().map(Check::is_right).collect();
        assert_eq!(right, [true, false]);
        let text = document(&[findings]);
        assert!(text.contains("| environ | GOT IT -> EPERM |"), "{text}");
        assert!(text.contains("| kcore | open -> denied |"), "{text}");
    }

    #[test]
    fn a_machine_that_broke_off_gives_no_findings() {
        let cut: Vec<String> = lines(SERIAL).into_iter().filter(|l| !l.contains("RC")).collect();
        assert!(Findings::parse(&cut, "lsm").is_none());
        let panicked = lines(&SERIAL.replace("@@RC 1", BROKE_OFF));
        assert!(Findings::parse(&panicked, "lsm").is_none());
    }
}
