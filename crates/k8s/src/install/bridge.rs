//! What a cluster that is enrolled at a bridge has besides: a broker that pods reach, and a place for
//! the cluster's key.
//!
//! The broker is in the operator's pods; its Service and the rule of the network are its own, since
//! who reaches it can be a program of this cluster for the bridge. The Secret is made empty: what is
//! in it comes from the operator, and no installation ever writes or takes away a field of it.

use cloudtaser_core::names::kubernetes as names;
use serde_json::{Value, json};

use super::namespaces::{labels, selector};
use super::source::Source;
use super::{OPERATOR, Object};

const FILE: &str = "bridge.yaml";
/// The value that asks for all this.
pub(super) const WHEN: &str = "bridge.enabled";

/// Secret, Service and rule of the network.
pub(super) fn objects(source: &Source<'_>) -> Vec<Object> {
    let metadata = |name: &str| {
        json!({
            "name": name, "namespace": source.namespace(), "labels": labels(source, Some(OPERATOR)),
        })
    };
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(names::CLUSTER_SECRET),
        "type": "cloudtaser.io/cluster",
    });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(names::BROKER),
        "spec": {
            "selector": selector(OPERATOR),
            "ports": [{
                "name": "broker", "port": names::BROKER_PORT, "protocol": "TCP",
                "targetPort": names::BROKER_PORT,
            }],
        },
    });
    let network = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(names::BROKER),
        "spec": {
            "podSelector": { "matchLabels": selector(OPERATOR) },
            "policyTypes": ["Ingress"],
            "ingress": [{
                // SECURITY: who can knock here can be this cluster, so nobody can who was not opted in.
                "from": [{
                    "namespaceSelector": {},
                    "podSelector": { "matchLabels": { names::INJECT: "true" } },
                }],
                "ports": [{ "port": names::BROKER_PORT, "protocol": "TCP" }],
            }],
        },
    });
    [secret, service, network].map(|json| Object::new(FILE, json).when(WHEN)).into()
}

/// The Secret that an invitation is brought in, without it: whoever brings it adds it last.
#[must_use]
pub fn invitation(namespace: &str) -> Value {
    let source = Source::Chosen { values: &Value::Null, namespace };
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": names::INVITATION_SECRET,
            "namespace": namespace,
            "labels": labels(&source, Some(OPERATOR)),
        },
        "type": "cloudtaser.io/invitation",
    })
}
