//! The command line and the configuration file.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use cloudtaser_core::{names::kubernetes as names, plan::Period};
use cloudtaser_k8s::{Config, config::ConfigError};
use cloudtaser_tls::{SpkiPin, raw::PublicKey};

/// Takes opted-in pods in hand as the API server creates them.
#[derive(Debug, Parser)]
#[command(name = "cloudtaser-operator", version, max_term_width = 100)]
pub(crate) struct Options {
    /// The configuration (TOML).
    #[arg(long, value_name = "FILE", default_value = names::OPERATOR_CONFIG)]
    pub(crate) config: PathBuf,
    /// Where the API server's reviews come in, by TLS.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8443")]
    pub(crate) listen: SocketAddr,
    /// Where health, readiness and metrics are, without TLS.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9402")]
    pub(crate) metrics: SocketAddr,
    /// Where pods find the broker, if the configuration has a bridge.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:7443")]
    pub(crate) broker: SocketAddr,
    /// How often the bridge is asked whether it still lets this cluster in.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub(crate) knock: Period,
    /// The service by which the API server finds this program.
    #[arg(long, value_name = "NAME", default_value = names::OPERATOR)]
    pub(crate) service: String,
    /// Name of the mutating and of the validating webhook configuration.
    #[arg(long, value_name = "NAME", default_value = names::OPERATOR)]
    pub(crate) webhooks: String,
    /// Namespace of this program.
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", default_value = names::OPERATOR_NAMESPACE)]
    pub(crate) namespace: String,
    /// Name of this replica's pod.
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value = "cloudtaser-operator-0")]
    pub(crate) pod: String,
    /// UID of this replica's pod: what it leaves on the cluster goes with it.
    #[arg(long, value_name = "UID", env = "POD_UID")]
    pub(crate) pod_uid: Option<String>,
    /// How long a certificate of this program is good for; it is renewed after two thirds.
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub(crate) certificate_lifetime: Period,
    /// How long reviews are still answered after a request to stop.
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub(crate) drain: Period,
    /// The API server; the pod's own when absent.
    #[arg(long, value_name = "URL", requires = "kube_ca")]
    pub(crate) kube: Option<String>,
    /// Authorities of the API server's certificate.
    #[arg(long, value_name = "FILE")]
    pub(crate) kube_ca: Option<PathBuf>,
    /// Token for the API server.
    #[arg(long, value_name = "FILE")]
    pub(crate) kube_token: Option<PathBuf>,
    /// Read the configuration, say what is wrong with it, and end.
    #[arg(long)]
    pub(crate) check_config: bool,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OptionsError {
    /// The content contradicts itself.
    #[error("{path} cannot be used")]
    Content {
        /// The file.
        path: String,
        /// What is wrong.
        source: ConfigError,
    },
    /// The file is not of the form.
    #[error("{path} cannot be used")]
    Form {
        /// The file.
        path: String,
        /// What and where.
        source: Box<toml::de::Error>,
    },
    /// A key that no bridge has.
    #[error("{path}: `bridge.key` must be a key as `cloudtaser bridge init` prints it: ed25519:…")]
    BridgeKey {
        /// The file.
        path: String,
        /// Why.
        source: cloudtaser_tls::TlsError,
    },
    /// A pin that no server could fulfil.
    #[error("{path}: `spki_pin` of server `{server}` must be sha256// and 44 characters of base64")]
    Pin {
        /// The file.
        path: String,
        /// The server.
        server: String,
    },
    /// Too short to be renewed in time.
    #[error("--certificate-lifetime must be at least 3s")]
    Lifetime,
    /// The file cannot be read.
    #[error("{path} cannot be used")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl Options {
    /// Reads the configuration.
    ///
    /// # Errors
    /// [`OptionsError`].
    pub(crate) fn read(&self) -> Result<Config, OptionsError> {
        if self.certificate_lifetime.0 < Duration::from_secs(3) {
            return Err(OptionsError::Lifetime);
        }
        let path = self.config.display().to_string();
        let text = std::fs::read_to_string(&self.config)
            .map_err(|source| OptionsError::Read { path: path.clone(), source })?;
        let config: Config = toml::from_str(&text).map_err(|source| OptionsError::Form {
            path: path.clone(),
            source: Box::new(source),
        })?;
        for server in &config.servers {
            if server.spki_pin.as_deref().is_some_and(|pin| SpkiPin::parse(pin).is_err()) {
                return Err(OptionsError::Pin { path, server: server.name.clone() });
            }
        }
        if let Some(Err(source)) =
            config.bridge.as_ref().map(|bridge| bridge.key.parse::<PublicKey>())
        {
            return Err(OptionsError::BridgeKey { path, source });
        }
        config
            .with_bridge(&self.namespace)
            .checked()
            .map_err(|source| OptionsError::Content { path, source })
    }

    /// The name under which the API server checks our certificate.
    pub(crate) fn server_name(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }
}
