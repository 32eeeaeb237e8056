//! One image: manifest, configuration, and what stands in it.

use std::{fs, io, time::Duration};

use cloudtaser_core::Secret;
use cloudtaser_k8s::{
    Entrypoint,
    image::{Reference, is_digest},
};
use cloudtaser_tls::Digest;
use data_encoding::HEXLOWER;
use ureq::{
    Agent,
    http::{HeaderValue, Response, StatusCode},
    tls::{Certificate, PemItem, parse_pem},
};
use zeroize::Zeroizing;

use super::{
    credentials::Keychain,
    manifest::{ACCEPT, Configuration, Document},
};
use crate::http;

/// One request; the whole look-up has a deadline of its own.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Manifests and configurations are kilobytes; registries refuse more than this.
const MAX_LEN: u64 = 4 << 20;
/// Registries send blobs from elsewhere, in one step.
const MAX_REDIRECTS: usize = 3;
/// More platforms than any image has that people run.
const MAX_PLATFORMS: usize = 8;
/// Where distributions keep the machine's own authorities.
const SYSTEM: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// All that one look-up needs.
pub(super) struct Pull<'a> {
    pub(super) agent: &'a Agent,
    pub(super) reference: &'a Reference,
    pub(super) mirrors: &'a [String],
    pub(super) keychain: &'a Keychain,
    pub(super) architecture: Option<&'a str>,
}

/// Why nothing was found out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum PullError {
    /// Its platforms start different programs.
    #[error(
        "it starts different programs on different architectures: say which one by the node \
         selector kubernetes.io/arch"
    )]
    Architectures,
    /// The content is not what its digest names.
    #[error("{host} gave content that is not what its digest names")]
    Digest {
        /// The registry.
        host: String,
    },
    /// The content cannot be read.
    #[error("{host} gave a {what} that cannot be read")]
    Form {
        /// The registry.
        host: String,
        /// Which document.
        what: &'static str,
    },
    /// Nothing for this architecture.
    #[error("the image is not there for Linux on {0}")]
    Platform(String),
    /// A redirect that is not followed.
    #[error("{host} sends elsewhere without TLS, or too often")]
    Redirect {
        /// The registry.
        host: String,
    },
    /// Refused by the registry.
    #[error("{host} answered {status} ({tried} credentials were tried)")]
    Refused {
        /// The registry.
        host: String,
        /// Its status.
        status: u16,
        /// How many credentials matched.
        tried: usize,
    },
    /// No answer.
    #[error("{host} cannot be reached")]
    Transport {
        /// The registry.
        host: String,
        /// Why.
        source: Box<ureq::Error>,
    },
}

/// How to be let in: what stands in `Authorization`.
enum Entry {
    Anonymous,
    Header(Zeroizing<String>),
}

