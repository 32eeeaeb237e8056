//! Verifiers of the server's certificate.
//!
//! Invariant: whatever is left unchecked about the certificate, the signature of the handshake is
//! always verified, so that the peer holds the key it shows.

use std::sync::Arc;

use cloudtaser_core::Blame;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::{error::TlsError, pin::SpkiPin, trust};

/// The server's key is none of those expected.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the server's key is {seen}, which is not pinned")]
pub(crate) struct Unpinned {
    /// The key that was shown. It is public.
    pub(crate) seen: SpkiPin,
}

impl Unpinned {
    pub(crate) const fn blame() -> Blame {
        Blame::Attack
    }
}

/// A verifier that demands a pinned key, alone or on top of a chain of authorities.
#[derive(Debug)]
pub(crate) struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    pins: Option<Vec<SpkiPin>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    pub(crate) fn new(
        trust: &trust::Trust,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::clone(provider);
        let (chain, pins) = match trust {
            trust::Trust::Authorities { sources, pins } => {
                let roots = Arc::new(trust::roots(sources)?);
                let chain =
                    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                        .build()
                        .map_err(TlsError::Verifier)?;
                (Some(chain), (!pins.is_empty()).then(|| pins.clone()))
            }
            // SECURITY: an empty list must refuse every server, not accept every one.
            trust::Trust::PinOnly(pins) => (None, Some(pins.clone())),
            trust::Trust::SkipVerify(_) => (None, None),
        };
        Ok(Self { chain, pins, provider })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(chain) = &self.chain {
            let (leaf, rest) = (end_entity, intermediates);
            chain.verify_server_cert(leaf, rest, server_name, ocsp_response, now)?;
        }
        if let Some(pins) = &self.pins {
            let seen = SpkiPin::of_certificate(end_entity).map_err(|error| match error {
                TlsError::Certificate => Error::InvalidCertificate(CertificateError::BadEncoding),
                other => Error::General(other.to_string()),
            })?;
            if !pins.contains(&seen) {
                let other = OtherError(Arc::new(Unpinned { seen }));
                return Err(Error::InvalidCertificate(CertificateError::Other(other)));
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
