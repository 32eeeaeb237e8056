//! Requests to the API server: as few and as plain as this program needs.
//!
//! Blocking, since they are a few a minute and made by a thread of their own. The token is read
//! anew for each request, because the kubelet renews the file. No proxy is used.

use std::{collections::BTreeMap, fs, io, path::PathBuf, time::Duration};

use anyhow::Context as _;
use cloudtaser_core::Secret;
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::Value;
use ureq::{
    Agent,
    http::{Method, Request, Response},
    tls::{PemItem, parse_pem},
};

use zeroize::Zeroizing;

use crate::{http, options::Options, registry::PullSecret};

/// Longer than any healthy answer, and shorter than what a Lease lasts.
const TIMEOUT: Duration = Duration::from_secs(5);
/// No object of ours is near this.
const MAX_BODY_LEN: u64 = 4 << 20;
const JSON_PATCH: &str = "application/json-patch+json";
/// Where the kubelet puts what a pod needs for the API server.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The API server.
#[derive(Debug)]
pub(crate) struct Cluster {
    agent: Agent,
    base: String,
    token: Option<PathBuf>,
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ApiError {
    /// The answer is no JSON.
    #[error("{what}: the answer of the API server cannot be read")]
    Form {
        /// The request.
        what: String,
    },
    /// The API server refused.
    #[error("{what}: the API server answered {status}: {message}")]
    Refused {
        /// The request.
        what: String,
        /// Its status.
        status: u16,
        /// What it says.
        message: String,
    },
    /// The token cannot be read.
    #[error("the token {path} cannot be read")]
    Token {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// There was no answer.
    #[error("{what}")]
    Transport {
        /// The request.
        what: String,
        /// Why.
        source: Box<ureq::Error>,
    },
}

impl ApiError {
    /// Whether somebody else was faster.
    pub(crate) const fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }
}

/// A Secret of this program's own, and the version that was read.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) version: String,
    pub(crate) fields: BTreeMap<String, Secret>,
}

/// As much of a Secret as is needed, borrowed from the answer: base64 has nothing to unescape.
#[derive(Deserialize)]
struct Shown<'a> {
    #[serde(borrow)]
    metadata: Versioned<'a>,
    #[serde(borrow, default)]
    data: Option<BTreeMap<&'a str, &'a str>>,
}

#[derive(Deserialize)]
struct Versioned<'a> {
    #[serde(rename = "resourceVersion")]
    version: &'a str,
}

impl Held {
    fn read(body: &[u8]) -> Option<Self> {
        let shown: Shown<'_> = serde_json::from_slice(body).ok()?;
        let mut fields = BTreeMap::new();
        for (name, text) in shown.data.unwrap_or_default() {
            fields.insert(name.to_owned(), Secret::new(BASE64.decode(text.as_bytes()).ok()?));
        }
        Some(Self { version: shown.metadata.version.to_owned(), fields })
    }
}

impl Cluster {
    /// Finds the API server as a pod does, or as the command line says.
    ///
    /// # Errors
    /// Where there is none, or its authorities cannot be read.
    pub(crate) fn connect(options: &Options) -> anyhow::Result<Self> {
        let ca = options.kube_ca.clone().unwrap_or_else(|| format!("{ACCOUNT}/ca.crt").into());
        let base = match &options.kube {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => in_cluster().context("not in a pod: --kube and --kube-ca are needed")?,
        };
        let pem = fs::read(&ca).with_context(|| format!("cannot read {}", ca.display()))?;
        let token = match (&options.kube_token, &options.kube) {
            (Some(path), _) => Some(path.clone()),
            (None, Some(_)) => None,
            (None, None) => Some(format!("{ACCOUNT}/token").into()),
        };
        Ok(Self { agent: agent(&pem)?, base, token })
    }

