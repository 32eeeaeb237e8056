//! Who has connected and has not said what he wants: how many there are, and who goes when there are
//! too many; and how many are of one source. No socket is in this file.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

/// The connections that have not said what they want, in the order in which they came.
///
/// SECURITY: where there are too many, the oldest goes: whoever means to be served says what it
/// wants within a round trip, so those that fill the places drive out one another.
#[derive(Debug)]
pub(super) struct Pending {
    max: usize,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    seats: BTreeMap<u64, Arc<Notify>>,
}

/// A connection's place among all that have not said what they want.
#[derive(Debug)]
pub(super) struct Seat {
    number: u64,
    evicted: Arc<Notify>,
    waiting: Arc<Mutex<Waiting>>,
}

impl Pending {
    pub(super) fn new(max: usize) -> Self {
        Self { max, waiting: Arc::default() }
    }

    pub(super) fn enter(&self) -> Seat {
        let evicted = Arc::new(Notify::new());
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.seats.len() >= self.max
            && let Some((_, oldest)) = waiting.seats.pop_first()
        {
            oldest.notify_one();
        }
        let number = waiting.next;
        waiting.next = number.wrapping_add(1);
        waiting.seats.insert(number, Arc::clone(&evicted));
        Seat { number, evicted, waiting: Arc::clone(&self.waiting) }
    }

    /// Sends the oldest of them away; how many.
    pub(super) fn evict(&self, most: usize) -> usize {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = std::iter::from_fn(|| waiting.seats.pop_first()).take(most);
        oldest.map(|(_, seat)| seat.notify_one()).count()
    }
}

impl Seat {
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.seats.remove(&self.number);
    }
}

/// How many connections there are of each source.
#[derive(Debug)]
pub(crate) struct Sources {
    max: u32,
    pending: Arc<Mutex<BTreeMap<IpAddr, u32>>>,
}

/// A connection's place among those of its source, for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Place {
    source: IpAddr,
    pending: Arc<Mutex<BTreeMap<IpAddr, u32>>>,
}

impl Sources {
    pub(crate) fn new(max: u32) -> Self {
        Self { max, pending: Arc::default() }
    }

    /// `None` where the source has as many as it may.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Place> {
        let source = source_of(address);
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let open = pending.entry(source).or_default();
        if *open >= self.max {
            return None;
        }
        *open += 1;
        Some(Place { source, pending: Arc::clone(&self.pending) })
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.pending.lock().unwrap().is_empty()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = pending.get_mut(&self.source) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                pending.remove(&self.source);
            }
        }
    }
}

/// Who has an IPv6 address has the 2^64 beside it.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn where_too_many_wait_the_oldest_goes_and_nothing_is_kept_of_it() {
        let pending = Pending::new(2);
        let (first, second) = (pending.enter(), pending.enter());
        let third = pending.enter();
        first.evicted().await;
        drop(first);
        assert_eq!(pending.waiting.lock().unwrap().seats.len(), 2);
        assert_eq!(pending.evict(1), 1);
        second.evicted().await;
        assert_eq!((pending.evict(5), pending.evict(5)), (1, 0));
        third.evicted().await;
        drop((second, third));
        assert!(pending.waiting.lock().unwrap().seats.is_empty());
    }

    #[test]
    fn a_source_is_an_address_or_the_network_that_one_customer_has() {
        let sources = Sources::new(2);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = sources.enter(address("2001:db8::1"));
        let second = sources.enter(address("2001:db8::ffff:2"));
        assert!(first.is_some() && second.is_some());
        assert!(sources.enter(address("2001:db8::3")).is_none());
        assert!(sources.enter(address("2001:db8:0:1::3")).is_some());
        assert!(sources.enter(address("192.0.2.1")).is_some());
        drop(first);
        assert!(sources.enter(address("2001:db8::3")).is_some());
        drop(second);
        assert!(sources.is_empty(), "nothing is kept of who is gone");
    }
}
