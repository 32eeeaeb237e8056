//! What the operator's own configuration allows and sets.
//!
//! It is the one source of addresses, authorities and images: a pod chooses among what stands here,
//! and cannot bring its own. It holds no credential.

use std::collections::BTreeMap;

use cloudtaser_core::{level::Requirement, names::kubernetes};
use serde::Deserialize;

/// The operator's configuration, as far as pods are concerned.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The image that carries the wrapper, and how it is pulled.
    pub wrapper: Wrapper,
    /// The servers that pods may use; the first is the one of pods that name none. Without any,
    /// every opted-in pod is refused with that reason.
    #[serde(default, rename = "server")]
    pub servers: Vec<Server>,
    /// The bridge that the cluster is enrolled at, or is to be: one more server, the last.
    #[serde(default)]
    pub bridge: Option<Bridge>,
    /// The token that pods log in with.
    #[serde(default)]
    pub token: Token,
    /// Rules for all pods.
    #[serde(default)]
    pub pods: Pods,
    /// Which registries are asked what an image starts.
    #[serde(default)]
    pub registry: Registry,
}

/// The image that carries the wrapper.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrapper {
    /// Reference of the image, best with a digest.
    pub image: String,
    /// When it is pulled; what the kubelet does by itself when absent.
    #[serde(default)]
    pub pull_policy: Option<String>,
    /// CPU that the init container asks for, and is limited to: it copies one file.
    #[serde(default = "deliver_cpu")]
    pub cpu: String,
    /// Memory that it asks for, and is limited to: the copy counts as its own.
    #[serde(default = "deliver_memory")]
    pub memory: String,
}

/// The bridge of the cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bridge {
    /// Its key, `ed25519:…`.
    pub key: String,
    /// `host:port` of the broker for pods; the operator's own service when empty.
    #[serde(default)]
    pub broker: String,
}

/// One OpenBao that pods may use.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// The name that pods choose it by.
    pub name: String,
    /// `https://host:port`; not needed where a bridge is the way.
    #[serde(default)]
    pub address: String,
    /// `host:port` of the cluster's broker, where a bridge is the way.
    #[serde(default)]
    pub broker: Option<String>,
    /// The bridge's key, `ed25519:…`: the broker is not believed whom it leads to.
    #[serde(default)]
    pub bridge_key: Option<String>,
    /// Namespace, where a pod names none.
    #[serde(default)]
    pub namespace: Option<String>,
    /// PEM text of the authorities for its certificate.
    #[serde(default)]
    pub ca: Option<String>,
    /// SHA-256 of its key, as `sha256//BASE64`.
    #[serde(default)]
    pub spki_pin: Option<String>,
    /// Name that its certificate carries, where that is not the host of the address.
    #[serde(default)]
    pub server_name: Option<String>,
    /// Mount of the pods' login, where a pod names none.
    #[serde(default)]
    pub auth_mount: Option<String>,
    /// Whether a pod may ask for a certificate that nobody checks.
    #[serde(default)]
    pub allow_skip_verify: bool,
}

/// The token that pods log in with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Token {
    /// Whom it is for: the audience that OpenBao's role is bound to.
    pub audience: String,
    /// How long it is good for; the API server takes no less than 600.
    pub lifetime_seconds: u32,
}

/// Rules for all pods.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pods {
    /// Containers that other injectors add, which are left alone unless they hold a reference.
    pub skip_containers: Vec<String>,
    /// Levels without which no app starts.
    #[serde(deserialize_with = "requirements")]
    pub require: Vec<Requirement>,
    /// Whether opted-in pods that run unwrapped are looked for; the operator's role must allow it
    /// to list pods.
    pub watch: bool,
}

