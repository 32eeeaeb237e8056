//! What an error of a handshake means to the one who has to mend it.

use cloudtaser_core::Blame;
use rustls::{AlertDescription, CertificateError, Error};

use crate::verify::Unpinned;

/// A sentence about the error, without a full stop, and whose fault it is.
#[must_use]
pub fn explain(error: &Error) -> (Blame, String) {
    match error {
        Error::InvalidCertificate(problem) => certificate(problem),
        Error::AlertReceived(alert) => received(*alert),
        Error::PeerIncompatible(_) => (
            Blame::Peer,
            "the server does not speak TLS 1.3 as it is asked for: set tls_min_version of its \
             listener to tls13 or upgrade what ends TLS in front of it"
                .to_owned(),
        ),
        Error::InvalidMessage(_) => (
            Blame::Configuration,
            "the server answers without TLS: is the address https where it should be http, or is \
             the port wrong"
                .to_owned(),
        ),
        Error::NoCertificatesPresented => {
            (Blame::Peer, "the server shows no certificate".to_owned())
        }
        other => (Blame::Peer, format!("TLS failed: {other}")),
    }
}

fn certificate(problem: &CertificateError) -> (Blame, String) {
    match problem {
        CertificateError::UnknownIssuer => (
            Blame::Configuration,
            "the server's certificate is signed by no trusted CA: give the CA that signed it"
                .to_owned(),
        ),
        CertificateError::NotValidForName => {
            (Blame::Configuration, "the server's certificate is for another name".to_owned())
        }
        CertificateError::NotValidForNameContext { expected, presented } => (
            Blame::Configuration,
            format!(
                "the server's certificate is not for {} but for {}: correct the address or set \
                 the TLS server name",
                expected.to_str(),
                if presented.is_empty() { "no name".to_owned() } else { list(presented) },
            ),
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            Blame::Peer,
            "the server's certificate has expired (or the clock here is ahead)".to_owned(),
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            Blame::Peer,
            "the server's certificate is not valid yet (or the clock here is behind)".to_owned(),
        ),
        CertificateError::Other(other) => match other.0.downcast_ref::<Unpinned>() {
            Some(unpinned) => (Unpinned::blame(), unpinned.to_string()),
            // What the verifier cannot name: an end entity certificate that is a CA, and the like.
            None => (Blame::Peer, format!("the server's certificate is not usable: {}", other.0)),
        },
        CertificateError::BadSignature => {
            (Blame::Attack, "a signature in the server's certificates is false".to_owned())
        }
        other => (Blame::Peer, format!("the server's certificate is not usable: {other}")),
    }
}

/// At most this many names of a certificate are shown: some have hundreds.
const SHOWN_NAMES: usize = 4;

fn list(names: &[String]) -> String {
    let mut shown = names.iter().take(SHOWN_NAMES).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN_NAMES {
        shown.push_str(", …");
    }
    shown
}

fn received(alert: AlertDescription) -> (Blame, String) {
    match alert {
        AlertDescription::ProtocolVersion => (
            Blame::Peer,
            "the server does not speak TLS 1.3: set tls_min_version of its listener to tls13 or \
             upgrade what ends TLS in front of it"
                .to_owned(),
        ),
        AlertDescription::CertificateRequired => (
            Blame::Configuration,
            "the server demands a client certificate: give one and its key".to_owned(),
        ),
        AlertDescription::BadCertificate
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::UnsupportedCertificate => {
            (Blame::Configuration, format!("the server refuses the client certificate ({alert:?})"))
        }
        AlertDescription::HandshakeFailure => (
            Blame::Peer,
            "the server shares no cipher suite, key exchange or signature scheme of TLS 1.3"
                .to_owned(),
        ),
        AlertDescription::UnrecognisedName => {
            (Blame::Configuration, "the server does not serve this TLS server name".to_owned())
        }
        other => (Blame::Peer, format!("the server ended the handshake ({other:?})")),
    }
}
