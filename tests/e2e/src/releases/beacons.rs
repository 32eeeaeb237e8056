//! Both beacons of a road, for somebody who kills them while others use it.

use std::time::Duration;

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

use super::{FIRST, Releases, SECOND};
use crate::{
    road::{Program, start_beacon_of},
    scan::status_field,
    scratch::until,
};

/// The beacons.
#[derive(Debug)]
pub struct Beacons {
    pids: [i32; 2],
    /// Those that are not the road's own any more.
    started: [Option<Program>; 2],
    starts: u32,
}

impl Releases {
    /// Both beacons.
    #[must_use]
    pub fn beacons(&self) -> Beacons {
        let second = self.second.as_ref().expect("a road with two beacons");
        Beacons { pids: [self.beacon.pid(), second.pid()], started: [None, None], starts: 1000 }
    }
}

impl Beacons {
    /// The process of one.
    #[must_use]
    pub fn pid(&self, which: usize) -> i32 {
        self.pids[which]
    }

    /// Kills one.
    pub fn kill(&mut self, which: usize) {
        let pid = self.pids[which];
        signal::kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
        until("its end", Duration::from_secs(60), || {
            let state = status_field(pid, "State");
            state.is_none_or(|state| state.starts_with(['X', 'Z'])).then_some(())
        });
        self.started[which] = None;
    }

    /// Starts one that was killed again, and waits until the bridge is there.
    pub fn start(&mut self, road: &Releases, which: usize) {
        self.starts += 1;
        let name = [FIRST, SECOND][which];
        let beacon = start_beacon_of(&road.networks, &road.scratch, name, self.starts);
        beacon.until_logged("bridge registered");
        self.pids[which] = beacon.pid();
        self.started[which] = Some(beacon);
    }
}
