//! Carrying bytes: `cloudtaser-beacon` beside haproxy (copying and splicing), nginx's stream module
//! and rathole, and no relay at all as the floor.
//!
//! What is told is per second of the *relay's* CPU (schedstat of all its threads): on a machine that
//! is shared, wall clock is noise. All stand between the same two ends, in turn. The beacon has its
//! ticket check and its pairing to do, which the others have not; rathole's second half, its client,
//! is not counted.

mod alone;
mod beacon;
mod ends;
mod fetch;
mod kernel;
mod latency;
mod measure;
mod peers;
mod storm;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::relay::fetch::Fetch;
use crate::relay::latency::Cpus;
use crate::relay::measure::Figures;
use crate::relay::peers::Relay;
use crate::relay::storm::Storm;
use crate::report::{self, markdown, short};
use crate::{Effort, machine, ui};

/// Sizes of the messages whose way is timed.
const SIZES: [usize; 4] = [64, 1024, 4096, 16_384];
/// Tunnels that carry bulk at once.
const BULK: [usize; 3] = [1, 8, 64];

/// What stands before the tables of round trips.
const ROUND_TRIPS: [(Cpus, &str); 2] = [
    (Cpus::One, "ends and relay on one CPU, so that nobody is woken from idle"),
    (
        Cpus::Any,
        "ends and relay where the kernel puts them, and a CPU that slept is woken for each",
    ),
];

/// What stands before the rows of [`Fetch`].
const FETCHED: &str = "\nAn app's start by the wrapper, least / median, with a login by the pod's \
                       token each time; through the road a receipt is on the disk before a value \
                       leaves:\n\n| way | with one secret | each further one |\n|---|---:|---:|\n";

/// How much is done.
#[derive(Clone, Copy, Debug)]
struct Rounds {
    rounds: usize,
    bulk_ms: u64,
    pings: usize,
    setup_ms: u64,
    idle: &'static [usize],
    storm: usize,
    starts: usize,
}

impl Rounds {
    const fn of(effort: Effort) -> Self {
        match effort {
            Effort::Full => Self {
                rounds: 5,
                bulk_ms: 1000,
                pings: 3000,
                setup_ms: 1500,
                idle: &[1000, 10_000, 36_000],
                storm: 10_000,
                starts: 30,
            },
            Effort::Quick => Self {
                rounds: 1,
                bulk_ms: 300,
                pings: 300,
                setup_ms: 400,
                idle: &[500],
                storm: 1000,
                starts: 3,
            },
        }
    }
}

/// Runs all and writes `relay.{json,md}`.
pub(crate) fn run(effort: Effort, out: &Path, scratch: &Path) -> anyhow::Result<()> {
    let machine = machine::describe();
    ui::say(&format!("load before: {}", machine::load()));
    let rounds = Rounds::of(effort);
    // Before there is a second thread.
    alone::begin()?;
    let most = alone::most_tunnels()?;
    let mut relays = peers::all(scratch)?;
    let mut figures: Vec<Figures> =
        relays.iter().map(|relay| Figures::of(relay.name(), relay.version())).collect();
    for round in 0..rounds.rounds {
        ui::say(&format!("round {} of {}", round + 1, rounds.rounds));
        for turn in 0..relays.len() {
            let at = (turn + round) % relays.len();
            let (Some(relay), Some(figures)) = (relays.get_mut(at), figures.get_mut(at)) else {
                continue;
            };
            once(relay.as_mut(), figures, rounds)
                .with_context(|| format!("measuring {}", relay.name()))?;
        }
    }
    // As many as there are descriptors for, where that is fewer.
    let counts: BTreeSet<usize> = rounds.idle.iter().map(|tunnels| most.min(*tunnels)).collect();
    for tunnels in counts {
        ui::say(&format!("{tunnels} idle tunnels"));
        // What earlier ones left in an allocator would be taken for nothing.
        drop(relays);
        relays = peers::all(scratch)?;
        for (relay, figures) in relays.iter_mut().zip(&mut figures) {
            measure::idle(relay.as_mut(), tunnels, figures)
                .with_context(|| format!("idle tunnels of {}", relay.name()))?;
        }
    }
    drop(relays);
    ui::say("all clients of a beacon that was killed come back");
    let storm = storm::run(scratch, most.min(rounds.storm))?;
    ui::say("apps start by the whole road");
    let fetch = fetch::run(scratch, rounds.starts)?;
    let record = json!({
        "what": "bytes, messages and tunnels through a relay on the loopback, per second of its CPU",
        "machine": machine,
        "load_after": machine::load(),
        "relays": figures.iter().map(Figures::to_json).collect::<Vec<_>>(),
        "storm": storm.to_json(),
        "fetch": fetch.as_ref().map(Fetch::to_json),
    });
    report::write(out, "relay.json", &format!("{record:#}\n"))?;
    let mut text = table(&record, &figures, &storm)?;
    if let Some(fetch) = &fetch {
        text.push_str(FETCHED);
        text.push_str(&fetch.rows());
    }
    report::write(out, "relay.md", &text)?;
    ui::say(&text);
    Ok(())
}

