//! What an image starts, for containers that say no command.
//!
//! Whoever answers talks to a registry; here is only the question and the form of the answer.

use std::collections::BTreeMap;

mod reference;

pub use reference::{Reference, is_digest};

/// What an image starts by itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Entrypoint {
    /// `Entrypoint` of the image's configuration.
    pub entrypoint: Vec<String>,
    /// `Cmd` of it.
    pub cmd: Vec<String>,
}

/// Which image, and with what it may be pulled.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ImageRequest {
    /// The reference as the container has it.
    pub image: String,
    /// Architecture by the pod's node selector, such as `arm64`.
    pub architecture: Option<String>,
    /// Secrets of the pod's namespace that the kubelet would try, in order.
    pub pull_secrets: Vec<String>,
    /// The pod's service account, whose pull secrets come after them.
    pub service_account: String,
}

/// Answers what an image starts.
pub trait ImageResolver {
    /// What this image starts.
    ///
    /// # Errors
    /// A sentence for the person who created the pod.
    fn entrypoint(&self, request: &ImageRequest) -> Result<Entrypoint, String>;
}

/// Knows no image: containers must say their command.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRegistry;

impl ImageResolver for NoRegistry {
    fn entrypoint(&self, _request: &ImageRequest) -> Result<Entrypoint, String> {
        Err("the operator asks no registry".to_owned())
    }
}

/// Answers that were fetched before.
impl ImageResolver for BTreeMap<ImageRequest, Result<Entrypoint, String>> {
    fn entrypoint(&self, request: &ImageRequest) -> Result<Entrypoint, String> {
        self.get(request).cloned().unwrap_or_else(|| Err("the image was not looked up".to_owned()))
    }
}
