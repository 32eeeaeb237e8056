//! What can be wrong with a TLS set-up before any byte is sent.

use std::{io, path::PathBuf};

use cloudtaser_core::Blame;

/// Why a TLS configuration cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file or directory of certificates cannot be read.
    #[error("cannot read CA certificates from {}", path.display())]
    Authorities {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The certificate is not DER as X.509 has it.
    #[error("the certificate has no public key where X.509 puts it")]
    Certificate,
    /// The provider cannot run here.
    #[error(
        "this CPU lacks {missing}, which the cryptography needs: use a node type with these \
         instructions"
    )]
    Cpu {
        /// The features that are missing.
        missing: String,
    },
    /// The client certificate or its key cannot be read.
    #[error("cannot read the client certificate or key in {}", path.display())]
    IdentityFile {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The client certificate and its key do not make a pair that can sign.
    #[error(
        "the client certificate and key cannot be used: RSA, P-256, P-384 or Ed25519 is needed"
    )]
    IdentityPair(#[source] rustls::Error),
    /// A certificate cannot be made: a name that is none, or a time out of range.
    #[cfg(feature = "issue")]
    #[error("the certificate cannot be made")]
    Issue(#[source] rcgen::Error),
    /// There is no certificate or key in the PEM text.
    #[error("the PEM text has no {wanted}")]
    NoPem {
        /// What was looked for.
        wanted: &'static str,
    },
    /// No certificate at all would be trusted.
    #[error("no CA certificate found in {place}: name a CA file or pin the server's key")]
    NoRoots {
        /// Where it was looked for.
        place: String,
    },
    /// A pin is not in the form that curl and HPKP made known.
    #[error("a pin has the form sha256// and 44 characters of base64")]
    Pin,
    /// A private key cannot be read, or is not Ed25519.
    #[error("the private key is not Ed25519 in PKCS#8")]
    PrivateKey,
    /// A public key is not in our text form.
    #[error("a public key has the form ed25519: and 44 characters of base64")]
    PublicKey,
    /// The provider refused something that it should offer.
    #[error("the TLS library refused the configuration")]
    Refused(#[source] rustls::Error),
    /// The kernel gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
    /// The name to expect in the certificate is no DNS name or IP address.
    #[error("the TLS server name is neither a DNS name nor an IP address")]
    ServerName,
    /// A verifier cannot be made of the given certificates.
    #[error("the CA certificates cannot be used")]
    Verifier(#[source] rustls::client::VerifierBuilderError),
}

impl TlsError {
    /// Whose fault it is.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Cpu { .. } | Self::Random | Self::Refused(_) => Blame::Platform,
            Self::Certificate => Blame::Peer,
            #[cfg(feature = "issue")]
            Self::Issue(_) => Blame::Configuration,
            Self::Authorities { .. }
            | Self::IdentityFile { .. }
            | Self::IdentityPair(_)
            | Self::NoPem { .. }
            | Self::NoRoots { .. }
            | Self::Pin
            | Self::PrivateKey
            | Self::PublicKey
            | Self::ServerName
            | Self::Verifier(_) => Blame::Configuration,
        }
    }
}
