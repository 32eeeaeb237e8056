//! Reading configurations and the keys that they name.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use cloudtaser_core::{Secret, release::policy::PolicyError};
use cloudtaser_road::admission::AdmissionError;
use cloudtaser_tls::{
    TlsError,
    raw::{KeyPair, PublicKey},
};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what is expected.
    #[error("{} is no configuration", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A key cannot be used.
    #[error("the key in {} cannot be used", path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        source: TlsError,
    },
    /// A public key in the file cannot be read.
    #[error("{name}: this is no public key")]
    PublicKey {
        /// Whose.
        name: String,
        /// Why.
        source: TlsError,
    },
    /// A client file is not as a bridge writes it.
    #[error(transparent)]
    Admission(AdmissionError),
    /// A release policy cannot be used.
    #[error("the release policy {} cannot be used", path.display())]
    Policy {
        /// Which.
        path: PathBuf,
        /// Why.
        source: PolicyError,
    },
    /// Something that must be there is not, or contradicts the rest.
    #[error("{0}")]
    Missing(&'static str),
}

/// Reads a file of ours; its size is bounded, its words are known.
pub(crate) fn read_toml<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    toml::from_str(&text)
        .map_err(|source| ConfigError::Syntax { path: path.to_owned(), source: Box::new(source) })
}

/// Reads a private key.
pub(crate) fn read_key(path: &Path) -> Result<KeyPair, ConfigError> {
    let text =
        fs::read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    KeyPair::from_pem(&Secret::new(text))
        .map_err(|source| ConfigError::Key { path: path.to_owned(), source })
}

/// Reads a public key; the error names where it stands.
pub(crate) fn parse_key(name: &str, text: &str) -> Result<PublicKey, ConfigError> {
    text.parse().map_err(|source| ConfigError::PublicKey { name: name.to_owned(), source })
}

/// A path that a file names is meant from the file's own folder.
pub(crate) fn beside(file: &Path, named: &Path) -> PathBuf {
    file.parent().map_or_else(|| named.to_owned(), |folder| folder.join(named))
}

/// Puts a file in the place of another in one step, which a crash leaves done or not done.
pub(crate) fn replace(folder: &Path, name: &str, aside: &str, content: &[u8]) -> io::Result<()> {
    let aside = folder.join(aside);
    let opened =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside);
    let mut file = opened?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(aside, folder.join(name))?;
    // The rename itself is in the folder.
    File::open(folder)?.sync_all()
}
