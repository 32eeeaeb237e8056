//! The policy in force, which can be replaced while sessions are open.

use std::{
    fs,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use cloudtaser_core::release::policy::{Policy, PolicyFile};
use cloudtaser_tls::Digest;
use data_encoding::HEXLOWER;

use crate::file::ConfigError;

/// A policy and the hash of the file that it came from.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) policy: Policy,
    pub(super) hash: String,
}

#[derive(Debug)]
pub(super) struct PolicyStore(RwLock<Arc<Loaded>>);

impl PolicyStore {
    pub(super) fn read(path: &Path, digest: Digest) -> Result<Self, ConfigError> {
        Ok(Self(RwLock::new(Arc::new(load(path, digest)?))))
    }

    /// Replaces the policy; the hash of the new one.
    pub(super) fn reload(&self, path: &Path, digest: Digest) -> Result<String, ConfigError> {
        let loaded = Arc::new(load(path, digest)?);
        let hash = loaded.hash.clone();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(hash)
    }

    /// What holds at this moment.
    pub(super) fn now(&self) -> Arc<Loaded> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn load(path: &Path, digest: Digest) -> Result<Loaded, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let file: PolicyFile = toml::from_str(&text).map_err(|source| ConfigError::Syntax {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    let policy = Policy::compile(file)
        .map_err(|source| ConfigError::Policy { path: path.to_owned(), source })?;
    Ok(Loaded { policy, hash: HEXLOWER.encode(&digest.sha256(&[text.as_bytes()])) })
}