impl Pull<'_> {
    /// Asks mirrors in their order, then the registry itself.
    pub(super) fn entrypoint(&self) -> Result<Entrypoint, PullError> {
        for mirror in self.mirrors {
            // What a mirror lacks or refuses is looked for further on, as container runtimes do.
            if let Ok(found) = self.at(mirror.trim_end_matches('/')) {
                return Ok(found);
            }
        }
        self.at(&self.reference.endpoint())
    }

    fn at(&self, base: &str) -> Result<Entrypoint, PullError> {
        let mut last = None;
        let credentials = self.keychain.matching(self.reference);
        let tried = credentials.len();
        // The last try is without any, for images that everybody may pull.
        for credential in credentials.into_iter().map(Some).chain([None]) {
            match self.with(base, credential) {
                Err(PullError::Refused { host, status, .. })
                    if matches!(status, 401 | 403 | 404) =>
                {
                    last.get_or_insert(PullError::Refused { host, status, tried });
                }
                done => return done,
            }
        }
        Err(last.unwrap_or(PullError::Redirect { host: self.reference.host.clone() }))
    }

    fn with(&self, base: &str, credential: Option<&Secret>) -> Result<Entrypoint, PullError> {
        let mut entry = Entry::Anonymous;
        let selector = self.reference.selector();
        let document = self.manifest(base, selector, credential, &mut entry)?;
        let manifests = match document {
            Document::Manifest { config } => {
                return self.configuration(base, &config.digest, credential, &mut entry);
            }
            Document::Index { manifests } => manifests,
        };
        let candidates = Document::candidates(&manifests, self.architecture);
        let mut found: Option<Entrypoint> = None;
        for digest in candidates.iter().take(MAX_PLATFORMS) {
            let host = || self.reference.host.clone();
            let document = self.manifest(base, digest, credential, &mut entry)?;
            let Document::Manifest { config } = document else {
                return Err(PullError::Form { host: host(), what: "manifest" });
            };
            let one = self.configuration(base, &config.digest, credential, &mut entry)?;
            if found.as_ref().is_some_and(|found| *found != one) {
                return Err(PullError::Architectures);
            }
            found = Some(one);
        }
        let wanted = || self.architecture.unwrap_or("any architecture").to_owned();
        found.ok_or_else(|| PullError::Platform(wanted()))
    }

    fn manifest(
        &self,
        base: &str,
        selector: &str,
        credential: Option<&Secret>,
        entry: &mut Entry,
    ) -> Result<Document, PullError> {
        let url = format!("{base}/v2/{}/manifests/{selector}", self.reference.repository);
        self.read(&url, selector, credential, entry, "manifest")
    }

    fn configuration(
        &self,
        base: &str,
        digest: &str,
        credential: Option<&Secret>,
        entry: &mut Entry,
    ) -> Result<Entrypoint, PullError> {
        let host = self.reference.host.clone();
        if !is_digest(digest) {
            return Err(PullError::Form { host, what: "manifest" });
        }
        let url = format!("{base}/v2/{}/blobs/{digest}", self.reference.repository);
        let found: Configuration = self.read(&url, digest, credential, entry, "configuration")?;
        Ok(found.into_entrypoint())
    }

    /// Fetches a document and holds it against its digest, where it is named by one.
    fn read<T: serde::de::DeserializeOwned>(
        &self,
        url: &str,
        selector: &str,
        credential: Option<&Secret>,
        entry: &mut Entry,
        what: &'static str,
    ) -> Result<T, PullError> {
        let host = || self.reference.host.clone();
        let body = self.fetch(url, credential, entry)?;
        if let Some(hex) = selector.strip_prefix("sha256:") {
            let found = Digest::new().map(|digest| HEXLOWER.encode(&digest.sha256(&[&body])));
            if !found.is_ok_and(|found| found == hex) {
                return Err(PullError::Digest { host: host() });
            }
        }
        serde_json::from_slice(&body).map_err(|_form| PullError::Form { host: host(), what })
    }

    fn fetch(
        &self,
        url: &str,
        credential: Option<&Secret>,
        entry: &mut Entry,
    ) -> Result<Vec<u8>, PullError> {
        let mut response = self.get(url, entry)?;
        if response.status() == StatusCode::UNAUTHORIZED {
            *entry = self.enter(&response, credential)?;
            response = self.get(url, entry)?;
        }
        for _ in 0..MAX_REDIRECTS {
            if !response.status().is_redirection() {
                return self.body(response);
            }
            let to = response.headers().get("location").and_then(|to| to.to_str().ok());
            let to = to.filter(|to| to.starts_with("https://"));
            let to = to.ok_or_else(|| PullError::Redirect { host: self.reference.host.clone() })?;
            // SECURITY: whoever is sent to gets no credential.
            response = self.get(to, &Entry::Anonymous)?;
        }
        Err(PullError::Redirect { host: self.reference.host.clone() })
    }

    fn body(&self, mut response: Response<ureq::Body>) -> Result<Vec<u8>, PullError> {
        let host = || self.reference.host.clone();
        let status = response.status();
        if !status.is_success() {
            return Err(PullError::Refused { host: host(), status: status.as_u16(), tried: 0 });
        }
        let body = response.body_mut().with_config().limit(MAX_LEN).read_to_vec();
        body.map_err(|source| PullError::Transport { host: host(), source: Box::new(source) })
    }

    fn get(&self, url: &str, entry: &Entry) -> Result<Response<ureq::Body>, PullError> {
        let mut request = self.agent.get(url).header("accept", ACCEPT);
        if let Entry::Header(text) = entry
            && let Ok(mut value) = HeaderValue::from_str(text)
        {
            value.set_sensitive(true);
            request = request.header("authorization", value);
        }
        let host = self.reference.host.clone();
        request.call().map_err(|source| PullError::Transport { host, source: Box::new(source) })
    }

    /// Answers the registry's challenge: by the credential itself, or by a token that its token
    /// service gives for it.
    fn enter(
        &self,
        response: &Response<ureq::Body>,
        credential: Option<&Secret>,
    ) -> Result<Entry, PullError> {
        let host = || self.reference.host.clone();
        let refused = || PullError::Refused { host: host(), status: 401, tried: 0 };
        let basic = credential.and_then(Secret::expose_str);
        let basic = basic.map(|text| Zeroizing::new(format!("Basic {}", text.trim())));
        let challenge = response.headers().get("www-authenticate");
        let challenge = challenge.and_then(|text| text.to_str().ok()).unwrap_or_default();
        let Some(parameters) = strip_word(challenge, "bearer") else {
            return basic.map(Entry::Header).ok_or_else(refused);
        };
        let realm = parameter(parameters, "realm").filter(|realm| realm.starts_with("https://"));
        let realm = realm.ok_or_else(refused)?;
        let scope = format!("repository:{}:pull", self.reference.repository);
        let mut request = self.agent.get(realm).query("scope", &scope);
        if let Some(service) = parameter(parameters, "service") {
            request = request.query("service", service);
        }
        if let Some(basic) = &basic
            && let Ok(mut value) = HeaderValue::from_str(basic)
        {
            value.set_sensitive(true);
            request = request.header("authorization", value);
        }
        let answer = request.call();
        let answer = answer
            .map_err(|source| PullError::Transport { host: host(), source: Box::new(source) })?;
        let body = Zeroizing::new(self.body(answer)?);
        let token = token_of(&body).ok_or(PullError::Form { host: host(), what: "token" })?;
        Ok(Entry::Header(Zeroizing::new(format!("Bearer {}", token.as_str()))))
    }
}

