//! What the agent is worth, as numbers in Prometheus' text form.
//!
//! [`View`] is all that is shown and [`View::render`] is pure. Labels are names of ours: hooks,
//! roads, tiers, programs, never a process, a pod or a path.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cloudtaser_core::names::agent_metrics as names;

use crate::audit::{Counts, SpoolLength};
use crate::bpf::{Counters, Tier};
use crate::neighbours::Neighbours;
use crate::road::{Attack, Outcome};
use crate::state::State;
use crate::table::Table;

/// Whoever may scrape may do so in a loop, and going through the table costs milliseconds.
const FRESH: Duration = Duration::from_secs(1);

/// The agent's loop writes this, and readers take copies.
#[derive(Clone, Debug)]
pub(crate) struct Proved {
    /// What may be claimed.
    pub(crate) state: State,
    /// The last round.
    pub(crate) attack: Attack,
    /// When that was.
    pub(crate) at: Instant,
    /// Attached programs.
    pub(crate) programs: usize,
    /// Runs that the kernel skipped.
    pub(crate) skipped: u64,
    /// Who else is there.
    pub(crate) neighbours: Neighbours,
    /// Loaders of the node that are not listed any more.
    pub(crate) unlisted: usize,
    /// Verified instructions per program.
    pub(crate) verified: Vec<(String, u32)>,
}

/// Where numbers come from. Nothing here waits for the agent's loop.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// How the kernel asks.
    pub(crate) tier: &'static str,
    /// What was proved last.
    pub(crate) proved: Arc<Mutex<Proved>>,
    /// Who is guarded.
    pub(crate) table: Arc<Table>,
    /// Counts of the kernel side.
    pub(crate) counters: Counters,
    /// Counts of the records.
    pub(crate) counts: Arc<Counts>,
    /// What waits for the collector.
    pub(crate) spool: SpoolLength,
    /// The text of the last moment.
    pub(crate) kept: Kept,
}

/// A text, and when it was made.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<Option<(Instant, String)>>);

impl Kept {
    /// What is kept, made anew when it is not fresh.
    fn text(&self, now: Instant, make: impl FnOnce() -> String) -> String {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((at, text)) if now.saturating_duration_since(*at) < FRESH => text.clone(),
            _ => kept.insert((now, make())).1.clone(),
        }
    }
}

impl Metrics {
    /// The text of this second.
    pub(crate) fn text(&self) -> String {
        self.kept.text(Instant::now(), || self.render())
    }

    fn render(&self) -> String {
        let proved = self.proved.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let view = View {
            tier: self.tier,
            age: proved.at.elapsed(),
            proved: &proved,
            denials: self.counters.denials().unwrap_or_default(),
            lost: self.counters.lost().unwrap_or_default(),
            guarded: self.table.len(),
            limit: self.table.limit(),
            counts: &self.counts,
            spool_bytes: self.spool.bytes(),
        };
        view.render()
    }
}

/// All that is shown.
struct View<'a> {
    tier: &'static str,
    age: Duration,
    proved: &'a Proved,
    denials: Vec<(&'static str, u64)>,
    lost: u64,
    guarded: usize,
    limit: u32,
    counts: &'a Counts,
    spool_bytes: Option<u64>,
}

