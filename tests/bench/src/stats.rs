//! What many samples come to. Percentiles are by nearest rank: each is a sample that was seen.

use serde_json::{Value, json};

/// Samples of one thing, all in the same unit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub(crate) fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// The smallest, or nothing of nothing.
    pub(crate) fn min(&self) -> Option<f64> {
        self.percentile(0)
    }

    /// The median.
    pub(crate) fn median(&self) -> Option<f64> {
        self.percentile(50)
    }

    /// The largest.
    pub(crate) fn max(&self) -> Option<f64> {
        self.percentile(100)
    }

    /// The sample that so many percent of all do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied()
    }

    /// How many there are.
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 samples")]
    pub(crate) fn count(&self) -> f64 {
        self.0.len() as f64
    }

    /// Summary alone, where there are too many samples to keep.
    pub(crate) fn summary(&self) -> Value {
        let mut whole = self.to_json();
        if let Some(members) = whole.as_object_mut() {
            members.remove("raw");
        }
        whole
    }

    /// Summary and raw samples.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "n": self.0.len(),
            "min": self.min().map(round),
            "median": self.median().map(round),
            "p95": self.percentile(95).map(round),
            "p99": self.percentile(99).map(round),
            "max": self.max().map(round),
            "raw": self.0.iter().copied().map(round).collect::<Vec<_>>(),
        })
    }
}

/// Three decimals: a microsecond of a millisecond, and no noise behind it in the file.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_that_were_seen() {
        let samples = Samples((1..=40).rev().map(f64::from).collect());
        assert_eq!(samples.min(), Some(1.0));
        assert_eq!(samples.median(), Some(20.0));
        assert_eq!(samples.percentile(95), Some(38.0));
        assert_eq!(samples.max(), Some(40.0));
        assert_eq!(Samples::default().median(), None);
    }
}
