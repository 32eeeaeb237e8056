//! Admission: who is asked about which pods, and what happens when nobody answers.
//!
//! `failurePolicy: Fail` reaches opted-in pods alone: the selector is a label of the pod, so that a
//! dead operator blocks nothing that did not ask for it. `caBundle` is not here: the operator
//! writes it, and since it is applied by nobody else, no later installation takes it away.

use cloudtaser_core::names::kubernetes as names;
use serde_json::{Value, json};

use super::namespaces::labels;
use super::source::Source;
use super::{OPERATOR, Object, WEBHOOKS};

const FILE: &str = "webhooks.yaml";

/// Both configurations.
pub(super) fn objects(source: &Source<'_>) -> Vec<Object> {
    let pods = json!([rule(&["CREATE"], "pods")]);
    // A debugger in a pod is new code in it, and is refused or let in by rule.
    let all = json!([rule(&["CREATE"], "pods"), rule(&["UPDATE"], "pods/ephemeralcontainers")]);
    let mut inject = webhook(source, names::MUTATING_WEBHOOK, names::MUTATE_PATH, &pods);
    if let Some(inject) = inject.as_object_mut() {
        // Others add containers after us, and ServiceAccount mounts come between the two calls.
        inject.insert("reinvocationPolicy".to_owned(), "IfNeeded".into());
    }
    let refuse = webhook(source, names::VALIDATING_WEBHOOK, names::VALIDATE_PATH, &all);
    let configuration = |kind: &str, webhook: Value| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": { "name": WEBHOOKS, "labels": labels(source, Some(OPERATOR)) },
            "webhooks": [webhook],
        })
    };
    vec![
        Object::new(FILE, configuration("ValidatingWebhookConfiguration", refuse)),
        Object::new(FILE, configuration("MutatingWebhookConfiguration", inject)),
    ]
}

fn rule(operations: &[&str], resource: &str) -> Value {
    json!({
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": operations,
        "resources": [resource],
        "scope": "Namespaced",
    })
}

fn webhook(source: &Source<'_>, name: &str, path: &str, rules: &Value) -> Value {
    let own = [source.namespace(), source.leaf("agent.namespace")];
    let namespace = |values: Value| json!({ "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": values });
    json!({
        "name": name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": { "service": {
            "name": OPERATOR, "namespace": source.namespace(), "path": path, "port": 443,
        } },
        "failurePolicy": "Fail",
        "matchConditions": [{
            // The API server's picture of a file on a node: nothing that is changed here would run.
            "name": "no-mirror-pods",
            "expression": "!('kubernetes.io/config.mirror' in object.metadata.?annotations.orValue({}))",
        }],
        "matchPolicy": "Equivalent",
        "namespaceSelector": { "matchExpressions": [
            // SECURITY: an operator that waits for its own review would never come up.
            namespace(json!(own)),
            namespace(source.leaf("webhook.excludedNamespaces")),
        ] },
        "objectSelector": { "matchLabels": { names::INJECT: "true" } },
        "rules": rules,
        "sideEffects": "None",
        "timeoutSeconds": source.leaf("webhook.timeoutSeconds"),
    })
}
