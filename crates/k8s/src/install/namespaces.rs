//! Two namespaces, so that the one where reviews are answered admits nothing privileged, and who
//! may create pods beside the operator cannot have the node.

use serde_json::{Value, json};

use super::contract::NAME;
use super::source::Source;
use super::{AGENT, OPERATOR, Object};

/// Namespaces and ServiceAccounts.
pub(super) fn objects(source: &Source<'_>) -> Vec<Object> {
    let mut objects = Vec::new();
    // Helm makes the namespace of a release itself.
    if !matches!(source, Source::Chart) {
        let own = namespace(source, &source.namespace(), "restricted");
        objects.push(Object::new("operator.yaml", own));
    }
    let agents = namespace(source, &source.leaf("agent.namespace"), "privileged");
    objects.push(Object::new("agent.yaml", agents).when("agent.enabled"));
    objects.push(Object::new("operator.yaml", account(source, OPERATOR, &source.namespace())));
    let agents = account(source, AGENT, &source.leaf("agent.namespace"));
    objects.push(Object::new("agent.yaml", agents).when("agent.enabled"));
    objects
}

fn namespace(source: &Source<'_>, name: &Value, level: &str) -> Value {
    let mut labels = labels(source, None);
    for mode in ["enforce", "audit", "warn"] {
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(format!("pod-security.kubernetes.io/{mode}"), level.into());
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": name, "labels": labels },
    })
}

fn account(source: &Source<'_>, name: &str, namespace: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": name, "namespace": namespace, "labels": labels(source, Some(name)) },
        // The operator's pod asks for its token; nobody else gets one by being there.
        "automountServiceAccountToken": false,
    })
}

/// Labels of every object; `component` is the program that it is for.
pub(super) fn labels(source: &Source<'_>, component: Option<&str>) -> Value {
    let mut labels = json!({
        "app.kubernetes.io/managed-by": source.managed_by(),
        "app.kubernetes.io/name": NAME,
        "app.kubernetes.io/part-of": NAME,
    });
    if let (Some(component), Some(labels)) = (component, labels.as_object_mut()) {
        labels.insert("app.kubernetes.io/component".to_owned(), component.into());
    }
    labels
}

/// What selects the pods of a program. A selector cannot be changed later, so it has no version.
pub(super) fn selector(component: &str) -> Value {
    json!({ "app.kubernetes.io/component": component, "app.kubernetes.io/name": NAME })
}

/// Name, namespace and labels of an object of a program.
pub(super) fn metadata(source: &Source<'_>, component: &str, namespace: &Value) -> Value {
    json!({ "name": component, "namespace": namespace, "labels": labels(source, Some(component)) })
}
