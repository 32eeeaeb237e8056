//! Looks for opted-in pods that run unwrapped: those that were created while the webhooks were not
//! registered, or whose label came later.
//!
//! Nothing is done to them; a number, a line in the log and an event of each say that they are
//! there. Only the leader looks, page by page, and keeps nothing of what it read but names.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use cloudtaser_core::names::kubernetes as names;
use cloudtaser_k8s::{Config, inject::Standing, inject::standing};
use serde_json::{Value, json};
use tracing::warn;

use crate::{
    clock,
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
/// Names in one round's log, and events of one round: a list that nobody reads to its end helps
/// nobody.
const MOST_NAMED: usize = 20;
/// API servers forget an event after an hour; what still holds is then said again.
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// What events are found by.
const REASON: &str = "RunsUnwrapped";
const MESSAGE: &str = "the pod is opted in and runs without the wrapper: it was created while no \
    webhook was registered, or its label came later; delete it, and its controller makes it anew";

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
    unwrapped: Vec<Unwrapped>,
}

/// A pod that runs unwrapped, as events name it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Unwrapped {
    namespace: String,
    name: String,
    uid: String,
}

impl Watch {
    pub(crate) const fn new(cluster: Cluster, config: Config, metrics: Arc<Metrics>) -> Self {
        Self { cluster, config, metrics }
    }

    /// Goes on until the program stops.
    pub(crate) fn run(self, stop: &Stop) {
        let mut told = BTreeMap::new();
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
        let label = names::INJECT.replace('/', "%2F");
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

    fn tell(&self, seen: Seen, told: &mut BTreeMap<Unwrapped, Instant>) {
        for (standing, count) in &seen.counts {
            self.metrics.pods.get_or_create(&metrics::Standing { standing }).set(*count);
        }
        // Who is gone, or was told so long ago that nobody remembers, is told anew.
        told.retain(|pod, at| seen.unwrapped.contains(pod) && at.elapsed() < FORGOTTEN);
        let new: Vec<_> =
            seen.unwrapped.into_iter().filter(|pod| !told.contains_key(pod)).collect();
        if new.is_empty() {
            return;
        }
        let pods: Vec<_> =
            new.iter().map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
        let count = seen.counts.get("unwrapped");
        let pods = pods.join(" ");
        warn!(count, pods, "opted-in pods run without the wrapper: create them anew");
        for pod in new {
            match self.event(&pod) {
                Ok(()) => {}
                // The log and the number have said it; nobody is asked again for what is refused.
                Err(error) => warn!(error = chain(&error), "no event of a pod can be written"),
            }
            told.insert(pod, Instant::now());
        }
    }

    /// Says it where the pod's owner looks.
    fn event(&self, pod: &Unwrapped) -> Result<(), ApiError> {
        let path = format!("/api/v1/namespaces/{}/events", pod.namespace);
        match self.cluster.create(&path, &pod.event(&clock::micro_time())) {
            // Another leader has said it within the hour.
            Err(error) if error.is_conflict() => Ok(()),
            done => done.map(drop),
        }
    }
}

impl Unwrapped {
    fn of(pod: &Value) -> Self {
        let text = |pointer: &str| {
            pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        Self {
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
            uid: text("/metadata/uid"),
        }
    }

    /// One name for one pod, so that it is said once. A pod's name and uid are a name together.
    fn event(&self, now: &str) -> Value {
        let Self { namespace, name, uid } = self;
        let tail = uid.split('-').next().unwrap_or_default();
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "name": format!("{name}.unwrapped-{tail}"), "namespace": namespace },
            "action": "Watch",
            "eventTime": now,
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "name": name, "namespace": namespace, "uid": uid,
            },
            "message": MESSAGE,
            "reason": REASON,
            "reportingComponent": names::OPERATOR,
            "reportingInstance": names::OPERATOR,
            "type": "Warning",
        })
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
                    self.unwrapped.push(Unwrapped::of(pod));
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
