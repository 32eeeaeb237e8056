//! Names that an installation and the programs in it must agree on, beside those of
//! [`cloudtaser_core::names`].

use cloudtaser_core::names::kubernetes as names;

/// Name of the product in names and labels.
pub const NAME: &str = "cloudtaser";

/// Where the operator runs, unless told otherwise.
pub const NAMESPACE: &str = names::OPERATOR_NAMESPACE;

/// Where the node agents run, unless told otherwise.
pub const AGENT_NAMESPACE: &str = "cloudtaser-node";

/// Deployment, Service and ServiceAccount of the operator.
pub const OPERATOR: &str = names::OPERATOR;

/// DaemonSet and ServiceAccount of the node agent.
pub const AGENT: &str = "cloudtaser-agent";

/// Both webhook configurations.
pub const WEBHOOKS: &str = names::OPERATOR;

/// Who an API server takes us for when fields are applied.
pub const FIELD_MANAGER: &str = "cloudtaser-install";

/// On a namespace that an installation made, and that goes with it.
pub const CREATED: &str = "cloudtaser.io/created-by-install";

/// Who manages an object, as Kubernetes recommends to say it.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Where a node agent answers `GET /metrics`.
pub const METRICS_PORT: u16 = 9464;

/// How the operator program is started.
pub(super) mod operator {
    /// The program.
    pub(in crate::install) const PROGRAM: &str = "/cloudtaser-operator";
    /// Its own name, by which replicas know each other.
    pub(in crate::install) const POD: &str = "POD_NAME";
    /// Its namespace.
    pub(in crate::install) const NAMESPACE: &str = "POD_NAMESPACE";
    /// Its UID: what it leaves on the cluster goes with it.
    pub(in crate::install) const UID: &str = "POD_UID";
    /// Folder and file of its configuration.
    pub(in crate::install) const FOLDER: &str = "/etc/cloudtaser";
    /// The file.
    pub(in crate::install) const FILE: &str = "operator.toml";
    /// Beside it, the authorities of registries.
    pub(in crate::install) const REGISTRY_CA: &str = "registry-ca.pem";
}
