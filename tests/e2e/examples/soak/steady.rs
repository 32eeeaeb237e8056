//! The road in use without a break: memory stays flat, and no descriptor is lost.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use cloudtaser_e2e::{Releases, canary, status_field, until};

use crate::{findings::Findings, put, rotating, spawn, start_once};

const PART: &str = "steady";
const APPS: usize = 8;
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// What the bridge keeps of each launch on purpose: who had the login of a pod, and hashes of the
/// log's tree.
const KEPT_PER_START: f64 = 2.0;
/// What a heap may gain by being used in another order, in KiB.
const SLACK: f64 = 2048.0;

/// One look at a process.
#[derive(Clone, Copy, Debug)]
struct Look {
    rss_kib: f64,
    descriptors: usize,
}

fn look(pid: i32) -> Look {
    let rss = status_field(pid, "VmRSS").expect("a process that runs");
    let rss_kib = rss.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("KiB");
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors").count();
    Look { rss_kib, descriptors }
}

pub(crate) fn run(road: &mut Releases, minutes: u64, findings: &mut Findings) {
    road.tell_of_changes();
    put(road, &canary());
    // Once, so that what is made at the first use is there.
    let first = canary();
    put(road, &first);
    start_once(road, Some(&first)).expect("a first start");
    let pids = [
        ("beacon", road.beacon.pid()),
        ("second beacon", road.second.as_ref().expect("two").pid()),
        ("bridge", road.bridge.pid()),
    ];
    let settled = |pid: i32| {
        let mut last = look(pid).descriptors;
        until("a quiet process", Duration::from_secs(60), || {
            thread::sleep(Duration::from_secs(2));
            let now = look(pid).descriptors;
            (std::mem::replace(&mut last, now) == now).then_some(now)
        })
    };
    let before = pids.map(|(_, pid)| settled(pid));
    let mut apps: Vec<_> = (0..APPS)
        .map(|at| spawn(road, &rotating(road, if at % 2 == 0 { "1s" } else { "1h" })))
        .collect();
    let (starts, failed, over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let began = Instant::now();
    let all = Duration::from_secs(minutes * 60);
    let mut samples: Vec<(usize, [Look; 3])> = Vec::new();
    let shared = &*road;
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // The value is written anew all the time, so any of them will do.
                if let Err(why) = start_once(shared, None) {
                    println!("  a start failed: {why}");
                    failed.fetch_add(1, Ordering::Relaxed);
                }
                starts.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                put(shared, &canary());
                thread::sleep(Duration::from_secs(2));
            }
        });
        while began.elapsed() < all {
            thread::sleep(SAMPLE_EVERY);
            samples.push((starts.load(Ordering::Relaxed), pids.map(|(_, pid)| look(pid))));
        }
        over.store(true, Ordering::Relaxed);
    });
    let ended = apps.iter_mut().filter_map(|app| app.ended().then_some(())).count();
    let changes: usize =
        apps.iter().map(|app| app.stderr().matches("written in place").count()).sum();
    for app in &mut apps {
        app.close_stdin();
    }
    for app in apps {
        drop(app.wait());
    }
    findings.told(PART, "minutes", minutes);
    findings.told(PART, "apps started", starts.load(Ordering::Relaxed));
    findings.told(PART, "new values that apps took in place", changes);
    findings.at_most(PART, "starts that failed", count(failed.load(Ordering::Relaxed)), 0.0);
    findings.at_most(PART, "apps that ended by themselves", count(ended), 0.0);
    for (at, (name, pid)) in pids.into_iter().enumerate() {
        let (growth, started) = growth(&samples, at);
        let bound = SLACK + if name == "bridge" { started * KEPT_PER_START } else { 0.0 };
        findings.told(PART, &format!("{name}: KiB at the end"), look(pid).rss_kib);
        findings.at_most(PART, &format!("{name}: KiB more than after a third"), growth, bound);
        let lost = settled(pid).saturating_sub(before[at]);
        findings.at_most(PART, &format!("{name}: descriptors lost"), count(lost), 0.0);
    }
}

/// By how much the median of the last third is above that of the second, and how many apps were
/// started between them.
fn growth(samples: &[(usize, [Look; 3])], at: usize) -> (f64, f64) {
    let third = samples.len() / 3;
    let median = |part: &[(usize, [Look; 3])]| {
        let mut all: Vec<f64> = part.iter().map(|(_, looks)| looks[at].rss_kib).collect();
        all.sort_by(f64::total_cmp);
        let starts = part.get(part.len() / 2).map_or(0, |(starts, _)| *starts);
        (all.get(all.len() / 2).copied().unwrap_or_default(), count(starts))
    };
    let ((second, before), (last, after)) =
        (median(&samples[third..2 * third]), median(&samples[2 * third..]));
    ((last - second).max(0.0), after - before)
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
