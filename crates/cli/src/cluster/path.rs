//! Which address an object has. Only kinds that an installation has are known.

use serde_json::Value;

/// Kinds: group and version, kind, plural, whether it is in a namespace.
const KINDS: &[(&str, &str, &str, bool)] = &[
    (
        "admissionregistration.k8s.io/v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        false,
    ),
    (
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        false,
    ),
    ("apps/v1", "DaemonSet", "daemonsets", true),
    ("apps/v1", "Deployment", "deployments", true),
    ("authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", false),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", true),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", true),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", false),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", false),
    ("rbac.authorization.k8s.io/v1", "Role", "roles", true),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", true),
    ("v1", "ConfigMap", "configmaps", true),
    ("v1", "Namespace", "namespaces", false),
    ("v1", "ResourceQuota", "resourcequotas", true),
    ("v1", "Secret", "secrets", true),
    ("v1", "Service", "services", true),
    ("v1", "ServiceAccount", "serviceaccounts", true),
];

/// The path of a kind's objects, in a namespace where the kind is in one.
pub(crate) fn collection(api_version: &str, kind: &str, namespace: &str) -> Option<String> {
    let (_, _, plural, namespaced) =
        KINDS.iter().find(|each| each.0 == api_version && each.1 == kind)?;
    let root = if api_version.contains('/') { "apis" } else { "api" };
    let place = if *namespaced { format!("/namespaces/{namespace}") } else { String::new() };
    Some(format!("/{root}/{api_version}{place}/{plural}"))
}

/// The path of an object.
pub(crate) fn of_object(object: &Value) -> Option<String> {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
    let namespace = text("/metadata/namespace").unwrap_or_default();
    let all = collection(text("/apiVersion")?, text("/kind")?, namespace)?;
    Some(format!("{all}/{}", text("/metadata/name")?))
}

#[cfg(test)]
mod tests {
    use cloudtaser_k8s::install::{Values, objects};

    use super::*;

    #[test]
    fn every_object_of_an_installation_has_an_address() {
        for object in objects(&Values::default(), "ours") {
            let path = of_object(&object.json);
            assert!(path.is_some(), "{} {}", object.api_version(), object.kind());
            let within = path.unwrap().contains("/namespaces/") && object.kind() != "Namespace";
            assert_eq!(within, !object.namespace().is_empty(), "{}", object.kind());
        }
    }
}