    /// Reads an object; `None` where there is none.
    ///
    /// # Errors
    /// Any [`ApiError`].
    pub(crate) fn get(&self, path: &str) -> Result<Option<Value>, ApiError> {
        match self.send(Method::GET, path, None) {
            Ok(value) => Ok(Some(value)),
            Err(ApiError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a pull secret; `None` where there is none. No other Secret is ever asked for.
    ///
    /// # Errors
    /// Any [`ApiError`].
    pub(crate) fn pull_secret(&self, path: &str) -> Result<Option<PullSecret>, ApiError> {
        let body = match self.ask(&Method::GET, path, None) {
            Ok(body) => body,
            Err(ApiError::Refused { status: 404, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let what = || format!("GET {path}");
        serde_json::from_slice(&body).map(Some).map_err(|_form| ApiError::Form { what: what() })
    }

    /// Reads a Secret of this program's own; `None` where there is none.
    ///
    /// # Errors
    /// Any [`ApiError`].
    pub(crate) fn secret(&self, path: &str) -> Result<Option<Held>, ApiError> {
        match self.ask(&Method::GET, path, None) {
            Ok(body) => Held::read(&body)
                .map(Some)
                .ok_or_else(|| ApiError::Form { what: format!("GET {path}") }),
            Err(ApiError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces all fields of a Secret, where it is still the version that was read; `None` where it
    /// is not.
    ///
    /// # Errors
    /// Any [`ApiError`].
    pub(crate) fn refill(
        &self,
        path: &str,
        version: &str,
        fields: &[(&str, &Secret)],
    ) -> Result<Option<Held>, ApiError> {
        // SECURITY: written by hand, since a tree of JSON would leave copies behind.
        let len = fields.iter().map(|(_, value)| value.expose().len() * 2 + 64).sum::<usize>();
        let mut text = Zeroizing::new(String::with_capacity(len + 512));
        let test = serde_json::json!(version);
        text.push_str(&format!(
            r#"[{{"op":"test","path":"/metadata/resourceVersion","value":{test}}},{{"op":"add","path":"/data","value":{{"#
        ));
        for (at, (name, value)) in fields.iter().enumerate() {
            text.push_str(if at == 0 { "\"" } else { ",\"" });
            text.push_str(name);
            text.push_str("\":\"");
            text.push_str(&Zeroizing::new(BASE64.encode(value.expose())));
            text.push('"');
        }
        text.push_str("}}]");
        match self.ask(&Method::PATCH, path, Some((JSON_PATCH, text.as_str()))) {
            Ok(body) => Held::read(&body)
                .map(Some)
                .ok_or_else(|| ApiError::Form { what: format!("PATCH {path}") }),
            Err(error) if error.is_conflict() => Ok(None),
            // A patch whose `test` failed.
            Err(ApiError::Refused { status: 422, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes an object.
    ///
    /// # Errors
    /// Any [`ApiError`]; a conflict where it is there already.
    pub(crate) fn create(&self, path: &str, object: &Value) -> Result<Value, ApiError> {
        self.send(Method::POST, path, Some(("application/json", object)))
    }

    /// Replaces an object, which carries the version that it replaces.
    ///
    /// # Errors
    /// Any [`ApiError`]; a conflict where it was changed meanwhile.
    pub(crate) fn replace(&self, path: &str, object: &Value) -> Result<Value, ApiError> {
        self.send(Method::PUT, path, Some(("application/json", object)))
    }

    /// Changes an object by JSON Patch.
    ///
    /// # Errors
    /// Any [`ApiError`].
    pub(crate) fn patch(&self, path: &str, patch: &Value) -> Result<Value, ApiError> {
        self.send(Method::PATCH, path, Some((JSON_PATCH, patch)))
    }

    /// Removes an object; one that is not there counts as removed.
    ///
    /// # Errors
    /// Any [`ApiError`].
    pub(crate) fn delete(&self, path: &str) -> Result<(), ApiError> {
        match self.send(Method::DELETE, path, None) {
            Ok(_) | Err(ApiError::Refused { status: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Value, ApiError> {
        let what = || format!("{method} {path}");
        let text = body.map(|(kind, object)| (kind, object.to_string()));
        let body = text.as_ref().map(|(kind, text)| (*kind, text.as_str()));
        let bytes = self.ask(&method, path, body)?;
        serde_json::from_slice(&bytes).map_err(|_form| ApiError::Form { what: what() })
    }

    fn ask(
        &self,
        method: &Method,
        path: &str,
        body: Option<(&str, &str)>,
    ) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        let what = format!("{method} {path}");
        let transport =
            |source| ApiError::Transport { what: what.clone(), source: Box::new(source) };
        let mut request =
            Request::builder().method(method.clone()).uri(format!("{}{path}", self.base));
        if let Some(token) = self.token()? {
            let text = token.expose_str().unwrap_or_default().trim();
            // SECURITY: marked, so that no layer below shows it.
            let value = Zeroizing::new(format!("Bearer {text}"));
            let mut value = ureq::http::HeaderValue::from_str(&value)
                .map_err(|error| transport(ureq::Error::Http(error.into())))?;
            value.set_sensitive(true);
            request = request.header("authorization", value);
        }
        let response = match body {
            Some((kind, text)) => {
                let request = request.header("content-type", kind).body(text);
                self.agent.run(request.map_err(|error| transport(error.into()))?)
            }
            None => {
                let request = request.body(());
                self.agent.run(request.map_err(|error| transport(error.into()))?)
            }
        };
        answer(what.clone(), response.map_err(transport)?)
    }

    fn token(&self) -> Result<Option<Secret>, ApiError> {
        let Some(path) = &self.token else { return Ok(None) };
        let failed = |source| ApiError::Token { path: path.display().to_string(), source };
        fs::read(path).map(|bytes| Some(Secret::new(bytes))).map_err(failed)
    }
}

fn answer(
    what: String,
    mut response: Response<ureq::Body>,
) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let status = response.status();
    let body = response.body_mut().with_config().limit(MAX_BODY_LEN).read_to_vec();
    let body = match body {
        Ok(body) => Zeroizing::new(body),
        Err(source) => return Err(ApiError::Transport { what, source: Box::new(source) }),
    };
    if status.is_success() {
        return Ok(body);
    }
    let value: Option<Value> = serde_json::from_slice(&body).ok();
    let message = value.as_ref().and_then(|value| value.get("message")?.as_str());
    let message = message.unwrap_or("no reason was given").chars().take(512).collect();
    Err(ApiError::Refused { what, status: status.as_u16(), message })
}

/// An agent that trusts these authorities and no other.
pub(crate) fn agent(pem: &[u8]) -> anyhow::Result<Agent> {
    let mut roots = Vec::new();
    for item in parse_pem(pem).flatten() {
        if let PemItem::Certificate(certificate) = item {
            roots.push(certificate);
        }
    }
    anyhow::ensure!(!roots.is_empty(), "the file with the authorities has no certificate");
    http::agent(&roots, TIMEOUT)
}

/// Where every pod finds the API server.
fn in_cluster() -> Option<String> {
    let host = std::env::var("KUBERNETES_SERVICE_HOST").ok().filter(|host| !host.is_empty())?;
    let port = std::env::var("KUBERNETES_SERVICE_PORT").unwrap_or_else(|_absent| "443".to_owned());
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Some(format!("https://{host}:{port}"))
}
