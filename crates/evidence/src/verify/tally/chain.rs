//! Whether the entries of one stream follow each other: by number, by hash, and by time.

use super::{ClusterTally, Tally};
use crate::{hash::Digest, notice::Leaf};

/// How two receipts of one cluster contradict each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// Its number is not above that of the one before.
    #[error("its cluster's numbers do not rise")]
    Number,
    /// It follows the one before and has another hash of it.
    #[error("it names another receipt as the one before it")]
    Previous,
    /// The first of a cluster has one before it, or a later one has none.
    #[error("a cluster's first receipt, and no other, has none before it")]
    First,
    /// Its time is before that of the one before.
    #[error("its time is before that of its cluster's receipt before it")]
    Time,
    /// Numbers are missing though the whole log is here.
    #[error("its cluster's numbers have a gap before it")]
    Gap,
}

/// The entry of a stream that came last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    sequence: u64,
    time_ms: u64,
    leaf: Digest,
}

impl Tally {
    /// Takes the next entry, where it follows the one before it in its stream. Of a log that is
    /// complete, nothing may be missing between the two.
    pub(super) fn chain(
        &mut self,
        index: u64,
        entry: &Leaf,
        leaf: Digest,
        complete: bool,
    ) -> Result<(), ChainError> {
        let cluster = entry.stream().to_owned();
        let sequence = entry.sequence();
        if (sequence == 0) != entry.previous().is_none() {
            return Err(ChainError::First);
        }
        let missing = self.missing_before(&cluster, index, entry, complete)?;
        let last = Last { sequence, time_ms: entry.time_ms(), leaf };
        self.last.insert(cluster.clone(), last);
        if matches!(entry, Leaf::Notice(_)) {
            self.missing_notices += missing;
            return Ok(());
        }
        let counts = self.clusters.entry(cluster).or_insert_with(|| ClusterTally {
            numbers: (sequence, sequence),
            ..ClusterTally::default()
        });
        counts.numbers.1 = sequence;
        counts.receipts += 1;
        counts.missing += missing;
        Ok(())
    }

    /// How many numbers are missing before this receipt.
    fn missing_before(
        &self,
        cluster: &str,
        index: u64,
        entry: &Leaf,
        complete: bool,
    ) -> Result<u64, ChainError> {
        let Some(last) = self.last.get(cluster) else {
            // Of a log that is here from its first entry on, so is each cluster.
            let cut = entry.sequence() > 0 && complete && self.begins_at_zero(index);
            return if cut { Err(ChainError::Gap) } else { Ok(0) };
        };
        if entry.sequence() <= last.sequence {
            return Err(ChainError::Number);
        }
        if entry.time_ms() < last.time_ms {
            return Err(ChainError::Time);
        }
        let missing = entry.sequence() - last.sequence - 1;
        if missing == 0 && entry.previous() != Some(last.leaf) {
            return Err(ChainError::Previous);
        }
        if missing > 0 && complete { Err(ChainError::Gap) } else { Ok(missing) }
    }

    fn begins_at_zero(&self, index: u64) -> bool {
        self.range.map_or(index, |(first, _)| first) == 0
    }

    /// Whether no position between the first and the last is missing.
    #[must_use]
    pub fn is_contiguous(&self) -> bool {
        let entries = self.receipts + self.notices.values().sum::<u64>();
        self.range.is_none_or(|(first, last)| last - first + 1 == entries)
    }

    /// Numbers that are missing between receipts that are here.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.clusters.values().map(|cluster| cluster.missing).sum::<u64>() + self.missing_notices
    }
}
