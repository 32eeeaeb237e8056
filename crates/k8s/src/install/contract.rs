//! Names that an installation and the programs in it must agree on, once.

/// Name of the product in names and labels.
pub const NAME: &str = "cloudtaser";

/// Where the operator runs, unless told otherwise.
pub const NAMESPACE: &str = "cloudtaser-system";

/// Where the node agents run, unless told otherwise.
pub const AGENT_NAMESPACE: &str = "cloudtaser-node";

/// Deployment, Service and ServiceAccount of the operator.
pub const OPERATOR: &str = "cloudtaser-operator";

/// DaemonSet and ServiceAccount of the node agent.
pub const AGENT: &str = "cloudtaser-agent";

/// Both webhook configurations.
pub const WEBHOOKS: &str = "cloudtaser";

/// Who an API server takes us for when fields are applied.
pub const FIELD_MANAGER: &str = "cloudtaser-install";

/// The label that opts a pod in.
pub const INJECT_LABEL: &str = "cloudtaser.io/inject";

/// On a namespace that an installation made, and that goes with it.
pub const CREATED: &str = "cloudtaser.io/created-by-install";

/// Who manages an object, as Kubernetes recommends to say it.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Where a node agent answers `GET /metrics`.
pub const METRICS_PORT: u16 = 9464;

/// Where the operator answers reviews.
pub(super) const WEBHOOK_PORT: u16 = 8443;

/// Where the operator answers probes and `GET /metrics`.
pub(super) const HTTP_PORT: u16 = 8080;

/// How the operator program is started. Each of its flags has a variable, and an installation uses
/// the variables alone: a value then is one whole scalar, in a chart too.
pub(super) mod operator {
    /// The program.
    pub(in crate::install) const PROGRAM: &str = "/cloudtaser-operator";
    /// Its namespace.
    pub(in crate::install) const NAMESPACE: &str = "CLOUDTASER_NAMESPACE";
    /// Name of its Service, which its certificate is for.
    pub(in crate::install) const SERVICE: &str = "CLOUDTASER_SERVICE";
    /// Name of both webhook configurations, whose `caBundle` it keeps right.
    pub(in crate::install) const WEBHOOKS: &str = "CLOUDTASER_WEBHOOKS";
    /// The image with the wrapper that pods are given.
    pub(in crate::install) const WRAPPER_IMAGE: &str = "CLOUDTASER_WRAPPER_IMAGE";
    /// Addresses of OpenBao that a pod may name, separated by commas.
    pub(in crate::install) const ADDRESSES: &str = "CLOUDTASER_OPENBAO_ADDRESSES";
    /// Whether it may look for pull secrets (`true`, `false`).
    pub(in crate::install) const PULL_SECRETS: &str = "CLOUDTASER_PULL_SECRETS";
    /// Its pod's name, for leader election.
    pub(in crate::install) const POD: &str = "CLOUDTASER_POD";
    /// Whether it is alive.
    pub(in crate::install) const LIVE_PATH: &str = "/healthz";
    /// Whether it can answer reviews.
    pub(in crate::install) const READY_PATH: &str = "/readyz";
    /// Reviews that change pods.
    pub(in crate::install) const MUTATE_PATH: &str = "/mutate";
    /// Reviews that refuse pods.
    pub(in crate::install) const VALIDATE_PATH: &str = "/validate";
    /// Lease of the leader.
    pub(in crate::install) const LEASE: &str = "cloudtaser-operator";
}