/// Which registries are asked what an image starts, for containers that say no command.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registry {
    /// Registries that may be asked, such as `docker.io`; none when absent.
    pub hosts: Vec<String>,
    /// Where a registry's content is looked for first: `https://host`, by registry.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// File with the authorities of private registries, PEM, beside the system's.
    pub ca_file: Option<String>,
    /// File with credentials of the operator's own, in the form of `.docker/config.json`.
    pub auth_file: Option<String>,
    /// Whether the pull secrets that opted-in pods name are read. The operator's role must allow it.
    pub pull_secrets: bool,
    /// Architecture that is assumed where an image has several and a pod asks for none; otherwise
    /// all of them must start the same.
    pub architecture: Option<String>,
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Authorities that are none, or that bring their key.
    #[error("`ca` of server `{name}` must be PEM text of certificates, and of nothing else")]
    Authority {
        /// The server.
        name: String,
    },
    /// Half of what a bridge needs.
    #[error("server `{name}` needs both `broker` and `bridge_key`, or neither")]
    Bridge {
        /// The server.
        name: String,
    },
    /// A mirror that is not asked by TLS.
    #[error("a mirror of `{name}` must start with https://")]
    Mirror {
        /// The registry.
        name: String,
    },
    /// Two servers of one name.
    #[error("two servers are called `{name}`")]
    Twice {
        /// The name.
        name: String,
    },
    /// A server that is not reached by TLS.
    #[error("the address of server `{name}` must start with https://")]
    Scheme {
        /// The server.
        name: String,
    },
    /// A lifetime that the API server refuses.
    #[error("token.lifetime_seconds must be between 600 and 86400")]
    Lifetime,
    /// Something needed is empty.
    #[error("{field} is empty")]
    Empty {
        /// The field.
        field: &'static str,
    },
}

impl Config {
    /// Looks at what the form alone cannot say.
    ///
    /// # Errors
    /// The first [`ConfigError`].
    pub fn checked(self) -> Result<Self, ConfigError> {
        if self.wrapper.image.trim().is_empty() {
            return Err(ConfigError::Empty { field: "wrapper.image" });
        }
        if self.token.audience.trim().is_empty() {
            return Err(ConfigError::Empty { field: "token.audience" });
        }
        if !(600..=86_400).contains(&self.token.lifetime_seconds) {
            return Err(ConfigError::Lifetime);
        }
        for (name, mirrors) in &self.registry.mirrors {
            if mirrors.iter().any(|mirror| !mirror.starts_with("https://")) {
                return Err(ConfigError::Mirror { name: name.clone() });
            }
        }
        for (at, server) in self.servers.iter().enumerate() {
            if server.name.trim().is_empty() {
                return Err(ConfigError::Empty { field: "server.name" });
            }
            if server.broker.is_some() != server.bridge_key.is_some() {
                return Err(ConfigError::Bridge { name: server.name.clone() });
            }
            if server.broker.is_none() && !server.address.starts_with("https://") {
                return Err(ConfigError::Scheme { name: server.name.clone() });
            }
            // SECURITY: this text goes into every pod.
            let is_public = |pem: &String| {
                pem.contains("-----BEGIN CERTIFICATE-----") && !pem.contains("PRIVATE KEY")
            };
            if !server.ca.as_ref().is_none_or(is_public) {
                return Err(ConfigError::Authority { name: server.name.clone() });
            }
            if self.servers.iter().skip(at + 1).any(|other| other.name == server.name) {
                return Err(ConfigError::Twice { name: server.name.clone() });
            }
        }
        Ok(self)
    }

    /// Makes the bridge one of the servers, behind all others: those of pods that run stay what they
    /// were. `namespace` is that of the operator.
    #[must_use]
    pub fn with_bridge(mut self, namespace: &str) -> Self {
        let Some(bridge) = &self.bridge else { return self };
        let own = || format!("{}.{namespace}.svc:{}", kubernetes::BROKER, kubernetes::BROKER_PORT);
        let broker = if bridge.broker.is_empty() { own() } else { bridge.broker.clone() };
        self.servers.push(Server {
            name: kubernetes::BRIDGE_SERVER.to_owned(),
            address: String::new(),
            broker: Some(broker),
            bridge_key: Some(bridge.key.clone()),
            namespace: None,
            ca: None,
            spki_pin: None,
            server_name: None,
            auth_mount: None,
            allow_skip_verify: false,
        });
        self
    }

    /// The server of that name or address; the first one for none.
    #[must_use]
    pub fn server(&self, asked: Option<&str>) -> Option<&Server> {
        let Some(asked) = asked else { return self.servers.first() };
        let bare = asked.trim_end_matches('/');
        self.servers.iter().find(|server| server.name == asked).or_else(|| {
            let is_it = |server: &&Server| server.address.trim_end_matches('/') == bare;
            self.servers.iter().filter(|server| !server.address.is_empty()).find(is_it)
        })
    }
}

