//! What is counted, in Prometheus' text form. Labels are words of ours, never a name of a pod.

use std::sync::atomic::AtomicU64;

use cloudtaser_core::names::operator_metrics as names;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// From a tenth of what a review costs to what the API server waits at most.
const BUCKETS: [f64; 12] =
    [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0, 10.0];

/// All that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) reviews: Family<Review, Counter>,
    pub(crate) review_seconds: Family<Path, Histogram>,
    pub(crate) refusals: Family<Kind, Counter>,
    pub(crate) images: Family<Outcome, Counter>,
    pub(crate) pods: Family<Standing, Gauge>,
    pub(crate) connections: Gauge,
    pub(crate) handshakes_failed: Counter,
    pub(crate) ready: Gauge,
    pub(crate) leader: Gauge,
    pub(crate) certificate_end: Gauge,
    pub(crate) rotations: Counter,
    pub(crate) bundle_writes: Counter,
    pub(crate) api_failures: Counter<u64, AtomicU64>,
}

/// A review by where it came in, and what came of it.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct Review {
    pub(crate) path: &'static str,
    pub(crate) outcome: &'static str,
}

/// Where a review came in.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct Path {
    pub(crate) path: &'static str,
}

/// Why a pod was refused.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct Kind {
    pub(crate) kind: &'static str,
}

/// What came of a look-up.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) outcome: &'static str,
}

/// How an opted-in pod that runs stands to what it asked for.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct Standing {
    pub(crate) standing: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut all = Self {
            registry: Registry::default(),
            reviews: Family::default(),
            review_seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            refusals: Family::default(),
            images: Family::default(),
            pods: Family::default(),
            connections: Gauge::default(),
            handshakes_failed: Counter::default(),
            ready: Gauge::default(),
            leader: Gauge::default(),
            certificate_end: Gauge::default(),
            rotations: Counter::default(),
            bundle_writes: Counter::default(),
            api_failures: Counter::default(),
        };
        let registry = &mut all.registry;
        registry.register(names::REVIEWS, "Reviews", all.reviews.clone());
        let seconds = names::REVIEW_SECONDS.trim_end_matches("_seconds");
        let clone = all.review_seconds.clone();
        registry.register_with_unit(seconds, "How long a review took", Unit::Seconds, clone);
        registry.register(names::REFUSALS, "Pods that were refused", all.refusals.clone());
        registry.register(names::IMAGES, "Look-ups of images", all.images.clone());
        registry.register(names::PODS, "Opted-in pods", all.pods.clone());
        registry.register(names::CONNECTIONS, "Open connections", all.connections.clone());
        let clone = all.handshakes_failed.clone();
        registry.register(names::HANDSHAKES_FAILED, "Handshakes that failed", clone);
        let text = "Whether the API server trusts this replica";
        registry.register(names::READY, text, all.ready.clone());
        registry.register(names::LEADER, "Whether this replica leads", all.leader.clone());
        let clone = all.certificate_end.clone();
        registry.register(names::CERTIFICATE_END, "End of the certificate in use", clone);
        registry.register(names::ROTATIONS, "Certificates taken into use", all.rotations.clone());
        let clone = all.bundle_writes.clone();
        registry.register(names::BUNDLE_WRITES, "Writes of the CA bundle", clone);
        let clone = all.api_failures.clone();
        registry.register(names::API_FAILURES, "Failed requests to the API server", clone);
        all
    }

    /// The text of now.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _never = encode(&mut text, &self.registry);
        text
    }
}
