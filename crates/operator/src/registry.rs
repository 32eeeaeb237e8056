//! What an image starts, asked of its registry as the kubelet would pull it.
//!
//! Only hosts that the operator's configuration names are asked: an image reference is text that
//! anybody who may create a pod can write. Every credential that matches is tried, the most special
//! one first, and none is sent anywhere but to its registry and to the token service that the
//! registry names. Manifests and configurations are held against their digests.
//!
//! Reading order: [`credentials`], [`client`] (one image), [`cache`].

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use cloudtaser_k8s::{
    Entrypoint, ImageRequest, config::Registry as RegistryRules, image::Reference,
};
use tokio::sync::Semaphore;
use ureq::Agent;
use zeroize::Zeroizing;

use crate::cluster::Cluster;

mod cache;
mod client;
mod credentials;
mod manifest;

use cache::Cache;
use client::Pull;
use credentials::Keychain;
pub(crate) use credentials::PullSecret;

/// Look-ups at the same time; a registry is somebody else's machine.
const MOST: usize = 8;
/// Less than what the API server waits for an answer.
const PATIENCE: Duration = Duration::from_secs(8);

/// Asks registries, and remembers.
#[derive(Debug)]
pub(crate) struct Registry {
    config: RegistryRules,
    agent: Agent,
    /// Reads pull secrets, where that is allowed.
    cluster: Option<Cluster>,
    cache: Mutex<Cache>,
    places: Arc<Semaphore>,
}

impl Registry {
    /// Prepares for asking; nothing is asked yet.
    ///
    /// # Errors
    /// Where files of the configuration cannot be read.
    pub(crate) fn new(config: RegistryRules, cluster: Cluster) -> anyhow::Result<Self> {
        let mut pem = Vec::new();
        if let Some(path) = &config.ca_file {
            pem = fs::read(path).with_context(|| format!("cannot read {path}"))?;
        }
        if let Some(path) = &config.auth_file {
            let text =
                Zeroizing::new(fs::read(path).with_context(|| format!("cannot read {path}"))?);
            Keychain::parse(&text).with_context(|| format!("{path} cannot be used"))?;
        }
        let agent = client::agent(&pem, !config.hosts.is_empty())?;
        let cluster = config.pull_secrets.then_some(cluster);
        let cache = Mutex::new(Cache::default());
        Ok(Self { config, agent, cluster, cache, places: Arc::new(Semaphore::new(MOST)) })
    }

    /// What each of these images starts, or a sentence why that is not known.
    pub(crate) async fn look_up(
        self: &Arc<Self>,
        namespace: &str,
        requests: Vec<ImageRequest>,
    ) -> BTreeMap<ImageRequest, Result<Entrypoint, String>> {
        let mut answers = BTreeMap::new();
        let end = tokio::time::Instant::now() + PATIENCE;
        for request in requests {
            let key = (namespace.to_owned(), request.clone());
            let known = self.cached(&key);
            let answer = match known {
                Some(known) => Ok(known),
                None => match tokio::time::timeout_at(end, self.ask(key)).await {
                    Ok(answer) => answer,
                    Err(_late) => Err(format!("no registry answered within {PATIENCE:?}")),
                },
            };
            answers.insert(request, answer);
        }
        answers
    }

    async fn ask(self: &Arc<Self>, key: (String, ImageRequest)) -> Result<Entrypoint, String> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_closed| "the operator stops".to_owned())?;
        let registry = Arc::clone(self);
        let asked = tokio::task::spawn_blocking(move || {
            // Whoever waited for a place may find that somebody else has asked meanwhile.
            let answer = match registry.cached(&key) {
                Some(known) => Ok(known),
                None => registry.fetch(&key),
            };
            drop(place);
            answer
        });
        asked.await.unwrap_or_else(|_panicked| Err("the look-up failed".to_owned()))
    }

    fn cached(&self, key: &(String, ImageRequest)) -> Option<Entrypoint> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(key, Instant::now())
    }

    fn fetch(&self, key: &(String, ImageRequest)) -> Result<Entrypoint, String> {
        let (namespace, request) = key;
        let reference = Reference::parse(&request.image)
            .ok_or_else(|| "the image's name cannot be read".to_owned())?;
        if !self.config.hosts.contains(&reference.host) {
            return Err(format!(
                "the operator does not ask registry {} (`hosts` of [registry] in its \
                 configuration)",
                reference.host
            ));
        }
        let keychain = self.keychain(namespace, request)?;
        let none = Vec::new();
        let mirrors = self.config.mirrors.get(&reference.host).unwrap_or(&none);
        let architecture = request.architecture.as_ref().or(self.config.architecture.as_ref());
        let pull = Pull {
            agent: &self.agent,
            reference: &reference,
            mirrors,
            keychain: &keychain,
            architecture: architecture.map(String::as_str),
        };
        let found = pull.entrypoint().map_err(|error| crate::log::chain(&error))?;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.put(key.clone(), found.clone(), reference.digest.is_some(), Instant::now());
        Ok(found)
    }

    /// All credentials that the kubelet would have for this pod, and the operator's own.
    fn keychain(&self, namespace: &str, request: &ImageRequest) -> Result<Keychain, String> {
        let mut keychain = Keychain::default();
        if let Some(cluster) = &self.cluster {
            let secrets = format!("/api/v1/namespaces/{namespace}/secrets");
            let mut names = request.pull_secrets.clone();
            names.extend(self.secrets_of_account(cluster, namespace, &request.service_account)?);
            for name in names {
                let path = format!("{secrets}/{}", segment(&name)?);
                let secret = cluster.pull_secret(&path).map_err(|error| error.to_string())?;
                // The kubelet goes on without a secret that is not there, and so do we.
                if let Some(secret) = secret {
                    keychain.add_secret(&secret);
                }
            }
        }
        if let Some(path) = &self.config.auth_file {
            let text = fs::read(path).map_err(|_gone| "auth_file cannot be read".to_owned())?;
            let text = Zeroizing::new(text);
            keychain.extend(Keychain::parse(&text).map_err(|error| error.to_string())?);
        }
        Ok(keychain)
    }

    fn secrets_of_account(
        &self,
        cluster: &Cluster,
        namespace: &str,
        account: &str,
    ) -> Result<Vec<String>, String> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{}", segment(account)?);
        let account = cluster.get(&path).map_err(|error| error.to_string())?.unwrap_or_default();
        let list = account.get("imagePullSecrets").and_then(serde_json::Value::as_array);
        let names = list.into_iter().flatten().filter_map(|entry| entry.get("name")?.as_str());
        Ok(names.map(str::to_owned).collect())
    }
}

/// SECURITY: a name that a pod's author chose becomes a part of a path; it must be one segment.
fn segment(name: &str) -> Result<&str, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let is_name = !name.is_empty() && name.bytes().all(fits) && !matches!(name, "." | "..");
    if is_name { Ok(name) } else { Err("a pull secret has a name that is none".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_their_place_in_a_path_are_refused() {
        for bad in ["", ".", "..", "a/b", "../configmaps/x", "a?b", "a%2fb", "a#b"] {
            assert!(segment(bad).is_err(), "{bad}");
        }
        assert_eq!(segment("my-secret.1"), Ok("my-secret.1"));
    }
}
