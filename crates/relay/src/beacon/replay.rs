//! Which tickets were used: a hello that somebody recorded lets nobody in again.
//!
//! Two generations, so that a ticket is remembered for at least as long as it is good. Where more
//! tickets come than are remembered, the older generation is forgotten early: then a recorded hello
//! may reach the bridge, where it fails, since its sender has not the client's key.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use crate::proto::ticket::{TicketName, WINDOW_SECONDS};

const MAX_PER_GENERATION: usize = 200_000;
/// From the earliest moment of a ticket to the last.
const GENERATION_SECONDS: u64 = 2 * WINDOW_SECONDS;

/// The tickets of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Replay(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    began: u64,
    current: BTreeSet<TicketName>,
    previous: BTreeSet<TicketName>,
}

impl Replay {
    /// Remembers a ticket that was found true; whether it was new.
    pub(super) fn is_new(&self, name: TicketName, now: u64) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.abs_diff(all.began) >= GENERATION_SECONDS || all.current.len() >= MAX_PER_GENERATION
        {
            all.previous = std::mem::take(&mut all.current);
            all.began = now;
        }
        !all.previous.contains(&name) && all.current.insert(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_new_once_for_as_long_as_it_is_good() {
        let replay = Replay::default();
        let first = 1_000_000;
        assert!(replay.is_new([1; 16], first));
        for later in [0, 1, WINDOW_SECONDS, 2 * WINDOW_SECONDS - 1, 2 * WINDOW_SECONDS] {
            assert!(!replay.is_new([1; 16], first + later), "{later} seconds later");
            assert!(replay.is_new(
                [later.to_be_bytes(), later.to_be_bytes()].as_flattened().try_into().unwrap(),
                first + later
            ));
        }
    }

    #[test]
    fn memory_is_bounded() {
        let replay = Replay::default();
        for number in 0..(2 * MAX_PER_GENERATION as u128 + 10) {
            assert!(replay.is_new(number.to_be_bytes(), 5));
        }
        let all = replay.0.lock().unwrap();
        assert!(all.current.len() + all.previous.len() <= 2 * MAX_PER_GENERATION);
    }
}
