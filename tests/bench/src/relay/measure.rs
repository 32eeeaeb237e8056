//! What is measured, and what it comes to.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::kernel;
use super::latency::Cpus;
use super::peers::Relay;
use crate::stats::Samples;

/// Ends that open and close tunnels at once.
pub(crate) const OPENERS: usize = 16;
const BULK_LEN: usize = 256 << 10;
/// How long idle tunnels are looked at.
const IDLE: Duration = Duration::from_secs(2);
const BITS: f64 = 8.0;

/// All of one relay.
#[derive(Debug)]
pub(crate) struct Figures {
    name: &'static str,
    version: String,
    bulk: BTreeMap<usize, Samples>,
    latency: BTreeMap<(Cpus, usize), (Samples, Samples)>,
    setups: Samples,
    idle: BTreeMap<usize, Idle>,
}

/// What one idle tunnel costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    /// Bytes of the relay's own memory.
    pub(crate) user: f64,
    /// Bytes of the kernel's for the relay, where that is told.
    pub(crate) kernel: Option<f64>,
    /// Milliseconds of CPU in each second, for all of them.
    pub(crate) cpu_ms: f64,
}

impl Figures {
    /// None yet.
    pub(crate) fn of(name: &'static str, version: String) -> Self {
        let (bulk, latency, setups, idle) = Default::default();
        Self { name, version, bulk, latency, setups, idle }
    }

    /// As a reader knows it.
    pub(crate) fn shown(&self) -> String {
        format!("{} {}", self.name, self.version).trim().to_owned()
    }

    /// Gbit for each second of the relay's CPU.
    pub(crate) fn bulk(&self, tunnels: usize) -> Option<f64> {
        self.bulk.get(&tunnels)?.median()
    }

    /// Keeps p50 and p99 of a round trip, in microseconds.
    pub(crate) fn add_latency(&mut self, cpus: Cpus, size: usize, (p50, p99): (f64, f64)) {
        let both = self.latency.entry((cpus, size)).or_default();
        both.0.push(p50);
        both.1.push(p99);
    }

    /// p50 and p99 of a round trip, in microseconds.
    pub(crate) fn latency(&self, cpus: Cpus, size: usize) -> (Option<f64>, Option<f64>) {
        let both = self.latency.get(&(cpus, size));
        (both.and_then(|(p50, _)| p50.min()), both.and_then(|(_, p99)| p99.min()))
    }

    /// Tunnels for each second of the relay's CPU.
    pub(crate) fn setups(&self) -> Option<f64> {
        self.setups.median()
    }

    /// Bytes by number of tunnels.
    pub(crate) fn idle(&self) -> impl Iterator<Item = (usize, Idle)> {
        self.idle.iter().map(|(tunnels, bytes)| (*tunnels, *bytes))
    }

    pub(crate) fn to_json(&self) -> Value {
        let bulk = |(tunnels, samples): (&usize, &Samples)| json!({ "tunnels": tunnels, "gbit_per_relay_cpu_s": samples.to_json() });
        let latency = |((cpus, size), (p50, p99)): (&(Cpus, usize), &(Samples, Samples))| json!({ "cpus": cpus.as_str(), "bytes": size, "p50_us": p50.to_json(), "p99_us": p99.to_json() });
        let idle = |(tunnels, idle): (&usize, &Idle)| json!({ "tunnels": tunnels, "user_bytes_per_tunnel": idle.user, "kernel_bytes_per_tunnel": idle.kernel, "cpu_ms_per_s": idle.cpu_ms });
        json!({
            "relay": self.name,
            "version": self.version,
            "bulk": self.bulk.iter().map(bulk).collect::<Vec<_>>(),
            "latency": self.latency.iter().map(latency).collect::<Vec<_>>(),
            "setups_per_relay_cpu_s": self.setups.to_json(),
            "idle": self.idle.iter().map(idle).collect::<Vec<_>>(),
        })
    }
}

