//! Looks for opted-in pods that run unwrapped: those that were created while the webhooks were not
//! registered, or whose label came later.
//!
//! Nothing is done to them; a number and a line in the log say that they are there. Only the leader
//! looks, page by page, and keeps nothing of what it read.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cloudtaser_k8s::{Config, inject::Standing, inject::standing};
use serde_json::Value;
use tracing::warn;

use crate::{
    cluster::{ApiError, Cluster},
    log::chain,
    metrics::{self, Metrics},
    stop::Stop,
};

/// How often is looked.
const EVERY: Duration = Duration::from_secs(60);
/// How soon a replica looks whether it leads by now.
const SOON: Duration = Duration::from_secs(2);
/// Pods of one answer; each is some kilobytes.
const PAGE: usize = 200;
/// Names in one round's log: a list that nobody reads to its end helps nobody.
const MOST_NAMED: usize = 20;

/// What looks.
#[derive(Debug)]
pub(crate) struct Watch {
    cluster: Cluster,
    config: Config,
    metrics: Arc<Metrics>,
}

/// What one round saw.
#[derive(Debug, Default)]
struct Seen {
    counts: BTreeMap<&'static str, i64>,
    unwrapped: Vec<String>,
}

impl Watch {
    pub(crate) const fn new(cluster: Cluster, config: Config, metrics: Arc<Metrics>) -> Self {
        Self { cluster, config, metrics }
    }

    /// Goes on until the program stops.
    pub(crate) fn run(self, stop: &Stop) {
        let mut told = Vec::new();
        loop {
            let leads = self.metrics.leader.get() == 1;
            if leads {
                match self.round() {
                    Ok(seen) => self.tell(seen, &mut told),
                    Err(error) => {
                        self.metrics.api_failures.inc();
                        warn!(error = chain(&error), "pods that run cannot be looked at");
                    }
                }
            }
            if stop.sleep(if leads { EVERY } else { SOON }) {
                return;
            }
        }
    }

    fn round(&self) -> Result<Seen, ApiError> {
        let mut seen = Seen::default();
        for known in ["outdated", "unwrapped", "wrapped"] {
            seen.counts.insert(known, 0);
        }
        let label = cloudtaser_core::names::kubernetes::INJECT.replace('/', "%2F");
        let base = format!("/api/v1/pods?labelSelector={label}%3Dtrue&limit={PAGE}");
        let mut next = String::new();
        loop {
            let path =
                if next.is_empty() { base.clone() } else { format!("{base}&continue={next}") };
            let page = self.cluster.get(&path)?.unwrap_or_default();
            for pod in page.get("items").and_then(Value::as_array).into_iter().flatten() {
                seen.add(pod, &self.config);
            }
            let more = page.pointer("/metadata/continue").and_then(Value::as_str);
            match more.filter(|more| !more.is_empty()) {
                Some(more) => next = encoded(more),
                None => return Ok(seen),
            }
        }
    }

    fn tell(&self, seen: Seen, told: &mut Vec<String>) {
        for (standing, count) in &seen.counts {
            self.metrics.pods.get_or_create(&metrics::Standing { standing }).set(*count);
        }
        if !seen.unwrapped.is_empty() && seen.unwrapped != *told {
            let pods = seen.unwrapped.join(" ");
            let count = seen.counts.get("unwrapped");
            warn!(count, pods, "opted-in pods run without the wrapper: create them anew");
        }
        *told = seen.unwrapped;
    }
}

impl Seen {
    fn add(&mut self, pod: &Value, config: &Config) {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
        // What has ended holds nothing any more.
        if matches!(text("/status/phase"), "Succeeded" | "Failed") {
            return;
        }
        let word = match standing(pod, config) {
            Standing::NotOptedIn => return,
            Standing::Outdated => "outdated",
            Standing::Unwrapped => {
                if self.unwrapped.len() < MOST_NAMED {
                    let name =
                        format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"));
                    self.unwrapped.push(name);
                }
                "unwrapped"
            }
            Standing::Wrapped => "wrapped",
        };
        *self.counts.entry(word).or_default() += 1;
    }
}

/// A mark of the API server's, as a part of a query.
fn encoded(text: &str) -> String {
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.bytes()
        .map(|byte| if kept(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_pages_come_through_a_query() {
        assert_eq!(encoded("aZ9-_."), "aZ9-_.");
        assert_eq!(encoded("a+b=&/"), "a%2Bb%3D%26%2F");
    }
}
