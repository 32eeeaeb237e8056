//! Another key for the bridge's log of receipts.
//!
//! The next key lies beside the present one until it takes its place. What witnesses and auditors
//! have to do comes in between: who does not know the new key believes nothing that it signs.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use cloudtaser_evidence::{
    Log, LogError,
    keys::{self, KeyFileError},
    log::Options,
    note::{KeyKind, Signer, VerifierKey},
    policy::{Policy, PolicyError},
    witness::remote::Witnesses,
};

use super::config::LogConfig;

/// Nobody waits for it but whoever rotates.
const WITNESS_PATIENCE: Duration = Duration::from_secs(30);

/// Why the key stays what it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogKeyError {
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The log.
    #[error("the log's key was not changed; stop the bridge, and try again")]
    Log(#[from] LogError),
    /// Witnesses would not know who signs.
    #[error(
        "the policy of witnesses does not know the next key: give it to the witnesses (--log), and \
         add a line to {}: {line}", path.display()
    )]
    Unknown {
        /// The policy.
        path: PathBuf,
        /// The next key's line.
        line: String,
    },
    /// The policy of witnesses.
    #[error("cannot use the policy {}", path.display())]
    Policy {
        /// Which.
        path: PathBuf,
        /// Why.
        source: PolicyError,
    },
    /// Another file.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A key that took another one's place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rotated {
    /// Who signed until then.
    pub old: VerifierKey,
    /// Who signs from then on.
    pub new: VerifierKey,
    /// The log's size then.
    pub size: u64,
}

/// The next key, which is made where there is none yet.
///
/// # Errors
/// [`LogKeyError`].
pub fn prepare(config: &LogConfig) -> Result<VerifierKey, LogKeyError> {
    Ok(next(config)?.verifier())
}

/// Puts the next key in the place of the present one. It can be cut anywhere, and is then done again.
///
/// # Errors
/// [`LogKeyError`].
pub fn rotate(config: &LogConfig) -> Result<Rotated, LogKeyError> {
    let (present, next) = (keys::read_signer(&config.key_file)?, next(config)?);
    let (old, new) = (present.verifier(), next.verifier());
    let mut options = Options::default();
    if let Some(path) = &config.witnesses {
        let policy = fs::read_to_string(path).map_err(at(path))?;
        let policy: Policy =
            policy.parse().map_err(|source| LogKeyError::Policy { path: path.clone(), source })?;
        if !policy.logs().contains(&new) {
            let line = format!("log {new}");
            return Err(LogKeyError::Unknown { path: path.clone(), line });
        }
        options = options.witnesses(Witnesses::new(policy, WITNESS_PATIENCE));
    }
    let signed = Log::rotate(&config.dir, &present, next, options)?;
    let rotated = Rotated { old, new, size: signed.checkpoint().size };
    // Before the key, so that a cut leaves both to be done again.
    rewrite(&config.key_file.with_extension("policy"), &rotated)?;
    let key = &config.key_file;
    fs::rename(beside(key), key).map_err(at(key))?;
    let folder = key.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))?;
    Ok(rotated)
}

impl Rotated {
    /// Their lines in the policies of auditors and witnesses.
    #[must_use]
    pub fn lines(&self) -> String {
        format!("log {}\nwas {} {}\n", self.new, self.old, self.size)
    }
}

fn next(config: &LogConfig) -> Result<Signer, LogKeyError> {
    let path = beside(&config.key_file);
    if path.exists() {
        return Ok(keys::read_signer(&path)?);
    }
    let name = keys::read_signer(&config.key_file)?.name().to_owned();
    Ok(keys::make_signer(&path, &name, KeyKind::Log)?)
}

/// Where the next key waits.
fn beside(key: &Path) -> PathBuf {
    let mut next = key.as_os_str().to_owned();
    next.push(".next");
    next.into()
}

/// The policy that was made with the log, where it is still there.
fn rewrite(path: &Path, rotated: &Rotated) -> Result<(), LogKeyError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(path)(error)),
    };
    let old = format!("log {}\n", rotated.old);
    let new = path.with_extension("policy.new");
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(text.replace(&old, &rotated.lines()).as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&new, path)).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> LogKeyError {
    let path = path.to_owned();
    move |source| LogKeyError::Io { path, source }
}

#[cfg(test)]
mod tests;
