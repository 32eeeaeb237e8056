//! What a running cluster has: policies, and the workloads that they are about.
//!
//! Each object becomes a text of its own, as `kubectl get -o yaml` would show it without what the
//! cluster keeps for itself, so that a finding points into something that a person can look up.

use cloudtaser_compose::{Source, finding::Problem};
use serde_json::Value;

use crate::{
    cluster::{ApiError, Cluster},
    ui,
};

/// Kinds that are asked for: group and version, kind, plural. Pods last: most belong to a workload.
const KINDS: &[(&str, &str, &str)] = &[
    ("v1", "Namespace", "namespaces"),
    ("security.kubearmor.com/v1", "KubeArmorPolicy", "kubearmorpolicies"),
    ("security.kubearmor.com/v1", "KubeArmorClusterPolicy", "kubearmorclusterpolicies"),
    ("security.kubearmor.com/v1", "KubeArmorHostPolicy", "kubearmorhostpolicies"),
    ("security.kubearmor.com/v1", "KubeArmorNetworkPolicy", "kubearmornetworkpolicies"),
    ("operator.kubearmor.com/v1", "KubeArmorConfig", "kubearmorconfigs"),
    ("cilium.io/v1alpha1", "TracingPolicy", "tracingpolicies"),
    ("cilium.io/v1alpha1", "TracingPolicyNamespaced", "tracingpoliciesnamespaced"),
    ("cilium.io/v2", "CiliumNetworkPolicy", "ciliumnetworkpolicies"),
    ("cilium.io/v2", "CiliumClusterwideNetworkPolicy", "ciliumclusterwidenetworkpolicies"),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    ("apps/v1", "Deployment", "deployments"),
    ("apps/v1", "StatefulSet", "statefulsets"),
    ("apps/v1", "DaemonSet", "daemonsets"),
    ("batch/v1", "CronJob", "cronjobs"),
    ("batch/v1", "Job", "jobs"),
    ("v1", "Pod", "pods"),
];

/// Settings of the other tools, where their charts put them.
const SETTINGS: &[(&str, &str)] = &[
    ("kube-system", "tetragon-config"),
    ("kube-system", "kubearmor-config"),
    ("kubearmor", "kubearmor-config"),
];

/// What is in metadata that the cluster keeps for itself.
const KEPT: &[&str] =
    &["creationTimestamp", "generation", "managedFields", "resourceVersion", "uid"];

/// kubectl's own copy of the object.
const COPY: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What was found, and what could not be asked for.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) sources: Vec<Source>,
    pub(super) problems: Vec<Problem>,
}

/// Asks for everything that a check is about.
///
/// # Errors
/// Where the API server cannot be reached, or takes us for nobody.
pub(super) fn read(cluster: &Cluster) -> Result<Live, ApiError> {
    let mut live = Live::default();
    for (version, kind, plural) in KINDS {
        let root = if version.contains('/') { "apis" } else { "api" };
        match cluster.list(&format!("/{root}/{version}/{plural}"), "") {
            Ok(items) => {
                for item in items {
                    live.add(version, kind, item);
                }
            }
            // The tool is not installed.
            Err(ApiError::Server { status: 404, .. }) => {}
            Err(error @ ApiError::Forbidden { .. }) => live.problem(plural, &error),
            Err(error) => return Err(error),
        }
    }
    for (namespace, name) in SETTINGS {
        match cluster.get(&format!("/api/v1/namespaces/{namespace}/configmaps/{name}")) {
            Ok(Some(object)) => live.add("v1", "ConfigMap", object),
            Ok(None) => {}
            Err(error @ ApiError::Forbidden { .. }) => live.problem(name, &error),
            Err(error) => return Err(error),
        }
    }
    Ok(live)
}

impl Live {
    fn add(&mut self, version: &str, kind: &str, mut object: Value) {
        let owned = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        if matches!(kind, "Pod" | "Job") && owned.is_some_and(|owners| !owners.is_empty()) {
            return; // its owner is among the objects
        }
        tidy(&mut object);
        if let Value::Object(fields) = &mut object {
            // Members of a list do not say it.
            fields.insert("apiVersion".to_owned(), version.into());
            fields.insert("kind".to_owned(), kind.into());
        }
        let name = title(kind, &object);
        match serde_saphyr::to_string(&object) {
            Ok(text) => self.sources.push(Source::new(name, text)),
            Err(error) => self.problem(&name, &error),
        }
    }

    fn problem(&mut self, what: &str, why: &dyn std::fmt::Display) {
        let source = self.sources.len();
        self.sources.push(Source::new(what, ""));
        let words = format!("not looked at: {why}");
        self.problems.push(Problem { source, span: 0..0, words, skipped: true });
    }
}

/// What it is called: `TracingPolicy payments/no-ptrace`.
fn title(kind: &str, object: &Value) -> String {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let place = if namespace.is_empty() { "" } else { "/" };
    ui::printable(&format!("{kind} {namespace}{place}{name}"))
}

fn tidy(object: &mut Value) {
    let Value::Object(fields) = object else { return };
    fields.remove("status");
    let Some(Value::Object(metadata)) = fields.get_mut("metadata") else { return };
    for field in KEPT {
        metadata.remove(*field);
    }
    if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
        annotations.remove(COPY);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
}

/// What `--fix` would change in the cluster, as a patch for a person to look at and to apply.
pub(super) fn patch(before: &[Source], after: &[Source]) -> String {
    let mut out = String::new();
    for (old, new) in before.iter().zip(after).filter(|(old, new)| old.text() != new.text()) {
        let diff = similar::TextDiff::from_lines(old.text(), new.text());
        let name = old.name();
        out += &diff.unified_diff().context_radius(3).header(name, name).to_string();
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_cluster_keeps_for_itself_is_not_shown() {
        let mut live = Live::default();
        let metadata = json!({ "name": "p", "namespace": "n", "uid": "x", "managedFields": [],
            "annotations": { (COPY): "{}" } });
        live.add("v1", "Pod", json!({ "metadata": metadata, "spec": {}, "status": { "a": 1 } }));
        let source = live.sources.remove(0);
        assert_eq!(source.name(), "Pod n/p");
        for gone in ["uid", "managedFields", "annotations", "status"] {
            assert!(!source.text().contains(gone), "{}", source.text());
        }
        assert!(source.text().contains("kind: Pod"), "{}", source.text());
        let owned = json!({ "metadata": { "name": "p", "ownerReferences": [{}] } });
        live.add("v1", "Pod", owned);
        assert!(live.sources.is_empty());
    }

    #[test]
    fn a_patch_has_only_what_changes() {
        let (old, new) = (Source::new("A n/a", "x: 1\n"), Source::new("A n/a", "x: 1\ny: 2\n"));
        let same = Source::new("B n/b", "z: 1\n");
        let patch = patch(&[old, same.clone()], &[new, same]);
        assert!(patch.contains("+++ A n/a") && patch.contains("+y: 2"), "{patch}");
        assert!(!patch.contains("B n/b"), "{patch}");
    }
}
