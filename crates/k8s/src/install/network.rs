//! Who may connect to whom in our namespaces.
//!
//! The operator's way out is left open: where the API server, registries and OpenBao are is known
//! to no label of the cluster. The agent has no way out at all.

use cloudtaser_core::names::kubernetes as names;
use serde_json::{Value, json};

use super::contract::METRICS_PORT;
use super::namespaces::{labels, selector};
use super::source::Source;
use super::{AGENT, OPERATOR, Object};

/// A default for each namespace, and one exception each.
pub(super) fn objects(source: &Source<'_>) -> Vec<Object> {
    let (own, nodes) = (source.namespace(), source.leaf("agent.namespace"));
    vec![
        Object::new("network.yaml", closed(source, &own, &["Ingress"])),
        Object::new(
            "network.yaml",
            policy(
                source,
                OPERATOR,
                &own,
                &json!([
                    // From anywhere: an API server has the address of a node, or of none.
                    { "ports": [{ "port": names::WEBHOOK_PORT, "protocol": "TCP" }] },
                    {
                        "from": [{ "namespaceSelector": {} }],
                        "ports": [{ "port": names::METRICS_PORT, "protocol": "TCP" }],
                    },
                ]),
            ),
        ),
        // SECURITY: what root of a node might put into an agent has no network of the pod's.
        Object::new("network.yaml", closed(source, &nodes, &["Egress", "Ingress"]))
            .when("agent.enabled"),
        Object::new(
            "network.yaml",
            policy(
                source,
                AGENT,
                &nodes,
                &json!([
                    // From anywhere: `cloudtaser status` asks through the API server.
                    { "ports": [{ "port": METRICS_PORT, "protocol": "TCP" }] },
                ]),
            ),
        )
        .when("agent.enabled"),
    ]
}

fn closed(source: &Source<'_>, namespace: &Value, types: &[&str]) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": "cloudtaser-closed",
            "namespace": namespace,
            "labels": labels(source, None),
        },
        "spec": { "podSelector": {}, "policyTypes": types },
    })
}

fn policy(source: &Source<'_>, component: &str, namespace: &Value, ingress: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": super::namespaces::metadata(source, component, namespace),
        "spec": {
            "podSelector": { "matchLabels": selector(component) },
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        },
    })
}
