//! A beacon that is killed with thousands of tunnels, and all of them coming back at once.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::beacon::{Beacon, Kept};

/// Who dials at once; legs that wait are bounded at the beacon.
const WORKERS: usize = 32;
/// Attempts of one client; between them it waits a little.
const TRIES: u32 = 200;

/// What was seen.
#[derive(Debug)]
pub(crate) struct Storm {
    /// Tunnels before and after.
    pub(crate) tunnels: usize,
    /// From the new beacon's start until all had a tunnel again.
    pub(crate) seconds: f64,
    /// The most memory that the new beacon had.
    pub(crate) peak_kib: u64,
    /// The CPU that it took.
    pub(crate) cpu_seconds: f64,
}

/// Has so many tunnels come back.
pub(crate) fn run(scratch: &Path, tunnels: usize) -> anyhow::Result<Storm> {
    let folder = scratch.join("storm");
    fs::create_dir_all(&folder)?;
    let mut beacon = Beacon::start(&folder)?;
    let before = all(&beacon, tunnels)?;
    beacon.kill()?;
    // What the killed one had is gone with it.
    drop(before);
    let began = Instant::now();
    beacon.restart(&folder)?;
    let after = all(&beacon, tunnels)?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(after.len() == tunnels, "{} of {tunnels} came back", after.len());
    let pid = beacon.process();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("it has ended")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|rest| rest.split_whitespace().next()).context("no VmHWM")?;
    let cpu_seconds = super::measure::cpu_of(pid)?;
    Ok(Storm { tunnels, seconds, peak_kib: peak.parse()?, cpu_seconds })
}

/// Everybody at once; each tries until it has its tunnel.
fn all(beacon: &Beacon, tunnels: usize) -> anyhow::Result<Vec<Kept>> {
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        let opener = beacon.opener();
        let share = tunnels / WORKERS + usize::from(number < tunnels % WORKERS);
        workers.push(thread::spawn(move || -> anyhow::Result<Vec<Kept>> {
            let mut kept = Vec::with_capacity(share);
            let mut failed = 0;
            while kept.len() < share {
                match opener.open() {
                    Ok(tunnel) => kept.push(tunnel),
                    Err(error) => {
                        failed += 1;
                        ensure!(failed < TRIES, "a client gives up: {error:#}");
                        thread::sleep(Duration::from_millis(50));
                    }
                }
            }
            Ok(kept)
        }));
    }
    let mut all = Vec::with_capacity(tunnels);
    for worker in workers {
        let kept = worker.join().ok().context("a worker failed")?;
        all.extend(kept?);
    }
    Ok(all)
}

impl Storm {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "tunnels": self.tunnels,
            "seconds": self.seconds,
            "peak_kib": self.peak_kib,
            "cpu_seconds": self.cpu_seconds,
        })
    }
}
