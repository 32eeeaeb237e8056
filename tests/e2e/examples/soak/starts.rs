//! Apps start while one of two beacons is killed, comes back, and the other one is killed.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cloudtaser_e2e::{Releases, canary};

use crate::{findings::Findings, put, start_once};

const PART: &str = "starts";
/// At once.
const WORKERS: usize = 4;
/// How long a beacon is there, or is not.
const TURN: Duration = Duration::from_secs(3);

pub(crate) fn run(road: &mut Releases, starts: usize, findings: &mut Findings) {
    let value = canary();
    put(road, &value);
    let (next, over, failures) =
        (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(Vec::new()));
    let mut beacons = road.beacons();
    let mut kills = 0;
    let began = Instant::now();
    let shared = &*road;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| {
                    while next.fetch_add(1, Ordering::Relaxed) < starts {
                        if let Err(why) = start_once(shared, Some(&value)) {
                            failures.lock().expect("a list").push(why);
                        }
                    }
                })
            })
            .collect();
        let killer = scope.spawn(|| {
            let mut kills = 0;
            for which in [0, 1].into_iter().cycle() {
                if over.load(Ordering::Relaxed) {
                    return kills;
                }
                thread::sleep(TURN);
                beacons.kill(which);
                thread::sleep(TURN);
                // Returns when the bridge is there again: until then the other one is the only one.
                beacons.start(shared, which);
                kills += 1;
            }
            kills
        });
        for worker in workers {
            worker.join().expect("a worker");
        }
        over.store(true, Ordering::Relaxed);
        kills = killer.join().expect("the killer");
    });
    let failures = failures.into_inner().expect("a list");
    for why in failures.iter().take(3) {
        println!("  a start failed: {why}");
    }
    let failed = u32::try_from(failures.len()).unwrap_or(u32::MAX);
    let each = began.elapsed().as_secs_f64() / f64::from(u32::try_from(starts).unwrap_or(1).max(1));
    findings.told(PART, "apps started", starts);
    findings.told(PART, "beacons killed meanwhile", kills);
    findings.told(PART, "milliseconds per start, four at once", format!("{:.0}", each * 1000.0));
    findings.at_most(PART, "starts that failed", f64::from(failed), 0.0);
}
