//! Why a cluster is not as it was asked to be.

use cloudtaser_core::exit::Code;

use crate::cluster::{ApiError, ClusterError};

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DeployError {
    /// A request.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Before any request.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The values name one bridge, and the invitation is of another.
    #[error("the values name the bridge {0}, and that is not the one that is asked for")]
    AnotherBridge(String),
    /// Another manager owns a field.
    #[error(
        "{message}\nsomebody else set these fields: undo that, or take them over with --take-over"
    )]
    Contested {
        /// What the API server said.
        message: String,
    },
    /// Helm put it there.
    #[error("Helm manages the cloudtaser of this cluster: use `helm upgrade` or `helm uninstall`")]
    Helm,
    /// Pods would lose their secrets.
    #[error(
        "{pods} pods are opted in ({namespaces}): without cloudtaser they would not get their \
         secrets at their next start. Take the label cloudtaser.io/inject off, or give \
         --even-if-used"
    )]
    InUse {
        /// How many.
        pods: usize,
        /// Where.
        namespaces: String,
    },
    /// What was given is no invitation.
    #[error(transparent)]
    Invitation(cloudtaser_road::invitation::NoInvitation),
    /// It ran out.
    #[error("the invitation ran out at {0}: have `cloudtaser bridge invite` make another")]
    InvitationOver(String),
    /// A file that cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Registries that nothing vouches for.
    #[error(
        "registry.hosts names registries, and registry.ca has no authorities for them: give it the \
         PEM text of their certificates' issuers; for public ones that of a system, such as \
         /etc/ssl/certs/ca-certificates.crt"
    )]
    NoAuthorities,
    /// A bridge without a key.
    #[error(
        "bridge.enabled is true, and bridge.key is empty: give --invitation FILE, or --bridge \
         ed25519:… as `cloudtaser bridge init` printed it"
    )]
    NoBridge,
    /// No image.
    #[error("{0} is not set: give --registry HOST/PATH, where the images are, or a --values file")]
    NoImage(&'static str),
    /// No server.
    #[error(
        "no OpenBao: give --openbao https://HOST:PORT, or --invitation FILE of a bridge beside it, or \
         openbao.servers in a --values file"
    )]
    NoServer,
    /// The bridge says no.
    #[error("{0}")]
    NotLetIn(String),
    /// It is not there.
    #[error("there is no cloudtaser on this cluster: `cloudtaser install` puts one there")]
    NotInstalled,
    /// Time is up.
    #[error("not ready after {seconds} s:\n{problems}")]
    NotReady {
        /// How long it was waited.
        seconds: u64,
        /// What is wrong, a line each.
        problems: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Something stays.
    #[error("still there after {seconds} s: {what}")]
    Stays {
        /// How long it was waited.
        seconds: u64,
        /// What, and why.
        what: String,
    },
    /// No cryptography.
    #[error("the cryptography does not run here")]
    Tls(#[source] cloudtaser_tls::TlsError),
    /// A value on the command line.
    #[error("{flag} {source}")]
    Value {
        /// Which.
        flag: &'static str,
        /// Why.
        source: cloudtaser_k8s::install::ValuesError,
    },
    /// A key would go that cannot be had again.
    #[error(
        "this cluster is enrolled at a bridge, which is not asked for now: give --bridge {0} to keep \
         that, or --bridge none to give the cluster's key up"
    )]
    WouldForget(String),
    /// YAML that cannot be written.
    #[error("cannot write YAML: {0}")]
    Yaml(String),
}

impl DeployError {
    /// What to end with.
    pub(crate) const fn code(&self) -> Code {
        match self {
            Self::Api(error) => error.code(),
            Self::Cluster(error) => error.code(),
            Self::Contested { .. }
            | Self::Helm
            | Self::InUse { .. }
            | Self::NotLetIn(_)
            | Self::WouldForget(_) => Code::Refused,
            Self::AnotherBridge(_)
            | Self::Invitation(_)
            | Self::InvitationOver(_)
            | Self::NoAuthorities
            | Self::NoBridge
            | Self::NoImage(_)
            | Self::NoServer
            | Self::Read { .. }
            | Self::Value { .. }
            | Self::Write { .. } => Code::Usage,
            Self::NotInstalled | Self::NotReady { .. } | Self::Stays { .. } => Code::Unavailable,
            Self::Tls(_) | Self::Yaml(_) => Code::Internal,
        }
    }
}
