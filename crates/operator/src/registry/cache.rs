//! What was found, for a while and for so many images.
//!
//! The key has namespace and credentials in it: whoever may not pull an image learns nothing of it
//! from somebody who may.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use cloudtaser_k8s::{Entrypoint, ImageRequest};

/// A cluster has fewer images in use; each entry is well under a kilobyte.
const MOST: usize = 2048;
/// How long a tag is believed to mean the same.
const TAG_LASTS: Duration = Duration::from_secs(60);

type Key = (String, ImageRequest);

/// Bounded; the oldest entry goes first.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: BTreeMap<Key, (Entrypoint, Option<Instant>)>,
    order: VecDeque<Key>,
}

impl Cache {
    pub(super) fn get(&self, key: &Key, now: Instant) -> Option<Entrypoint> {
        let (entrypoint, end) = self.entries.get(key)?;
        end.is_none_or(|end| now < end).then(|| entrypoint.clone())
    }

    /// Remembers; what a digest names never changes.
    pub(super) fn put(&mut self, key: Key, found: Entrypoint, by_digest: bool, now: Instant) {
        let end = if by_digest { None } else { now.checked_add(TAG_LASTS) };
        if self.entries.insert(key.clone(), (found, end)).is_none() {
            self.order.push_back(key);
        }
        while self.entries.len() > MOST {
            let Some(oldest) = self.order.pop_front() else { return };
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, image: &str) -> Key {
        let request = ImageRequest {
            image: image.to_owned(),
            architecture: None,
            pull_secrets: Vec::new(),
            service_account: "default".to_owned(),
        };
        (namespace.to_owned(), request)
    }

    #[test]
    fn tags_are_forgotten_digests_are_not_and_namespaces_share_nothing() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        cache.put(key("a", "tag"), Entrypoint::default(), false, start);
        cache.put(key("a", "digest"), Entrypoint::default(), true, start);
        assert!(cache.get(&key("a", "tag"), start).is_some());
        assert!(cache.get(&key("b", "tag"), start).is_none());
        assert!(cache.get(&key("a", "tag"), start + TAG_LASTS).is_none());
        assert!(cache.get(&key("a", "digest"), start + TAG_LASTS * 100).is_some());
    }

    #[test]
    fn it_is_bounded() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        for at in 0..MOST + 10 {
            cache.put(key("a", &at.to_string()), Entrypoint::default(), true, now);
        }
        assert_eq!((cache.entries.len(), cache.order.len()), (MOST, MOST));
        assert!(cache.get(&key("a", "0"), now).is_none());
    }
}