fn token_of(body: &[u8]) -> Option<Zeroizing<String>> {
    #[derive(serde::Deserialize)]
    struct Answer {
        token: Option<Zeroizing<String>>,
        access_token: Option<Zeroizing<String>>,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    answer.token.or(answer.access_token)
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (first, rest) = text.trim().split_once(' ')?;
    first.eq_ignore_ascii_case(word).then_some(rest)
}

/// One parameter of a challenge: `name="value"` among commas.
fn parameter<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = text;
    loop {
        let (found, after) = rest.split_once('=')?;
        let after = after.strip_prefix('"')?;
        let (value, after) = after.split_once('"')?;
        if found.trim_matches([',', ' ']).eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after;
    }
}

/// An agent that trusts the machine's authorities and these.
pub(super) fn agent(pem: &[u8], wanted: bool) -> anyhow::Result<Agent> {
    let mut roots: Vec<Certificate<'static>> = Vec::new();
    let system = SYSTEM.iter().map(fs::read).find_map(io::Result::ok).unwrap_or_default();
    for text in [pem, &system] {
        for item in parse_pem(text).flatten() {
            if let PemItem::Certificate(certificate) = item {
                roots.push(certificate);
            }
        }
    }
    if wanted && roots.is_empty() {
        anyhow::bail!("no authorities for registries: `ca_file` of [registry] is needed");
    }
    http::agent(&roots, TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_in_any_order_and_nonsense_is_none() {
        let text = r#"Bearer realm="https://auth.example/token",service="reg, a=b",scope="x""#;
        let parameters = strip_word(text, "bearer").unwrap();
        assert_eq!(parameter(parameters, "realm"), Some("https://auth.example/token"));
        assert_eq!(parameter(parameters, "Service"), Some("reg, a=b"));
        assert_eq!(parameter(parameters, "none"), None);
        for text in ["", "x", "a=b", "a=\"b", "=\"\"", ",,,="] {
            assert_eq!(parameter(text, "realm"), None, "{text}");
        }
        assert_eq!(strip_word("Basic realm=\"x\"", "bearer"), None);
    }

    #[test]
    fn a_token_has_two_names() {
        assert_eq!(token_of(br#"{"token": "a"}"#).unwrap().as_str(), "a");
        assert_eq!(token_of(br#"{"access_token": "b"}"#).unwrap().as_str(), "b");
        assert!(token_of(b"{}").is_none());
    }
}