impl Default for Token {
    fn default() -> Self {
        Self { audience: kubernetes::TOKEN_AUDIENCE.to_owned(), lifetime_seconds: 600 }
    }
}

impl Default for Pods {
    fn default() -> Self {
        let known = [
            "consul-dataplane",
            "daprd",
            "istio-proxy",
            "kuma-sidecar",
            "linkerd-proxy",
            "openbao-agent",
            "vault-agent",
        ];
        Self {
            skip_containers: known.map(str::to_owned).to_vec(),
            require: Vec::new(),
            watch: false,
        }
    }
}

/// Enough to copy four megabytes in a few tenths of a second, and too little to be noticed.
fn deliver_cpu() -> String {
    "50m".to_owned()
}

/// The wrapper's own memory and its copy.
fn deliver_memory() -> String {
    "24Mi".to_owned()
}

fn requirements<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Requirement>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    Requirement::parse_list(&texts.join(",")).map_err(serde::de::Error::custom)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn config() -> Config {
        serde_json::from_value(serde_json::json!({
            "wrapper": {"image": "registry.example/wrapper@sha256:00"},
            "server": [
                {"name": "main", "address": "https://bao.example:8200", "ca": "-----BEGIN CERTIFICATE-----"},
                {"name": "lab", "address": "https://lab.example:8200", "allow_skip_verify": true},
            ],
        }))
        .map(Config::checked)
        .unwrap()
        .unwrap()
    }

    #[test]
    fn a_server_is_found_by_name_or_address_and_nothing_else_is_one() {
        let config = config();
        assert_eq!(config.server(None).unwrap().name, "main");
        assert_eq!(config.server(Some("lab")).unwrap().name, "lab");
        assert_eq!(config.server(Some("https://lab.example:8200/")).unwrap().name, "lab");
        assert!(config.server(Some("https://evil.example:8200")).is_none());
        assert!(config.server(Some("https://lab.example:8200.evil.example")).is_none());
    }

    #[test]
    fn a_bridge_is_the_last_server_and_the_first_of_who_has_no_other() {
        let bridge =
            |broker: &str| Bridge { key: "ed25519:k".to_owned(), broker: broker.to_owned() };
        let mut both = config();
        both.bridge = Some(bridge(""));
        let mut alone = both.clone();
        alone.servers.clear();
        let both = both.with_bridge("ours").checked().unwrap();
        assert_eq!(both.server(None).unwrap().name, "main");
        let found = both.server(Some("bridge")).unwrap();
        assert_eq!(found.broker.as_deref(), Some("cloudtaser-broker.ours.svc:7443"));
        assert_eq!(found.bridge_key.as_deref(), Some("ed25519:k"));
        assert_eq!(alone.clone().with_bridge("ours").server(None).unwrap().name, "bridge");
        alone.bridge = Some(bridge("10.96.0.9:7443"));
        let there = alone.with_bridge("ours");
        assert_eq!(there.server(None).unwrap().broker.as_deref(), Some("10.96.0.9:7443"));
        let mut named = config();
        named.servers[0].name = "bridge".to_owned();
        named.bridge = Some(bridge(""));
        let twice = named.with_bridge("ours").checked();
        assert!(matches!(twice, Err(ConfigError::Twice { .. })));
    }

    #[test]
    fn configurations_that_cannot_work_are_refused_by_name() {
        let mut broken = config();
        broken.servers[0].broker = Some("broker:7443".to_owned());
        assert!(matches!(broken.checked(), Err(ConfigError::Bridge { .. })));
        let mut broken = config();
        broken.servers[1].name = "main".to_owned();
        assert!(matches!(broken.checked(), Err(ConfigError::Twice { .. })));
        let mut broken = config();
        broken.servers[0].address = "http://bao".to_owned();
        assert!(matches!(broken.checked(), Err(ConfigError::Scheme { .. })));
        for ca in ["PEM", "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----"] {
            let mut broken = config();
            broken.servers[0].ca = Some(ca.to_owned());
            assert!(matches!(broken.checked(), Err(ConfigError::Authority { .. })));
        }
        let mut broken = config();
        broken.token.lifetime_seconds = 60;
        assert_eq!(broken.checked().unwrap_err(), ConfigError::Lifetime);
    }
}
