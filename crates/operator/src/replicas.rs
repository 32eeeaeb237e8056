//! What each replica tells the others: its authorities, in a Lease of its own.
//!
//! An authority is public; its key is gone, and the leaf's key stays in the replica's memory. A
//! replica whose Lease stands still is gone, and is trusted no longer.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    bundle::Bundle,
    clock,
    cluster::{ApiError, Cluster},
};

/// Where the authorities stand, as PEM text.
const AUTHORITIES: &str = "cloudtaser.io/serving-authorities";
/// Marks the Leases of replicas.
const LABEL: (&str, &str) = ("cloudtaser.io/lease", "operator-replica");
/// How long a replica is believed to live after its last sign.
const LASTS: Duration = Duration::from_secs(30);
/// How often it gives one.
const RENEWS: Duration = Duration::from_secs(8);

/// Who this replica is.
#[derive(Clone, Debug)]
pub(crate) struct Me {
    /// Name of its pod.
    pub(crate) pod: String,
    /// UID of its pod.
    pub(crate) uid: Option<String>,
}

/// The Leases of all replicas.
#[derive(Debug)]
pub(crate) struct Replicas {
    collection: String,
    me: Me,
    /// What this replica said last, and when.
    said: Option<(String, Instant)>,
    /// What the others' Leases looked like, and since when.
    watched: BTreeMap<String, (Value, Instant)>,
}

impl Replicas {
    pub(crate) fn new(collection: &str, me: Me) -> Self {
        let collection = collection.to_owned();
        Self { collection, me, said: None, watched: BTreeMap::new() }
    }

    /// Tells the others what is to be trusted of this replica, where that is due.
    ///
    /// # Errors
    /// [`ApiError`].
    pub(crate) fn say(
        &mut self,
        cluster: &Cluster,
        authorities: &str,
        now: Instant,
    ) -> Result<(), ApiError> {
        if let Some((said, at)) = &self.said
            && said == authorities
            && now.saturating_duration_since(*at) < RENEWS
        {
            return Ok(());
        }
        let path = self.path();
        let done = match cluster.get(&path)? {
            Some(there) => cluster.replace(&path, &self.lease(&there, authorities)),
            None => cluster.create(&self.collection, &self.lease(&json!({}), authorities)),
        };
        match done {
            Ok(_) => {
                self.said = Some((authorities.to_owned(), now));
                Ok(())
            }
            // Read anew the next time.
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The authorities of all replicas that live, as far as their Leases show it.
    ///
    /// # Errors
    /// [`ApiError`].
    pub(crate) fn bundle(&mut self, cluster: &Cluster, now: Instant) -> Result<Bundle, ApiError> {
        let label = LABEL.0.replace('/', "%2F");
        let query = format!("{}?labelSelector={label}%3D{}", self.collection, LABEL.1);
        let list = cluster.get(&query)?.unwrap_or_default();
        let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(self.living(&items, now))
    }

    fn living(&mut self, leases: &[Value], now: Instant) -> Bundle {
        let mut bundle = Bundle::default();
        let mut seen = BTreeMap::new();
        for lease in leases {
            let Some(name) = lease.pointer("/metadata/name").and_then(Value::as_str) else {
                continue;
            };
            let state = lease.get("spec").cloned().unwrap_or_default();
            let since = match self.watched.get(name) {
                Some((known, since)) if *known == state => *since,
                // A leader that is new believes everybody at first: trusting an authority whose
                // key is gone does no harm, and not trusting one in use would.
                _ => now,
            };
            seen.insert(name.to_owned(), (state, since));
            if now.saturating_duration_since(since) < LASTS {
                let annotations = lease.pointer("/metadata/annotations");
                let text = annotations.and_then(|all| all.get(AUTHORITIES)?.as_str());
                bundle.add(text.unwrap_or_default());
            }
        }
        self.watched = seen;
        bundle
    }

    /// Takes this replica's Lease away.
    ///
    /// # Errors
    /// [`ApiError`].
    pub(crate) fn leave(&mut self, cluster: &Cluster) -> Result<(), ApiError> {
        self.said = None;
        cluster.delete(&self.path())
    }

    fn path(&self) -> String {
        format!("{}/{}", self.collection, self.name())
    }

    fn name(&self) -> String {
        format!("replica-{}", self.me.pod)
    }

    fn lease(&self, there: &Value, authorities: &str) -> Value {
        let mut metadata = json!({
            "name": self.name(),
            "labels": {LABEL.0: LABEL.1},
            "annotations": {AUTHORITIES: authorities},
        });
        if let Some(members) = metadata.as_object_mut() {
            if let Some(version) = there.pointer("/metadata/resourceVersion") {
                members.insert("resourceVersion".to_owned(), version.clone());
            }
            if let Some(uid) = &self.me.uid {
                // The cluster removes the Lease of a pod that is gone.
                let owner = json!([{
                    "apiVersion": "v1", "kind": "Pod", "name": self.me.pod, "uid": uid,
                }]);
                members.insert("ownerReferences".to_owned(), owner);
            }
        }
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
            "spec": {
                "holderIdentity": self.me.pod,
                "leaseDurationSeconds": LASTS.as_secs(),
                "renewTime": clock::micro_time(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----";

    fn replicas() -> Replicas {
        Replicas::new("/leases", Me { pod: "p".to_owned(), uid: Some("u".to_owned()) })
    }

    #[test]
    fn a_replica_whose_lease_stands_still_is_trusted_no_longer() {
        let (mut replicas, start) = (replicas(), Instant::now());
        let mut lease = replicas.lease(&json!({}), A);
        assert!(replicas.living(&[lease.clone()], start).has(A));
        assert!(replicas.living(&[lease.clone()], start + LASTS / 2).has(A));
        assert!(replicas.living(&[lease.clone()], start + LASTS).is_empty());
        lease["spec"]["renewTime"] = json!("later");
        assert!(replicas.living(&[lease], start + LASTS).has(A));
        assert!(replicas.living(&[], start + LASTS).is_empty());
    }

    #[test]
    fn a_lease_goes_with_its_pod_and_has_no_key() {
        let lease = replicas().lease(&json!({"metadata": {"resourceVersion": "3"}}), A);
        assert_eq!(lease["metadata"]["ownerReferences"][0]["uid"], "u");
        assert_eq!(lease["metadata"]["resourceVersion"], "3");
        assert!(!lease.to_string().contains("PRIVATE"));
    }
}