impl View<'_> {
    fn render(&self) -> String {
        let mut text = Text::default();
        self.worth(&mut text);
        self.kernel(&mut text);
        self.neighbours(&mut text);
        self.records(&mut text);
        text.0
    }

    fn worth(&self, text: &mut Text) {
        let Proved { state, attack, .. } = self.proved;
        text.gauge(names::STATE, "1 at the state that holds, as the canary showed it");
        for word in ["degraded", "enforcing", "off"] {
            let labels = [("state", word), ("tier", self.tier)];
            text.sample(names::STATE, &labels, u64::from(state.word() == word));
        }
        text.gauge(names::REASONS, "Reasons why the state is not better");
        text.sample(names::REASONS, &[], state.reasons().len());
        text.gauge(names::ROAD, "1 at what came of a road in the last attack on the canary");
        for tried in &attack.roads {
            for (word, outcome) in [
                ("absent", Outcome::Absent),
                ("denied", Outcome::Denied),
                ("killed", Outcome::Killed),
                ("open", Outcome::Open),
            ] {
                let labels = [("road", tried.road.as_str()), ("outcome", word)];
                text.sample(names::ROAD, &labels, u64::from(tried.outcome == outcome));
            }
        }
        text.gauge(names::CANARY_AGE, "Time since the last attack on the canary");
        text.sample(names::CANARY_AGE, &[], self.age.as_secs());
    }

    fn kernel(&self, text: &mut Text) {
        text.counter(names::VERDICTS, "Verdicts other than to let through, the canary's included");
        let action = if self.tier == Tier::Kprobe.as_str() { "kill" } else { "deny" };
        for (hook, count) in &self.denials {
            let labels = [("hook", *hook), ("action", action), ("tier", self.tier)];
            text.sample(names::VERDICTS, &labels, count);
        }
        text.counter(names::LOST, "Denials that found no room in the kernel's buffer");
        text.sample(names::LOST, &[], self.lost);
        text.gauge(names::PROGRAMS, "Attached programs");
        text.sample(names::PROGRAMS, &[], self.proved.programs);
        text.counter(names::SKIPPED, "Runs that the kernel skipped, so that nothing was judged");
        text.sample(names::SKIPPED, &[], self.proved.skipped);
        text.gauge(names::VERIFIED, "Instructions that the verifier walked");
        for (program, instructions) in &self.proved.verified {
            text.sample(names::VERIFIED, &[("program", program)], instructions);
        }
        text.gauge(names::GUARDED, "Guarded processes, the agent and its canary included");
        text.sample(names::GUARDED, &[], self.guarded);
        text.gauge(names::CAPACITY, "Guarded processes that the table holds");
        text.sample(names::CAPACITY, &[], self.limit);
    }

    fn neighbours(&self, text: &mut Text) {
        let Neighbours { hooks, tracers } = &self.proved.neighbours;
        text.gauge(names::OTHERS, "Programs of others that can refuse, by whether ours come later");
        for hook in hooks {
            for (asked, others) in [("after", &hook.behind), ("before", &hook.before)] {
                let labels = [("hook", hook.hook), ("asked", asked)];
                text.sample(names::OTHERS, &labels, others.len());
            }
        }
        text.gauge(names::ON_HOOK, "Programs on a hook that is shared, of at most 38");
        for hook in hooks {
            text.sample(names::ON_HOOK, &[("hook", hook.hook)], hook.programs);
        }
        text.gauge(names::READERS, "Programs of others that can read the memory of processes");
        let reads = |known: Option<bool>| {
            tracers.iter().filter(|tracer| tracer.reads_processes == known).count()
        };
        text.sample(names::READERS, &[("known", "yes")], reads(Some(true)));
        text.sample(names::READERS, &[("known", "no")], reads(None));
        text.gauge(names::UNLISTED, "Loaders of the node that were replaced, and are refused");
        text.sample(names::UNLISTED, &[], self.proved.unlisted);
    }

    fn records(&self, text: &mut Text) {
        let counts = self.counts;
        let read = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        text.counter(names::UNGUARDED, "Children of guarded processes that did not fit");
        text.sample(names::UNGUARDED, &[], read(&counts.unguarded));
        text.counter(names::RECORDS, "Audit records that were numbered");
        text.sample(names::RECORDS, &[], read(&counts.records));
        text.counter(names::SUPPRESSED, "Denials without a record, by the limit per source");
        text.sample(names::SUPPRESSED, &[], read(&counts.suppressed));
        text.counter(names::DROPPED, "Records that a sink did not get");
        for (sink, count) in [
            ("file", &counts.not_in_file),
            ("queue", &counts.unwritten),
            ("stderr", &counts.not_on_stderr),
            ("url", &counts.not_in_spool),
        ] {
            text.sample(names::DROPPED, &[("sink", sink)], read(count));
        }
        let Some(bytes) = self.spool_bytes else { return };
        text.counter(names::POSTS, "Requests to the audit hook");
        for (outcome, count) in [("failed", &counts.unposted), ("taken", &counts.posted)] {
            text.sample(names::POSTS, &[("outcome", outcome)], read(count));
        }
        text.gauge(names::SPOOL, "Space on the disk that the audit hook's records take");
        text.sample(names::SPOOL, &[], bytes);
    }
}

