//! The certificate and key with which a client proves who it is.

use std::{fmt, fs, path::Path};

use cloudtaser_core::Secret;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use zeroize::Zeroize as _;

use crate::error::TlsError;

/// A certificate chain and its key. The key is wiped when this is dropped.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads PEM files.
    ///
    /// # Errors
    /// [`TlsError::IdentityFile`], or as [`Identity::from_pem`].
    pub fn from_files(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            fs::read(path)
                .map_err(|source| TlsError::IdentityFile { path: path.to_owned(), source })
        };
        Self::from_pem(&read(chain)?, &Secret::new(read(key)?))
    }

    /// Reads PEM text: the chain, leaf first, and a PKCS#8, PKCS#1 or SEC1 key.
    ///
    /// # Errors
    /// [`TlsError::NoPem`]. Whether both belong together shows when a configuration is made.
    pub fn from_pem(chain: &[u8], key: &Secret) -> Result<Self, TlsError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain).filter_map(Result::ok).collect();
        if chain.is_empty() {
            return Err(TlsError::NoPem { wanted: "client certificate" });
        }
        // The cause is left out on purpose: it may quote a line of the key.
        let key = PrivateKeyDer::from_pem_slice(key.expose())
            .ok()
            .ok_or(TlsError::NoPem { wanted: "private key" })?;
        Ok(Self { chain, key })
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    /// A second owner of the key: rustls wants its own, parses it and drops it.
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_a_certificate_or_key_is_refused() {
        let key = Secret::from("nothing".to_owned());
        let error = Identity::from_pem(b"nothing", &key).unwrap_err();
        assert!(matches!(error, TlsError::NoPem { wanted: "client certificate" }));
    }
}