/// As much as goes through so many tunnels in a while.
pub(crate) fn bulk(
    relay: &mut dyn Relay,
    tunnels: usize,
    for_ms: u64,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let (over, moved) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut threads = Vec::new();
    for _ in 0..tunnels {
        let (mut near, mut far) = relay.tunnel()?;
        let (told, count) = (Arc::clone(&over), Arc::clone(&moved));
        threads.push(thread::spawn(move || {
            let part = vec![0x5a; BULK_LEN];
            while !told.load(Ordering::Relaxed) && near.write_all(&part).is_ok() {}
            // Where it failed the other end notices as well.
            let _gone = near.shutdown(Shutdown::Write);
        }));
        threads.push(thread::spawn(move || {
            let mut part = vec![0; BULK_LEN];
            while let Ok(len @ 1..) = far.read(&mut part) {
                count.fetch_add(u64::try_from(len).unwrap_or(0), Ordering::Relaxed);
            }
        }));
    }
    // What begins is not what goes on.
    thread::sleep(Duration::from_millis(100));
    let (before, cpu) = (moved.load(Ordering::Relaxed), used(relay)?);
    thread::sleep(Duration::from_millis(for_ms));
    let (bytes, cpu) = (moved.load(Ordering::Relaxed) - before, used(relay)? - cpu);
    over.store(true, Ordering::Relaxed);
    for thread in threads {
        ensure!(thread.join().is_ok(), "an end failed");
    }
    if relay.pid().is_some() {
        #[expect(clippy::cast_precision_loss, reason = "a figure of three digits comes of it")]
        let gbit = bytes as f64 * BITS / 1e9;
        ensure!(cpu > 0.0 && gbit > 0.0, "nothing went through");
        figures.bulk.entry(tunnels).or_default().push(gbit / cpu);
    }
    Ok(())
}

/// Tunnels that are opened, carry a hello and a byte, and are closed.
pub(crate) fn setups(
    relay: &mut dyn Relay,
    for_ms: u64,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    if relay.pid().is_none() {
        return Ok(());
    }
    let opened = Arc::new(AtomicU64::new(0));
    let mut openers = Crowd::default();
    for _ in 0..OPENERS {
        let (mut open, count) = (relay.near()?, Arc::clone(&opened));
        openers.add(move || {
            if open().is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut answerers = Crowd::default();
    for _ in 0..relay.answerers() {
        let mut answer = relay.far()?;
        // Nobody came in time, or the near end has gone: again.
        answerers.add(move || drop(answer()));
    }
    thread::sleep(Duration::from_millis(200));
    let (before, cpu) = (opened.load(Ordering::Relaxed), used(relay)?);
    thread::sleep(Duration::from_millis(for_ms));
    let (count, cpu) = (opened.load(Ordering::Relaxed) - before, used(relay)? - cpu);
    // Whoever is on his way is still answered.
    openers.end()?;
    answerers.end()?;
    ensure!(count > 0 && cpu > 0.0, "no tunnel was opened");
    #[expect(clippy::cast_precision_loss, reason = "a figure of three digits comes of it")]
    figures.setups.push(count as f64 / cpu);
    Ok(())
}

/// Threads that do one thing again and again.
#[derive(Default)]
struct Crowd {
    over: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Crowd {
    fn add(&mut self, mut work: impl FnMut() + Send + 'static) {
        let over = Arc::clone(&self.over);
        self.threads.push(thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                work();
            }
        }));
    }

    fn end(self) -> anyhow::Result<()> {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            ensure!(thread.join().is_ok(), "an end failed");
        }
        Ok(())
    }
}

/// Tunnels on which nothing happens.
pub(crate) fn idle(
    relay: &mut dyn Relay,
    tunnels: usize,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let Some(pid) = relay.pid() else { return Ok(()) };
    let (before, kernel_before) = (resident(pid)?, kernel::kept_for(pid));
    let mut kept = Vec::with_capacity(tunnels);
    for _ in 0..tunnels {
        kept.push(relay.tunnel()?);
    }
    thread::sleep(Duration::from_millis(500));
    let (after, kernel_after) = (resident(pid)?, kernel::kept_for(pid));
    let cpu = cpu_of(pid)?;
    thread::sleep(IDLE);
    let cpu_ms = (cpu_of(pid)? - cpu) * 1e3 / IDLE.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a figure of three digits comes of it")]
    let each =
        |before: u64, after: u64| (after.saturating_sub(before) as f64 / tunnels as f64).round();
    let kernel = kernel_before.zip(kernel_after).map(|(before, after)| each(before, after));
    figures.idle.insert(tunnels, Idle { user: each(before, after), kernel, cpu_ms });
    drop(kept);
    thread::sleep(Duration::from_millis(500));
    Ok(())
}

fn used(relay: &dyn Relay) -> anyhow::Result<f64> {
    relay.pid().map_or(Ok(0.0), cpu_of)
}

/// Seconds of CPU that a process has used, in all its threads.
pub(crate) fn cpu_of(pid: u32) -> anyhow::Result<f64> {
    let mut nanoseconds = 0_u64;
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("the relay has ended")? {
        let text = match fs::read_to_string(task?.path().join("schedstat")) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        nanoseconds += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds).as_secs_f64())
}

/// Bytes of its own memory.
fn resident(pid: u32) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).context("the relay has ended")?;
    let pages = text.split_whitespace().nth(1).context("no statm")?.parse::<u64>()?;
    Ok(pages * 4096)
}
