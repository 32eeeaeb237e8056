//! What a document is.

use std::ops::Range;

use crate::tree::Node;

/// A Kubernetes object, a seccomp profile, or a file of settings that is understood.
#[derive(Clone, Debug)]
pub struct Object {
    /// Which file it is in.
    pub source: usize,
    /// The tree.
    pub root: Node,
    /// Whether the document names parts of itself, so that it is not edited.
    pub has_aliases: bool,
    /// What it is.
    pub kind: Kind,
}

/// Kinds of documents that are looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `CiliumNetworkPolicy` and `CiliumClusterwideNetworkPolicy`.
    CiliumNetworkPolicy,
    /// `ConfigMap`: settings of Tetragon and KubeArmor are in some.
    ConfigMap,
    /// `KubeArmorClusterPolicy`.
    KubeArmorClusterPolicy,
    /// `KubeArmorConfig`.
    KubeArmorConfig,
    /// `KubeArmorHostPolicy`.
    KubeArmorHostPolicy,
    /// `KubeArmorNetworkPolicy`.
    KubeArmorNetworkPolicy,
    /// `KubeArmorPolicy`.
    KubeArmorPolicy,
    /// `Namespace`.
    Namespace,
    /// `NetworkPolicy`.
    NetworkPolicy,
    /// A seccomp profile in JSON (or YAML).
    Seccomp,
    /// `TracingPolicy`.
    TracingPolicy,
    /// `TracingPolicyNamespaced`.
    TracingPolicyNamespaced,
    /// A pod, or something that makes pods.
    Workload,
}

/// What a document turned out to be.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// One of [`Kind`].
    Known(Kind),
    /// A list of objects.
    List,
    /// An object that nothing here is about.
    Other(String),
    /// No object at all.
    Nothing,
}

const API_KUBEARMOR: &str = "security.kubearmor.com/";
const API_CILIUM: &str = "cilium.io/";

/// Says what a document is.
pub(crate) fn classify(root: &Node) -> Found {
    let (Some(api), Some(kind)) = (root.word("apiVersion"), root.word("kind")) else {
        let seccomp = root.word("defaultAction").is_some_and(|action| action.starts_with("SCMP_"));
        // An OCI configuration has the profile inside.
        let inside = root.at(&["linux", "seccomp", "defaultAction"]).is_some();
        return if seccomp || inside { Found::Known(Kind::Seccomp) } else { Found::Nothing };
    };
    let known = match kind {
        "KubeArmorPolicy" if api.starts_with(API_KUBEARMOR) => Kind::KubeArmorPolicy,
        "KubeArmorClusterPolicy" if api.starts_with(API_KUBEARMOR) => Kind::KubeArmorClusterPolicy,
        "KubeArmorHostPolicy" if api.starts_with(API_KUBEARMOR) => Kind::KubeArmorHostPolicy,
        "KubeArmorNetworkPolicy" if api.starts_with(API_KUBEARMOR) => Kind::KubeArmorNetworkPolicy,
        "KubeArmorConfig" if api.starts_with("operator.kubearmor.com/") => Kind::KubeArmorConfig,
        "TracingPolicy" if api.starts_with(API_CILIUM) => Kind::TracingPolicy,
        "TracingPolicyNamespaced" if api.starts_with(API_CILIUM) => Kind::TracingPolicyNamespaced,
        "CiliumNetworkPolicy" | "CiliumClusterwideNetworkPolicy" if api.starts_with(API_CILIUM) => {
            Kind::CiliumNetworkPolicy
        }
        "NetworkPolicy" if api.starts_with("networking.k8s.io/") => Kind::NetworkPolicy,
        "Namespace" if api == "v1" => Kind::Namespace,
        "ConfigMap" if api == "v1" => Kind::ConfigMap,
        "Pod" | "ReplicationController" if api == "v1" => Kind::Workload,
        "Deployment" | "DaemonSet" | "StatefulSet" | "ReplicaSet" if api.starts_with("apps/") => {
            Kind::Workload
        }
        "Job" | "CronJob" if api.starts_with("batch/") => Kind::Workload,
        _ if kind.ends_with("List") && root.get("items").is_some() => return Found::List,
        _ => return Found::Other(kind.to_owned()),
    };
    Found::Known(known)
}

/// The version that this checker was written for, where the object has another of the same kind.
pub(crate) fn newer_than(root: &Node, kind: Kind) -> Option<(&'static str, Range<usize>)> {
    let known: &[&str] = match kind {
        Kind::KubeArmorClusterPolicy
        | Kind::KubeArmorConfig
        | Kind::KubeArmorHostPolicy
        | Kind::KubeArmorNetworkPolicy
        | Kind::KubeArmorPolicy => &["v1"],
        Kind::TracingPolicy | Kind::TracingPolicyNamespaced => &["v1alpha1"],
        Kind::CiliumNetworkPolicy => &["v2"],
        Kind::NetworkPolicy => &["v1"],
        _ => return None,
    };
    let api = root.get("apiVersion")?;
    let version = api.text()?.rsplit('/').next()?;
    let first = known.first()?;
    (!known.contains(&version)).then(|| (*first, api.span.clone()))
}

impl Object {
    /// `Kind namespace/name`, as it is shown.
    #[must_use]
    pub fn title(&self) -> String {
        let kind = self.root.word("kind").unwrap_or("seccomp profile");
        let name = self.root.at(&["metadata", "name"]).and_then(Node::text).unwrap_or_default();
        match (self.namespace(), name) {
            (_, "") => kind.to_owned(),
            (Some(namespace), name) => format!("{kind} {namespace}/{name}"),
            (None, name) => format!("{kind} {name}"),
        }
    }

    /// The namespace that is written in it.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.root.at(&["metadata", "namespace"]).and_then(Node::text)
    }

    /// Where to point when the whole object is meant: its name, or its kind.
    #[must_use]
    pub fn anchor(&self) -> Range<usize> {
        let named = self.root.at(&["metadata", "name"]).or_else(|| self.root.get("kind"));
        named.map_or_else(|| self.root.span.start..self.root.span.start, |node| node.span.clone())
    }
}
