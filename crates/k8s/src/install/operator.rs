//! The operator: Deployment, Service, disruption budget.
//!
//! Its pod passes the restricted Pod Security Standard, and its namespace demands that.

use cloudtaser_core::names::kubernetes as names;
use serde_json::{Value, json};

use super::contract::operator::{FOLDER, NAMESPACE, POD, PROGRAM, UID};
use super::namespaces::{labels, metadata, selector};
use super::source::Source;
use super::{OPERATOR, Object};

const FILE: &str = "operator.yaml";

/// The numeric user of our images; numeric, so that kubelet can tell that it is not root.
const USER: u32 = 65532;

/// Everything but its rights.
pub(super) fn objects(source: &Source<'_>) -> Vec<Object> {
    let namespace = source.namespace();
    let metadata = metadata(source, OPERATOR, &namespace);
    let matched = json!({ "matchLabels": selector(OPERATOR) });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "selector": selector(OPERATOR),
            "ports": [
                { "name": "webhook", "port": 443, "protocol": "TCP", "targetPort": "webhook" },
                { "name": "http", "port": names::METRICS_PORT, "protocol": "TCP", "targetPort": "http" },
            ],
        },
    });
    let budget = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        // Not a least number: with one replica that would block every drain.
        "spec": { "maxUnavailable": 1, "selector": matched },
    });
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": source.leaf("operator.replicas"),
            "revisionHistoryLimit": 3,
            "selector": matched,
            // A new one answers before an old one goes: there is no review without an answer.
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 },
            },
            "template": {
                "metadata": {
                    // It reads its configuration once: another one is another pod.
                    "annotations": { "cloudtaser.io/values": source.digest() },
                    "labels": labels(source, Some(OPERATOR)),
                },
                "spec": pod(source, &matched),
            },
        },
    });
    [service, budget, deployment].into_iter().map(|json| Object::new(FILE, json)).collect()
}

fn pod(source: &Source<'_>, matched: &Value) -> Value {
    json!({
        "automountServiceAccountToken": true,
        "containers": [container(source)],
        "imagePullSecrets": source.leaf("images.pullSecrets"),
        "nodeSelector": source.leaf("operator.nodeSelector"),
        "priorityClassName": source.leaf("operator.priorityClassName"),
        "securityContext": {
            "runAsGroup": USER,
            "runAsNonRoot": true,
            "runAsUser": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "serviceAccountName": OPERATOR,
        "tolerations": source.leaf("operator.tolerations"),
        // Not a demand: on a cluster of one node the second replica still has a place.
        "topologySpreadConstraints": [
            spread("kubernetes.io/hostname", matched),
            spread("topology.kubernetes.io/zone", matched),
        ],
        "volumes": [{ "name": "configuration", "configMap": { "name": OPERATOR } }],
    })
}

fn spread(key: &str, matched: &Value) -> Value {
    json!({
        "labelSelector": matched,
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
    })
}

fn container(source: &Source<'_>) -> Value {
    let probe = |path: &str, more: Value| {
        let mut probe = json!({ "httpGet": { "path": path, "port": "http" } });
        if let (Some(probe), Value::Object(more)) = (probe.as_object_mut(), more) {
            probe.extend(more);
        }
        probe
    };
    json!({
        "name": "operator",
        "image": source.leaf("images.operator"),
        "imagePullPolicy": source.leaf("images.pullPolicy"),
        "command": [PROGRAM],
        "env": environment(),
        "ports": [
            { "name": "webhook", "containerPort": names::WEBHOOK_PORT, "protocol": "TCP" },
            { "name": "http", "containerPort": names::METRICS_PORT, "protocol": "TCP" },
        ],
        "livenessProbe": probe(names::HEALTH_PATH, json!({ "periodSeconds": 10, "failureThreshold": 6 })),
        // Often: a replica that cannot answer reviews must leave the Service at once.
        "readinessProbe": probe(names::READY_PATH, json!({ "periodSeconds": 2, "failureThreshold": 2 })),
        "resources": source.leaf("operator.resources"),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{ "mountPath": FOLDER, "name": "configuration", "readOnly": true }],
    })
}

/// Names of services, webhooks and ports are the program's own defaults.
fn environment() -> Value {
    let own = |field: &str| json!({ "fieldRef": { "fieldPath": field } });
    json!([
        { "name": POD, "valueFrom": own("metadata.name") },
        { "name": NAMESPACE, "valueFrom": own("metadata.namespace") },
        { "name": UID, "valueFrom": own("metadata.uid") },
    ])
}