fn once(relay: &mut dyn Relay, figures: &mut Figures, rounds: Rounds) -> anyhow::Result<()> {
    for tunnels in BULK {
        measure::bulk(relay, tunnels, rounds.bulk_ms, figures)?;
    }
    for size in SIZES {
        for cpus in [Cpus::One, Cpus::Any] {
            latency::run(relay, cpus, size, rounds.pings, figures)?;
        }
    }
    measure::setups(relay, rounds.setup_ms, figures)
}

fn table(record: &Value, all: &[Figures], storm: &Storm) -> anyhow::Result<String> {
    let mut text = String::from("# Carrying bytes\n\n");
    text.push_str(
        "`cloudtaser-beacon` beside what a user could put in its place, between the same ends on \
         the loopback, in turn. Per second of the relay's own CPU time (schedstat); medians of all \
         rounds. The beacon reads each hello (1.6 KB, hybrid), checks its ticket and pairs it with a \
         leg; the others open a connection for whoever comes. rathole's client half is not counted. \
         Made by `cargo xtask bench relay`; raw figures are in `relay.json`.\n\n",
    );
    writeln!(text, "{}\n", markdown::place(record))?;
    text.push_str(
        "| relay | bulk, 1 tunnel | 8 | 64 | set-ups | memory per idle tunnel: user | kernel | CPU of \
         all idle tunnels |\n",
    );
    text.push_str("|---|---:|---:|---:|---:|---:|---:|---:|\n");
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let number = |value: Option<f64>| or_none(value.map(short));
    for figures in all {
        let gbit = |n: &usize| figures.bulk(*n).map(|gbit| format!("{} Gbit", short(gbit)));
        let bulk: Vec<String> = BULK.iter().map(|n| or_none(gbit(n))).collect();
        let idle: Vec<String> = figures
            .idle()
            .map(|(tunnels, idle)| format!("{} B ({tunnels})", short(idle.user)))
            .collect();
        let most = figures.idle().last();
        let cpu =
            or_none(most.map(|(tunnels, idle)| format!("{} ms/s ({tunnels})", short(idle.cpu_ms))));
        let kernel = most.and_then(|(_, idle)| idle.kernel);
        let kernel = or_none(kernel.map(|bytes| format!("{} B", short(bytes))));
        writeln!(
            text,
            "| {} | {} | {} | {} | {kernel} | {cpu} |",
            figures.shown(),
            bulk.join(" | "),
            number(figures.setups()),
            if idle.is_empty() { "–".to_owned() } else { idle.join(", ") },
        )?;
    }
    for (cpus, words) in ROUND_TRIPS {
        writeln!(
            text,
            "\nRound trip of one message, p50 / p99 in microseconds, best of the rounds; {words}:\n"
        )?;
        text.push_str("| relay | 64 B | 1 KiB | 4 KiB | 16 KiB |\n|---|---:|---:|---:|---:|\n");
        for figures in all {
            write!(text, "| {} |", figures.shown())?;
            for size in SIZES {
                let (p50, p99) = figures.latency(cpus, size);
                write!(text, " {} / {} |", number(p50), number(p99))?;
            }
            text.push('\n');
        }
    }
    write!(
        text,
        "\nA beacon with {} tunnels was killed; {:.1} s after the start of the next one all clients \
         had theirs again, with hellos and tickets. It took {:.1} s of its CPU and {} MB of memory \
         at most.\n",
        storm.tunnels,
        storm.seconds,
        storm.cpu_seconds,
        storm.peak_kib >> 10,
    )?;
    Ok(text)
}