/// Text that grows by whole lines.
#[derive(Default)]
struct Text(String);

impl Text {
    fn counter(&mut self, name: &str, help: &str) {
        self.head(name, help, "counter");
    }

    fn gauge(&mut self, name: &str, help: &str) {
        self.head(name, help, "gauge");
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.line(format_args!("{name}"));
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.line(format_args!("{before}{label}=\"{text}\""));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        self.line(format_args!("{after} {value}\n"));
    }

    fn line(&mut self, part: std::fmt::Arguments<'_>) {
        // Writing into a String does not fail.
        self.0.write_fmt(part).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::Tier;
    use crate::road::Tried;

    fn text(state: State, spool_bytes: Option<u64>) -> String {
        let tried = |road: &str, outcome| Tried { road: road.to_owned(), outcome };
        let proved = Proved {
            state,
            attack: Attack {
                roads: vec![tried("kcore", Outcome::Denied), tried("kexec", Outcome::Absent)],
                broken_neighbours: Vec::new(),
            },
            at: Instant::now(),
            programs: 17,
            skipped: 0,
            neighbours: crate::neighbours::examples(),
            unlisted: 1,
            verified: vec![("lsm_file_open".to_owned(), 512)],
        };
        let counts = Counts::default();
        counts.records.store(5, Ordering::Relaxed);
        counts.posted.store(2, Ordering::Relaxed);
        let view = View {
            tier: "lsm",
            age: Duration::from_millis(3500),
            proved: &proved,
            denials: vec![("bpf", 3), ("file_open", 40)],
            lost: 1,
            guarded: 2,
            limit: 65536,
            counts: &counts,
            spool_bytes,
        };
        view.render()
    }

    #[test]
    fn the_text_is_the_one_of_the_golden_file() {
        let golden = include_str!("../tests/golden/metrics.txt");
        assert_eq!(text(State::Enforcing(Tier::Lsm), Some(4096)), golden);
        let guide = include_str!("../../../docs/guide/agent-telemetry.md");
        let mut shown = guide.lines().filter(|line| line.starts_with("cloudtaser_agent_"));
        assert!(shown.all(|line| golden.lines().any(|other| other == line)));
    }

    #[test]
    fn every_name_is_used_and_every_line_is_well_formed() {
        let text = text(State::Degraded(Tier::Lsm, vec!["why".to_owned()]), Some(1));
        let source = include_str!("../../core/src/names.rs");
        let names = source.split('"').filter(|word| word.starts_with("cloudtaser_agent_"));
        for name in names {
            assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
            let is_counter = text.contains(&format!("# TYPE {name} counter"));
            assert_eq!(is_counter, name.ends_with("_total"), "{name}");
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (_, value) = line.rsplit_once(' ').unwrap();
            value.parse::<u64>().unwrap();
        }
        assert!(text.contains("cloudtaser_agent_state_reasons 1\n"));
    }

    #[test]
    fn a_loop_of_scrapes_is_one_look_a_second() {
        let (kept, now) = (Kept::default(), Instant::now());
        let at =
            |millis, text: &str| kept.text(now + Duration::from_millis(millis), || text.to_owned());
        assert_eq!([at(0, "a"), at(999, "b"), at(1000, "c"), at(1999, "d")], ["a", "a", "c", "c"]);
    }

    #[test]
    fn labels_are_escaped_and_a_hook_that_is_not_there_has_no_numbers() {
        let mut escaped = Text::default();
        escaped.sample("a", &[("b", "c\"\\\nd")], 1);
        assert_eq!(escaped.0, "a{b=\"c\\\"\\\\\\nd\"} 1\n");
        assert!(!text(State::Off(Vec::new()), None).contains("_posts_"));
    }
}
