//! Clients whose sessions fail again and again, so that a beacon can turn them away earlier.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::proto::ticket::ClientTag;

/// Failures within [`WINDOW`] that are one too many.
const TOO_MANY: u32 = 5;
const WINDOW: Duration = Duration::from_secs(60);
/// A beacon can make up tags; only so many are counted.
const MAX_COUNTED: usize = 1024;

/// Counts, and says who has failed too often.
#[derive(Debug)]
pub(super) struct Strikes {
    counts: Mutex<BTreeMap<ClientTag, (u32, Instant)>>,
    deny: mpsc::Sender<ClientTag>,
}

impl Strikes {
    pub(super) fn new(deny: mpsc::Sender<ClientTag>) -> Self {
        Self { counts: Mutex::default(), deny }
    }

    /// One more session of this client has failed.
    pub(super) fn count(&self, tag: ClientTag) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.retain(|_, (_, since)| since.elapsed() < WINDOW);
        if counts.len() >= MAX_COUNTED {
            return;
        }
        let (count, _) = counts.entry(tag).or_insert_with(|| (0, Instant::now()));
        *count += 1;
        if *count >= TOO_MANY {
            counts.remove(&tag);
            // A full queue means that others are being denied; this one comes again.
            let _full = self.deny.try_send(tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifth_failure_of_one_client_is_one_too_many() {
        let (deny, mut denied) = mpsc::channel(4);
        let strikes = Strikes::new(deny);
        let (bad, good) = (ClientTag([1; 8]), ClientTag([2; 8]));
        for _ in 0..TOO_MANY - 1 {
            strikes.count(bad);
            strikes.count(good);
        }
        assert!(denied.try_recv().is_err());
        strikes.count(bad);
        assert_eq!(denied.try_recv(), Ok(bad));
    }
}
