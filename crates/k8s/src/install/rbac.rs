//! What the operator may do on the cluster, rule by rule, each with its reason and with what is
//! lost without it. The node agent may do nothing.
//!
//! Never here: reading Secrets beyond the one optional rule, listing them at all, tokens of
//! ServiceAccounts, pods beyond looking at them, and wildcards.

use serde_json::{Value, json};

use super::contract::operator::LEASE;
use super::namespaces::{labels, metadata};
use super::source::Source;
use super::{OPERATOR, Object, WEBHOOKS};

const FILE: &str = "rbac.yaml";

/// One rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Grant {
    /// API group; empty for the core.
    pub group: &'static str,
    /// Resource, with its subresource.
    pub resource: &'static str,
    /// What may be done.
    pub verbs: &'static [&'static str],
    /// With which objects; empty for all.
    pub names: &'static [&'static str],
    /// Where.
    pub scope: Scope,
    /// What for.
    pub why: &'static str,
    /// What fails without it.
    pub without: &'static str,
}

/// Where a rule holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// On the whole cluster.
    Cluster,
    /// On the whole cluster, where the values ask for it.
    ClusterIfAsked,
    /// In the operator's namespace.
    Own,
}

const GRANTS: &[Grant] = &[
    Grant {
        group: "admissionregistration.k8s.io",
        resource: "mutatingwebhookconfigurations",
        verbs: &["get", "patch"],
        names: &[WEBHOOKS],
        scope: Scope::Cluster,
        why: "writes the caBundle of its own certificate",
        without: "the API server does not trust the operator, and opted-in pods are refused",
    },
    Grant {
        group: "admissionregistration.k8s.io",
        resource: "validatingwebhookconfigurations",
        verbs: &["get", "patch"],
        names: &[WEBHOOKS],
        scope: Scope::Cluster,
        why: "writes the caBundle of its own certificate",
        without: "the API server does not trust the operator, and opted-in pods are refused",
    },
    Grant {
        group: "",
        resource: "pods",
        verbs: &["list", "watch"],
        names: &[],
        scope: Scope::Cluster,
        why: "finds opted-in pods that run unwrapped",
        without: "nobody is told of opted-in pods that run unprotected",
    },
    Grant {
        group: "events.k8s.io",
        resource: "events",
        verbs: &["create", "patch"],
        names: &[],
        scope: Scope::Cluster,
        why: "says at the pod why it is unprotected, where its owner looks",
        without: "the owner of an unprotected pod sees no reason",
    },
    Grant {
        group: "coordination.k8s.io",
        resource: "leases",
        verbs: &["create"],
        names: &[],
        scope: Scope::Own,
        why: "makes the lease of the leader; RBAC knows no name of what is not there yet",
        without: "no replica becomes the leader on a new cluster",
    },
    Grant {
        group: "coordination.k8s.io",
        resource: "leases",
        verbs: &["get", "update"],
        names: &[LEASE],
        scope: Scope::Own,
        why: "takes and keeps the lease of the leader",
        without: "no replica stays the leader, and caBundle is not renewed",
    },
    Grant {
        group: "",
        resource: "secrets",
        verbs: &["get"],
        names: &[],
        scope: Scope::ClusterIfAsked,
        why: "reads the pull secrets that an opted-in pod names, to look up its entrypoint",
        without: "pods of private images without a command need the entrypoint annotation",
    },
    Grant {
        group: "",
        resource: "serviceaccounts",
        verbs: &["get"],
        names: &[],
        scope: Scope::ClusterIfAsked,
        why: "finds the pull secrets that a pod has by its ServiceAccount",
        without: "pull secrets of ServiceAccounts are not found",
    },
];

/// Every rule that the operator has.
#[must_use]
pub const fn grants() -> &'static [Grant] {
    GRANTS
}

/// The value that turns the optional rules on.
const ASKED: &str = "operator.readPullSecrets";
/// What the role with the optional rules is called.
const PULL: &str = "cloudtaser-operator-pull-secrets";

/// Roles and who has them.
pub(super) fn objects(source: &Source<'_>) -> Vec<Object> {
    let mut objects = Vec::new();
    for (name, scope, when) in
        [(OPERATOR, Scope::Cluster, None), (PULL, Scope::ClusterIfAsked, Some(ASKED))]
    {
        let metadata = json!({ "name": name, "labels": labels(source, Some(OPERATOR)) });
        objects.extend(pair(source, "ClusterRole", &metadata, scope).map(|json| {
            let object = Object::new(FILE, json);
            match when {
                Some(path) => object.when(path),
                None => object,
            }
        }));
    }
    let own = metadata(source, OPERATOR, &source.namespace());
    objects.extend(pair(source, "Role", &own, Scope::Own).map(|json| Object::new(FILE, json)));
    objects
}

/// A role and its binding.
fn pair(source: &Source<'_>, kind: &str, metadata: &Value, scope: Scope) -> [Value; 2] {
    let rules: Vec<Value> =
        GRANTS.iter().filter(|grant| grant.scope == scope).map(Grant::rule).collect();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": metadata,
        "rules": rules,
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": format!("{kind}Binding"),
        "metadata": metadata,
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": kind,
            "name": metadata.get("name"),
        },
        "subjects": [{
            "kind": "ServiceAccount", "name": OPERATOR, "namespace": source.namespace(),
        }],
    });
    [role, binding]
}

impl Grant {
    fn rule(&self) -> Value {
        let mut rule = json!({
            "apiGroups": [self.group],
            "resources": [self.resource],
            "verbs": self.verbs,
        });
        if let (Some(rule), false) = (rule.as_object_mut(), self.names.is_empty()) {
            rule.insert("resourceNames".to_owned(), json!(self.names));
        }
        rule
    }
}
