//! Who may answer for the server.
//!
//! There is no default that trusts the web's authorities: the caller says which. Reading the
//! certificates is all the IO in this crate.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use crate::{error::TlsError, pin::SpkiPin};

/// Where distributions keep the machine's own authorities, in one PEM file.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// A CA file larger than this is not a CA file.
const MAX_BUNDLE_LEN: u64 = 16 << 20;

/// Who may answer.
#[derive(Clone, Debug)]
pub enum Trust {
    /// A server whose certificate chains to one of these, names it and is in date; and, where there
    /// are pins, whose key is one of them too.
    Authorities {
        /// Where the authorities are.
        sources: Vec<Authorities>,
        /// Keys, one of which is demanded in addition.
        pins: Vec<SpkiPin>,
    },
    /// A server that holds one of these keys. Its certificate's name and dates are not looked at:
    /// the key is the identity.
    PinOnly(Vec<SpkiPin>),
    /// Anyone at all.
    SkipVerify(SkipVerify),
}

/// A place to read authorities from.
#[derive(Clone, Debug)]
pub enum Authorities {
    /// Every file of a directory (`VAULT_CAPATH`).
    Dir(PathBuf),
    /// A PEM bundle.
    File(PathBuf),
    /// PEM text.
    Pem(Vec<u8>),
    /// The bundle that the distribution keeps.
    System,
}

/// The spoken acceptance that nobody checks who answers. Somebody has to write the words.
#[derive(Clone, Copy, Debug)]
pub struct SkipVerify(());

impl SkipVerify {
    /// Whoever can reach the connection gets the token and gives the secrets.
    #[must_use]
    pub const fn anyone_may_answer() -> Self {
        Self(())
    }
}

impl Default for Trust {
    fn default() -> Self {
        Self::Authorities { sources: vec![Authorities::System], pins: Vec::new() }
    }
}

/// Reads all sources into one store.
///
/// Certificates that cannot be used as an authority are passed over, as every TLS client does with
/// bundles; a source of which nothing is left is an error.
pub(crate) fn roots(sources: &[Authorities]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for source in sources {
        let before = store.len();
        match source {
            Authorities::Dir(dir) => {
                for path in files_of(dir)? {
                    add(&mut store, &read(&path)?);
                }
            }
            Authorities::File(path) => add(&mut store, &read(path)?),
            Authorities::Pem(text) => add(&mut store, text),
            Authorities::System => {
                if let Some(path) = SYSTEM_BUNDLES.iter().map(Path::new).find(|path| path.exists())
                {
                    add(&mut store, &read(path)?);
                }
            }
        }
        if store.len() == before {
            return Err(TlsError::NoRoots { place: source.place() });
        }
    }
    if store.is_empty() {
        return Err(TlsError::NoRoots { place: "the configuration".to_owned() });
    }
    Ok(store)
}

impl Authorities {
    fn place(&self) -> String {
        match self {
            Self::Dir(path) | Self::File(path) => path.display().to_string(),
            Self::Pem(_) => "the given PEM text".to_owned(),
            Self::System => SYSTEM_BUNDLES.join(", "),
        }
    }
}

fn add(store: &mut RootCertStore, pem: &[u8]) {
    store.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok));
}

/// The regular files of a directory in the order of their names, links followed.
fn files_of(dir: &Path) -> Result<Vec<PathBuf>, TlsError> {
    let failed = |source| TlsError::Authorities { path: dir.to_owned(), source };
    let mut paths = fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>())
        .map_err(failed)?;
    paths.retain(|path| path.is_file());
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Authorities { path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > MAX_BUNDLE_LEN {
        return Err(failed(io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    fs::read(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = roots(&[Authorities::File("/nowhere/ca.pem".into())]).unwrap_err();
        assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    }

    #[test]
    fn a_source_without_a_certificate_is_an_error() {
        for sources in [vec![], vec![Authorities::Pem(b"no pem".to_vec())]] {
            assert!(matches!(roots(&sources), Err(TlsError::NoRoots { .. })));
        }
    }
}
