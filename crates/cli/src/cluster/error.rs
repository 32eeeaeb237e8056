//! What can be wrong between here and an API server, and what to do about it.

use std::io;

use cloudtaser_core::exit::Code;
use cloudtaser_tls::TlsError;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ClusterError {
    /// A kubeconfig that cannot be used.
    #[error("{path} {what}")]
    Kubeconfig {
        /// The file, or files.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// There is none.
    #[error("no kubeconfig: set KUBECONFIG, or give --kubeconfig FILE")]
    NoKubeconfig,
    /// The program that gives credentials gave none.
    #[error("the kubeconfig's program {command} {what}")]
    Plugin {
        /// Its name.
        command: String,
        /// What came of it.
        what: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Certificates or keys that cannot be used.
    #[error("TLS to the cluster cannot be set up")]
    Tls(#[source] TlsError),
}

/// What came of a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ApiError {
    /// Somebody else owns a field, or the object changed meanwhile.
    #[error("{what}: conflict: {message}")]
    Conflict {
        /// The object.
        what: String,
        /// What the API server said.
        message: String,
    },
    /// The caller may not.
    #[error("{what}: forbidden: {message}")]
    Forbidden {
        /// The object.
        what: String,
        /// What the API server said; it names user, verb and resource.
        message: String,
    },
    /// The API server takes the object for wrong.
    #[error("{what}: refused: {message}")]
    Invalid {
        /// The object.
        what: String,
        /// What the API server said.
        message: String,
    },
    /// An answer that is none.
    #[error("{what}: {server} gave an answer that is not the API's: is this its address")]
    NotTheApi {
        /// The object.
        what: String,
        /// The server.
        server: String,
    },
    /// Something else.
    #[error("{what}: the API server answered {status}: {message}")]
    Server {
        /// The object.
        what: String,
        /// The status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// Nobody knows the caller.
    #[error(
        "{server} does not know these credentials (401): log in again, or renew the kubeconfig"
    )]
    Unauthorized {
        /// The server.
        server: String,
    },
    /// No connection.
    #[error("cannot reach {server}: {why}")]
    Unreachable {
        /// The server.
        server: String,
        /// Why.
        why: String,
    },
}

impl ClusterError {
    pub(crate) const fn code(&self) -> Code {
        match self {
            Self::Plugin { .. } => Code::Unavailable,
            _ => Code::Usage,
        }
    }
}

impl ApiError {
    pub(crate) const fn code(&self) -> Code {
        match self {
            Self::Conflict { .. }
            | Self::Forbidden { .. }
            | Self::Invalid { .. }
            | Self::Unauthorized { .. } => Code::Refused,
            Self::NotTheApi { .. } | Self::Server { .. } | Self::Unreachable { .. } => {
                Code::Unavailable
            }
        }
    }
}
