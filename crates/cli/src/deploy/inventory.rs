//! What an installation has put on a cluster, found by its labels: also what a half of one left, or
//! one of an earlier version.

use cloudtaser_core::names::kubernetes::CLUSTER_SECRET;
use cloudtaser_k8s::install::{CREATED, MANAGED_BY, NAME};
use serde_json::Value;

use crate::cluster::{ApiError, Cluster, collection, of_object};

/// Of these only their names are read.
const SECRET: &str = "Secret";

/// Kinds that an installation may have, in the order in which they are taken away: first those that
/// others wait for.
const KINDS: &[(&str, &str)] = &[
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "Deployment"),
    ("v1", "ConfigMap"),
    ("v1", SECRET),
    ("v1", "Service"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("v1", "ResourceQuota"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("v1", "ServiceAccount"),
    ("v1", "Namespace"),
];

/// An object that is there.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) kind: &'static str,
    pub(super) path: String,
    pub(super) json: Value,
}

impl Found {
    pub(super) fn text(&self, pointer: &str) -> &str {
        self.json.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// `Deployment cloudtaser-system/cloudtaser-operator`.
    pub(super) fn shown(&self) -> String {
        shown(&self.json)
    }

    pub(super) fn is_helms(&self) -> bool {
        self.text("/metadata/labels/app.kubernetes.io~1managed-by") == "Helm"
    }

    /// Whether this is where the cluster's key lies.
    pub(super) fn is_clusters_key(&self) -> bool {
        self.kind == SECRET && self.text("/metadata/name") == CLUSTER_SECRET
    }

    /// Whether an installation made this namespace.
    pub(super) fn is_ours_to_remove(&self) -> bool {
        self.kind != "Namespace" || was_created(&self.json)
    }
}

/// Whether an installation made this namespace.
pub(super) fn was_created(namespace: &Value) -> bool {
    let annotations = namespace.pointer("/metadata/annotations");
    annotations.and_then(|all| all.get(CREATED)).and_then(Value::as_str) == Some("true")
}

/// An object in words.
pub(super) fn shown(object: &Value) -> String {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (kind, name) = (text("/kind"), text("/metadata/name"));
    match text("/metadata/namespace") {
        "" => format!("{kind} {name}"),
        namespace => format!("{kind} {namespace}/{name}"),
    }
}

/// Everything with our name that we or Helm manage.
pub(super) fn find(cluster: &Cluster) -> Result<Vec<Found>, ApiError> {
    let query = format!(
        "&labelSelector=app.kubernetes.io%2Fname%3D{NAME}%2C{}%20in%20%28{NAME}%2CHelm%29",
        MANAGED_BY.replace('/', "%2F"),
    );
    let mut all = Vec::new();
    for (version, kind) in KINDS {
        // Of all namespaces: where the agents are is a value, and may have been another one.
        let path = collection(version, kind, "").unwrap_or_default().replace("/namespaces//", "/");
        let items = match cluster.list(&path, &query) {
            // Only an installation with a bridge has any; without the right there is none to remove.
            Err(ApiError::Forbidden { .. }) if *kind == SECRET => Vec::new(),
            items => items?,
        };
        for mut item in items {
            // A list leaves out what all its items have in common.
            if let Some(item) = item.as_object_mut() {
                item.insert("apiVersion".to_owned(), (*version).into());
                item.insert("kind".to_owned(), (*kind).into());
            }
            let path = of_object(&item).unwrap_or_default();
            all.push(Found { kind, path, json: item });
        }
    }
    Ok(all)
}
