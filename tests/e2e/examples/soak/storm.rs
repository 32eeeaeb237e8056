//! All beacons are killed at once, and thousands of clients come back at once: each with a hello, a
//! ticket, and a session that the bridge opens.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cloudtaser_e2e::{Releases, status_field};
use cloudtaser_road::{Admission, Link, Resolve, Route, Stop, Until};
use cloudtaser_tls::raw::KeyPair;

use crate::findings::Findings;

const PART: &str = "storm";
/// Who dials at once.
const WORKERS: usize = 64;
/// CPU that beacons and bridge take until all are back: on a machine of their own they are back in
/// that time at most. Wall clock is told, and is that of the machine and of the clients on it.
const CPU_SECONDS: f64 = 30.0;
const PATIENCE: Duration = Duration::from_secs(300);
/// Far more than thousands of sessions need.
const MEMORY_MIB: f64 = 1024.0;

#[derive(Debug)]
struct Numbers;

impl Resolve for Numbers {
    fn addresses(&self, address: &str, _: Duration) -> std::io::Result<Vec<SocketAddr>> {
        address.parse().map(|address| vec![address]).map_err(std::io::Error::other)
    }
}

pub(crate) fn run(road: &mut Releases, clients: usize, findings: &mut Findings) {
    let sessions = u16::try_from(clients + 100).expect("fewer clients");
    road.let_in(sessions);
    let file = fs::read(road.client_file()).expect("the client's file");
    let key = fs::read(road.client_file().with_extension("pem")).expect("the client's key");
    let key = KeyPair::from_pem(&key.into()).expect("a key");
    let admission = Admission::new(serde_json::from_slice(&file).expect("JSON")).expect("a file");
    let route = Route::new(admission, &key, None, Box::new(Numbers)).expect("TLS");
    let failed = AtomicUsize::new(0);
    let began = Instant::now();
    let before = all(road, &route, clients, &failed);
    let first = began.elapsed().as_secs_f64();
    findings.told(PART, "clients", before.len());
    findings.told(PART, "seconds until all had a session", format!("{first:.1}"));
    let mut beacons = road.beacons();
    beacons.kill(0);
    beacons.kill(1);
    drop(before);
    failed.store(0, Ordering::Relaxed);
    let spent = cpu(road.bridge.pid());
    let began = Instant::now();
    beacons.start(road, 0);
    beacons.start(road, 1);
    let after = all(road, &route, clients, &failed);
    let seconds = began.elapsed().as_secs_f64();
    let missing = u32::try_from(clients - after.len()).unwrap_or(u32::MAX);
    findings.at_most(PART, "clients that did not come back", f64::from(missing), 0.0);
    let spent = cpu(road.bridge.pid()) - spent + cpu(beacons.pid(0)) + cpu(beacons.pid(1));
    findings.at_most(PART, "CPU seconds of beacons and bridge for that", spent, CPU_SECONDS);
    let load = fs::read_to_string("/proc/loadavg").expect("the machine's load");
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    findings.told(PART, &format!("seconds for that, at a load of {load}"), format!("{seconds:.1}"));
    findings.told(PART, "attempts that had to be made again", failed.load(Ordering::Relaxed));
    for (name, pid) in [("a beacon", beacons.pid(0)), ("the bridge", road.bridge.pid())] {
        let peak = status_field(pid, "VmHWM").expect("a process that runs");
        let kib = peak.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok());
        let mib = kib.expect("KiB") / 1024.0;
        findings.at_most(PART, &format!("{name}: MiB at the most"), mib, MEMORY_MIB);
    }
    drop(after);
}

/// Seconds of CPU that a process has taken.
fn cpu(pid: i32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process that runs");
    // Behind the name, which may hold anything: state, then numbers, in ticks of 10 ms.
    let (_, rest) = stat.rsplit_once(')').expect("a name");
    let ticks = rest.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>());
    ticks.map(|ticks| ticks.expect("a number")).sum::<f64>() / 100.0
}

/// Everybody at once; each tries until it has its session.
fn all(road: &Releases, route: &Route, clients: usize, failed: &AtomicUsize) -> Vec<Link> {
    let (next, links) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(clients)));
    let end = Instant::now() + PATIENCE;
    let stop = Arc::new(Stop::default());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                road.networks.cluster.within(|| {
                    while next.fetch_add(1, Ordering::Relaxed) < clients {
                        while Instant::now() < end {
                            match route.open(&stop, Until::after(Duration::from_secs(30))) {
                                Ok(link) => {
                                    links.lock().expect("a list").push(link);
                                    break;
                                }
                                Err(_again) => {
                                    failed.fetch_add(1, Ordering::Relaxed);
                                    thread::sleep(Duration::from_millis(100));
                                }
                            }
                        }
                    }
                });
            });
        }
    });
    links.into_inner().expect("a list")
}
