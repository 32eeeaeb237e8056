//! The network swallows everything between beacon and bridge for a long time, without a word to
//! either end.

use std::{
    thread,
    time::{Duration, Instant},
};

use cloudtaser_e2e::{Releases, Side, canary};

use crate::{findings::Findings, put, rotating, spawn, start_once};

const PART: &str = "partition";
/// From when the network is whole until all works: a control connection is dialled again after
/// thirty seconds at most, and the handshake has ten.
const HEALED_WITHIN: f64 = 60.0;
/// A session that only waits to be told is given up by the kernel's keep-alive: two minutes.
const TOLD_WITHIN: f64 = 150.0;
/// The least that a road needs, where the cut was too short for anything to be given up.
const LOOK: Duration = Duration::from_millis(200);

pub(crate) fn run(road: &mut Releases, seconds: u64, findings: &mut Findings) {
    let (value, newer) = (canary(), canary());
    put(road, &value);
    road.tell_of_changes();
    // Half of them look, and half are told.
    let every = |at| if at % 2 == 0 { "2s" } else { "1h" };
    let mut apps: Vec<_> = (0..4).map(|at| spawn(road, &rotating(road, every(at)))).collect();
    for app in &mut apps {
        let wanted = format!("got {value}\n");
        app.until_stdout("the value", |out| out == wanted.as_bytes());
    }
    road.networks.cut(Side::Eu);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        thread::sleep(Duration::from_secs(1));
    }
    let ended = apps.iter_mut().filter_map(|app| app.ended().then_some(())).count();
    put(road, &newer);
    road.networks.heal(Side::Eu);
    let healed = Instant::now();
    let mut tries = 0;
    while start_once(road, Some(&newer)).is_err() {
        tries += 1;
        if healed.elapsed() > Duration::from_secs(300) {
            break;
        }
    }
    let starts = healed.elapsed().as_secs_f64();
    let told = "values changed and were written in place";
    while apps.iter().any(|app| !app.stderr().contains(told)) {
        if healed.elapsed() > Duration::from_secs(300) {
            break;
        }
        thread::sleep(LOOK);
    }
    let all = healed.elapsed().as_secs_f64();
    findings.told(PART, "seconds without a network", seconds);
    findings.at_most(PART, "apps that ended meanwhile", count(ended), 0.0);
    findings.at_most(PART, "starts that failed once it was whole", count(tries), 1.0);
    findings.at_most(PART, "seconds until an app starts", starts, HEALED_WITHIN);
    findings.at_most(PART, "seconds until all apps have the new value", all, TOLD_WITHIN);
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
