//! How long one message takes there and back.
//!
//! Between two messages everybody sleeps. Where ends and relay are on several CPUs, each of them is
//! woken from idle for its part; that takes tens of microseconds in a virtual machine, whoever the
//! relay is. On one CPU, which is then never idle, what is left is the relay's own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::measure::Figures;
use super::peers::Relay;
use crate::stats::Samples;

/// The longest that messages of one size are sent: who waits for acknowledgements takes 40 ms for each.
const LONGEST: Duration = Duration::from_secs(5);

/// Where ends and relay run.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Cpus {
    /// All of them on one.
    One,
    /// Wherever the kernel puts them.
    Any,
}

impl Cpus {
    /// The name in results.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Any => "any",
        }
    }
}

/// One message there and back, again and again.
pub(crate) fn run(
    relay: &mut dyn Relay,
    cpus: Cpus,
    size: usize,
    pings: usize,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let (mut near, mut far) = relay.tunnel()?;
    let usual = sched_getaffinity(Pid::from_raw(0)).context("sched_getaffinity")?;
    let mut chosen = usual;
    if cpus == Cpus::One {
        chosen = CpuSet::new();
        chosen.set(
            (0..CpuSet::count()).find(|cpu| usual.is_set(*cpu) == Ok(true)).context("no CPU")?,
        )?;
    }
    put(relay, chosen)?;
    // It is where this thread is.
    let echo = thread::spawn(move || {
        let mut message = vec![0; size];
        while far.read_exact(&mut message).is_ok() && far.write_all(&message).is_ok() {}
    });
    let (mut message, mut took) = (vec![0x5a; size], Samples::default());
    let start = Instant::now();
    for turn in 0..pings + pings / 10 {
        let began = Instant::now();
        if began > start + LONGEST {
            break;
        }
        near.write_all(&message)?;
        near.read_exact(&mut message)?;
        // The first tenth warms up, by number or by time.
        if turn >= pings / 10 || began > start + LONGEST / 10 {
            took.push(began.elapsed().as_secs_f64() * 1e6);
        }
    }
    drop(near);
    ensure!(echo.join().is_ok(), "an end failed");
    put(relay, usual)?;
    let percentile = |percent| took.percentile(percent).context("no sample");
    figures.add_latency(cpus, size, (percentile(50)?, percentile(99)?));
    Ok(())
}

/// Puts this thread and all threads of the relay there.
fn put(relay: &dyn Relay, cpus: CpuSet) -> anyhow::Result<()> {
    sched_setaffinity(Pid::from_raw(0), &cpus).context("sched_setaffinity")?;
    for process in relay.processes() {
        for task in fs::read_dir(format!("/proc/{process}/task")).context("the relay has ended")? {
            let name = task?.file_name();
            let task = name.to_str().and_then(|name| name.parse().ok()).context("no number")?;
            sched_setaffinity(Pid::from_raw(task), &cpus).context("sched_setaffinity")?;
        }
    }
    Ok(())
}
