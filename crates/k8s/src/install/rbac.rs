//! What the operator may do on the cluster, rule by rule, each with its reason and with what is
//! lost without it. The node agent may do nothing.
//!
//! Never here: lists of Secrets (nor any Secret but the two of an enrolment, unless the values ask for
//! pull secrets), tokens of ServiceAccounts, a change of any pod, and wildcards.

use cloudtaser_core::names::kubernetes as names;
use serde_json::{Value, json};

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
    /// Paths that are no resource, in the place of a group and a resource.
    pub urls: &'static [&'static str],
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
    /// On the whole cluster, where pull secrets are to be read.
    ClusterIfAsked,
    /// On the whole cluster, where it is enrolled at a bridge.
    ClusterIfBridged,
    /// On the whole cluster, where pods that run are to be watched.
    ClusterIfWatched,
    /// In the operator's namespace.
    Own,
    /// In the operator's namespace, where the cluster is enrolled at a bridge.
    OwnIfBridged,
}

const GRANTS: &[Grant] = &[
    Grant {
        group: "admissionregistration.k8s.io",
        resource: "mutatingwebhookconfigurations",
        verbs: &["get", "patch"],
        names: &[WEBHOOKS],
        urls: &[],
        scope: Scope::Cluster,
        why: "writes the caBundle of its own certificate",
        without: "the API server does not trust the operator, and opted-in pods are refused",
    },
    Grant {
        group: "admissionregistration.k8s.io",
        resource: "validatingwebhookconfigurations",
        verbs: &["get", "patch"],
        names: &[WEBHOOKS],
        urls: &[],
        scope: Scope::Cluster,
        why: "writes the caBundle of its own certificate",
        without: "the API server does not trust the operator, and opted-in pods are refused",
    },
    Grant {
        group: "coordination.k8s.io",
        resource: "leases",
        // Each replica has a Lease with its authority, named after its pod, beside the leader's.
        // RBAC knows neither names that are not there yet nor patterns of names.
        verbs: &["create", "delete", "get", "list", "update"],
        names: &[],
        urls: &[],
        scope: Scope::Own,
        why: "replicas tell each other their authorities, and choose who writes the caBundle",
        without: "replicas do not know each other's certificates, and no caBundle is written",
    },
    Grant {
        group: "",
        resource: "secrets",
        verbs: &["get"],
        names: &[],
        urls: &[],
        scope: Scope::ClusterIfAsked,
        // RBAC cannot name beforehand what pods will name: this is each Secret by its name, and no
        // list of them.
        why: "reads the pull secrets that an opted-in pod names, to look up its entrypoint",
        without: "a pod of a private image without a command needs cloudtaser.io/command",
    },
    Grant {
        group: "",
        resource: "serviceaccounts",
        verbs: &["get"],
        names: &[],
        urls: &[],
        scope: Scope::ClusterIfAsked,
        why: "finds the pull secrets that a pod has by its ServiceAccount",
        without: "pull secrets of ServiceAccounts are not found",
    },
    Grant {
        group: "",
        resource: "pods",
        verbs: &["list"],
        names: &[],
        urls: &[],
        scope: Scope::ClusterIfWatched,
        why: "finds opted-in pods that run without the wrapper",
        without: "such pods are not counted",
    },
    Grant {
        group: "",
        resource: "events",
        verbs: &["create"],
        names: &[],
        urls: &[],
        scope: Scope::ClusterIfWatched,
        why: "says in an event of such a pod what is wrong with it",
        without: "only the operator's log and metrics say so",
    },
    Grant {
        group: "",
        resource: "secrets",
        verbs: &["get", "patch"],
        names: &[names::CLUSTER_SECRET],
        urls: &[],
        scope: Scope::OwnIfBridged,
        // The Secret is made by the installation: RBAC cannot say which name may be created.
        why: "keeps the cluster's key and what the bridge gave, which all replicas need",
        without: "the cluster cannot enrol, and no broker can vouch for a pod",
    },
    Grant {
        group: "",
        resource: "secrets",
        verbs: &["delete", "get"],
        names: &[names::INVITATION_SECRET],
        urls: &[],
        scope: Scope::OwnIfBridged,
        why: "uses the invitation, and takes it away once it was used",
        without: "the cluster cannot enrol, or an invitation stays where it is good for nothing",
    },
    Grant {
        group: "",
        resource: "",
        verbs: &["get"],
        names: &[],
        // What system:service-account-issuer-discovery allows, which a cluster may have bound or not.
        urls: &[names::DISCOVERY_PATH, names::ISSUER_KEYS_PATH],
        scope: Scope::ClusterIfBridged,
        why: "reads who issues the tokens of pods, and the public keys, to show them to the bridge",
        without: "somebody carries the keys to the bridge by file, also after each rotation",
    },
];

/// Every rule that the operator has.
#[must_use]
pub const fn grants() -> &'static [Grant] {
    GRANTS
}

/// Rules that a value turns on, and what the role with them is called.
const OPTIONAL: [(Scope, &str, &str); 3] = [
    (Scope::ClusterIfBridged, super::bridge::WHEN, "cloudtaser-operator-issuer"),
    (Scope::ClusterIfAsked, "registry.pullSecrets", "cloudtaser-operator-pull-secrets"),
    (Scope::ClusterIfWatched, "pods.watch", "cloudtaser-operator-watch"),
];

/// The role of an operator whose cluster is enrolled.
const BRIDGED: &str = "cloudtaser-operator-bridge";

/// Roles and who has them.
pub(super) fn objects(source: &Source<'_>) -> Vec<Object> {
    let of_cluster = |name: &str| json!({ "name": name, "labels": labels(source, Some(OPERATOR)) });
    let own = metadata(source, OPERATOR, &source.namespace());
    let always = pair(source, "ClusterRole", &of_cluster(OPERATOR), Scope::Cluster)
        .into_iter()
        .chain(pair(source, "Role", &own, Scope::Own));
    let optional = OPTIONAL.into_iter().flat_map(|(scope, value, name)| {
        pair(source, "ClusterRole", &of_cluster(name), scope)
            .map(|json| Object::new(FILE, json).when(value))
    });
    let mut bridged = own;
    if let Some(bridged) = bridged.as_object_mut() {
        bridged.insert("name".to_owned(), BRIDGED.into());
    }
    let bridged = pair(source, "Role", &bridged, Scope::OwnIfBridged)
        .map(|json| Object::new(FILE, json).when(super::bridge::WHEN));
    always.map(|json| Object::new(FILE, json)).chain(optional).chain(bridged).collect()
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
        if !self.urls.is_empty() {
            return json!({ "nonResourceURLs": self.urls, "verbs": self.verbs });
        }
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
