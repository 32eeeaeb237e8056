//! How often strangers may have this beacon exchange keys and sign.
//!
//! That is what a bridge costs before it is known whose it is: some hundred times what a client costs
//! that is turned away. So there is a share of it for everybody, which takes a small part of a core,
//! and another for those from whose address a bridge has registered before: who floods the first does
//! not keep the second from coming back.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// So short that what comes of one share together is no pause for anybody.
const WINDOW: Duration = Duration::from_millis(50);
/// A thousand in a second: some fifth of a core.
const PER_WINDOW: u32 = 50;
/// Addresses that are remembered; of more, none is.
const MAX_KNOWN: usize = 4096;

/// The shares.
#[derive(Debug)]
pub(super) struct Handshakes {
    per_window: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: BTreeSet<IpAddr>,
    of_known: Share,
    of_strangers: Share,
}

#[derive(Debug, Default)]
struct Share {
    began: Option<Instant>,
    used: u32,
}

impl Handshakes {
    pub(super) fn new(threads: u8) -> Self {
        let per_window = PER_WINDOW.saturating_mul(u32::from(threads).max(1));
        Self { per_window, state: Mutex::default() }
    }

    /// Whether one may begin.
    pub(super) fn may_begin(&self, source: IpAddr, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = state.known.contains(&source);
        let share = if is_known { &mut state.of_known } else { &mut state.of_strangers };
        if share.began.is_none_or(|began| now.saturating_duration_since(began) >= WINDOW) {
            *share = Share { began: Some(now), used: 0 };
        }
        share.used = share.used.saturating_add(1);
        share.used <= self.per_window
    }

    /// A bridge has registered from there.
    pub(super) fn remember(&self, source: IpAddr) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.known.len() < MAX_KNOWN {
            state.known.insert(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_have_their_share_and_those_who_were_here_another() {
        let handshakes = Handshakes::new(1);
        let (bridge, stranger) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let now = Instant::now();
        assert!(handshakes.may_begin(bridge, now));
        handshakes.remember(bridge);
        let let_in = (0..1000).filter(|_| handshakes.may_begin(stranger, now)).count();
        assert_eq!(let_in, 49, "the bridge was a stranger once");
        assert!(handshakes.may_begin(bridge, now));
        assert!(!handshakes.may_begin(stranger, now + WINDOW / 2));
        assert!(handshakes.may_begin(stranger, now + WINDOW));
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room() {
        let handshakes = Handshakes::new(1);
        for number in 0..u32::try_from(MAX_KNOWN).unwrap() + 10 {
            handshakes.remember(IpAddr::V4(number.into()));
        }
        assert_eq!(handshakes.state.lock().unwrap().known.len(), MAX_KNOWN);
    }
}
