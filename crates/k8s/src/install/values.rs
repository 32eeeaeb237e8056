//! What may be chosen about an installation. The file of an installation and the values of the
//! chart have the same form.
//!
//! Unknown fields are refused, and what has a form is parsed where it is read, so that an error is
//! at the place in the file where the slip is.

mod forms;

use std::collections::BTreeMap;

use cloudtaser_core::names::kubernetes as names;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

pub use forms::{
    Address, BridgeKey, Broker, Image, Label, Level, Quantity, Replicas, TimeoutSeconds,
    ValuesError,
};

/// Everything that may be chosen.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Values {
    /// Where images come from.
    pub images: Images,
    /// The OpenBao servers that pods may use.
    pub openbao: OpenBao,
    /// The bridge that the cluster is enrolled at.
    pub bridge: Bridge,
    /// Registries that are asked what an image starts.
    pub registry: Registry,
    /// The operator.
    pub operator: Operator,
    /// The node agent.
    pub agent: Agent,
    /// Admission.
    pub webhook: Webhook,
    /// What holds for all pods.
    pub pods: Pods,
}

/// Where images come from. There is no default: an image is what a cluster runs as root.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Images {
    /// Image of the operator.
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub operator: Option<Image>,
    /// Image of the node agent.
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub agent: Option<Image>,
    /// Image with the wrapper.
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub wrapper: Option<Image>,
    /// When nodes ask the registry.
    pub pull_policy: PullPolicy,
    /// Secrets in the installation's namespaces with the registry's credentials.
    pub pull_secrets: Vec<Named>,
}

/// A chart's values have an empty text where nobody named an image yet.
fn named<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Image>, D::Error> {
    let text = Option::<String>::deserialize(from)?.filter(|text| !text.is_empty());
    text.map(Image::try_from).transpose().map_err(D::Error::custom)
}

/// When a node asks the registry.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum PullPolicy {
    /// At each start.
    Always,
    /// When the node has no such image.
    #[default]
    IfNotPresent,
    /// Never: images were loaded onto the nodes.
    Never,
}

/// A reference by name, as Kubernetes writes it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// The name.
    pub name: Label,
}

/// The OpenBao servers that pods may use.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct OpenBao {
    /// Whom the tokens of pods are for: the audience that OpenBao's roles are bound to.
    pub audience: String,
    /// Those that a pod may choose from; the first is that of pods that choose none.
    pub servers: Vec<Server>,
}

/// One OpenBao.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Server {
    /// The name that pods choose it by.
    pub name: Label,
    /// Where it is.
    pub address: Address,
    /// Namespace in it, where a pod names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// PEM text of the authorities for its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// SHA-256 of its key, as `sha256//BASE64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spki_pin: Option<String>,
    /// Name that its certificate carries, where that is not the host of the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Mount of the pods' login, where a pod names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_mount: Option<String>,
}

impl Default for OpenBao {
    fn default() -> Self {
        Self { audience: names::TOKEN_AUDIENCE.to_owned(), servers: Vec::new() }
    }
}

/// The bridge that the cluster is enrolled at. It is one more server of pods, called `bridge`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Bridge {
    /// Whether there is one: the operator then has a broker, and keeps the cluster's key.
    pub enabled: bool,
    /// Its key. Whatever an invitation says, and wherever a broker leads, pods speak to this one.
    pub key: BridgeKey,
    /// `HOST:PORT` of the broker for pods, where its service cannot be found by its name.
    pub broker: Broker,
}

/// Registries that are asked what an image starts, for containers that say no command.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Registry {
    /// Those that may be asked, such as `registry.example:5000`; none by default.
    pub hosts: Vec<String>,
    /// PEM text of the authorities for their certificates. The operator's image has none, so that
    /// nobody is trusted whom nobody chose.
    pub ca: String,
    /// Lets the operator read the pull secrets that opted-in pods name. RBAC cannot name them
    /// beforehand, so this is `get` on each Secret of the cluster.
    pub pull_secrets: bool,
}

/// What holds for all opted-in pods.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Pods {
    /// Levels without which no app starts, such as `memory=sealed`.
    pub require: Vec<Level>,
    /// Has the operator look for opted-in pods that run unwrapped: it counts them, and says so in an
    /// event of each. It then may list pods and write events, on the whole cluster.
    pub watch: bool,
}

/// The operator.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Operator {
    /// How many run.
    pub replicas: Replicas,
    /// Requests and limits.
    pub resources: Resources,
    /// Labels of nodes that it may run on.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that it bears.
    pub tolerations: Vec<Toleration>,
    /// Priority; empty for the cluster's default.
    pub priority_class_name: String,
}

/// The node agent.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Agent {
    /// Whether nodes have one. Without it a root of the node reads what it likes, and levels say so.
    pub enabled: bool,
    /// More arguments of `cloudtaser-agent run`, such as `--allow-loader=…`.
    pub arguments: Vec<String>,
    /// Its namespace, in which privileged pods are admitted.
    pub namespace: Label,
    /// Requests and limits.
    pub resources: Resources,
    /// Labels of nodes that have one.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that it bears.
    pub tolerations: Vec<Toleration>,
    /// Priority.
    pub priority_class_name: String,
}

/// Admission.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Webhook {
    /// How long the API server waits.
    pub timeout_seconds: TimeoutSeconds,
    /// Namespaces whose pods are never asked about, besides our own.
    pub excluded_namespaces: Vec<Label>,
}

/// Requests and limits of a container.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// What is kept free for it.
    pub requests: BTreeMap<String, Quantity>,
    /// What it may use.
    pub limits: BTreeMap<String, Quantity>,
}

/// A taint that is borne.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Toleration {
    /// Of the taint; none for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `Equal` or `Exists`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<TolerationOperator>,
    /// Of the taint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Which effect; none for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// For how long an evicting taint is borne.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

/// How a toleration compares.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum TolerationOperator {
    /// Key and value.
    Equal,
    /// The key alone.
    Exists,
}

/// What a taint does.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Effect {
    /// Also to those that run.
    NoExecute,
    /// To those that are not there yet.
    NoSchedule,
    /// The same, where there is another node.
    PreferNoSchedule,
}

impl Default for Operator {
    fn default() -> Self {
        Self {
            replicas: Replicas(2),
            resources: Resources::of(&[("cpu", "50m"), ("memory", "32Mi")], "128Mi"),
            node_selector: linux(),
            tolerations: Vec::new(),
            priority_class_name: String::new(),
        }
    }
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            enabled: true,
            arguments: Vec::new(),
            namespace: Label(super::AGENT_NAMESPACE.to_owned()),
            resources: Resources::of(&[("cpu", "20m"), ("memory", "64Mi")], "256Mi"),
            node_selector: linux(),
            // A node without an agent is a node where root reads: every taint is borne.
            tolerations: vec![Toleration {
                operator: Some(TolerationOperator::Exists),
                ..Toleration::default()
            }],
            priority_class_name: "system-node-critical".to_owned(),
        }
    }
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            // Longer than any answer takes, and short enough that a dead operator is noticed.
            timeout_seconds: TimeoutSeconds(5),
            excluded_namespaces: ["kube-node-lease", "kube-public", "kube-system"]
                .map(|name| Label(name.to_owned()))
                .to_vec(),
        }
    }
}

impl Resources {
    /// No limit of CPU: a throttled operator is a slow API server, a throttled agent a late report.
    fn of(requests: &[(&str, &str)], memory: &str) -> Self {
        let quantities = |all: &[(&str, &str)]| {
            all.iter()
                .map(|(name, much)| ((*name).to_owned(), Quantity((*much).to_owned())))
                .collect()
        };
        Self { requests: quantities(requests), limits: quantities(&[("memory", memory)]) }
    }
}

fn linux() -> BTreeMap<String, String> {
    let labels = [("kubernetes.io/arch", "amd64"), ("kubernetes.io/os", "linux")];
    labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

impl Values {
    /// What somebody gave over the defaults, as Helm does it: maps are merged, all else replaces.
    ///
    /// # Errors
    /// Where what was given is of another form.
    pub fn over_defaults(given: &Value) -> Result<Self, serde_json::Error> {
        let mut values = serde_json::to_value(Self::default())?;
        merge(&mut values, given);
        serde_json::from_value(values)
    }
}

fn merge(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                if value.is_null() {
                    under.remove(name);
                } else {
                    merge(under.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (under, over) => under.clone_from(over),
    }
}

impl Registry {
    /// Whether it names registries that nothing vouches for.
    #[must_use]
    pub fn lacks_authorities(&self) -> bool {
        !self.hosts.is_empty() && !self.ca.contains("-----BEGIN CERTIFICATE-----")
    }
}

impl Images {
    /// Names all three after their programs, where they were not named one by one.
    pub fn fill(&mut self, registry: &str, tag: &str) -> Result<(), ValuesError> {
        let named = |program: &str| {
            Image::try_from(format!("{}/{program}:{tag}", registry.trim_end_matches('/'))).map(Some)
        };
        for (image, program) in [
            (&mut self.operator, "cloudtaser-operator"),
            (&mut self.agent, "cloudtaser-agent"),
            (&mut self.wrapper, "cloudtaser-wrapper"),
        ] {
            if image.is_none() {
                *image = named(program)?;
            }
        }
        Ok(())
    }

    /// The first image that is needed and not named.
    #[must_use]
    pub const fn missing(&self, agent: bool) -> Option<&'static str> {
        match (&self.operator, &self.wrapper, &self.agent) {
            (None, ..) => Some("images.operator"),
            (_, None, _) => Some("images.wrapper"),
            (.., None) if agent => Some("images.agent"),
            _ => None,
        }
    }
}

impl Bridge {
    /// One with this key.
    ///
    /// # Errors
    /// [`ValuesError::BridgeKey`].
    pub fn of(key: &str) -> Result<Self, ValuesError> {
        let key = BridgeKey::try_from(key.to_owned())?;
        Ok(Self { enabled: true, key, broker: Broker::default() })
    }

    /// Its key; empty where nobody named it.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_lies_over_the_defaults_as_with_helm() {
        let given = serde_json::json!({ "operator": {
            "nodeSelector": { "pool": "a" },
            "resources": { "requests": { "cpu": "1" } },
        }, "agent": { "tolerations": [] } });
        let values = Values::over_defaults(&given).unwrap();
        let operator = &values.operator;
        assert_eq!(operator.node_selector.len(), 3, "{:?}", operator.node_selector);
        assert_eq!(operator.resources.requests["memory"].0, "32Mi");
        assert_eq!(operator.resources.limits["memory"].0, "128Mi");
        assert!(values.agent.tolerations.is_empty(), "lists are replaced");
        assert_eq!(Values::over_defaults(&serde_json::json!({})).unwrap(), Values::default());
    }

    #[test]
    fn a_registry_names_what_was_not_named() {
        let mut images =
            Images { agent: Some(Image("own/agent:1".to_owned())), ..Images::default() };
        assert_eq!(images.missing(true), Some("images.operator"));
        images.fill("r.example/c/", "0.1.0").unwrap();
        assert_eq!(images.missing(true), None);
        assert_eq!(images.operator.unwrap().0, "r.example/c/cloudtaser-operator:0.1.0");
        assert_eq!(images.agent.unwrap().0, "own/agent:1");
    }
}
