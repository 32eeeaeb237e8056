//! Requests to an API server, one after the other, each under a time limit.
//!
//! What may succeed when asked again is asked again for a short while: every request here can be
//! repeated, since an apply, a get and a delete come to the same twice.

use std::{
    collections::BTreeMap,
    fmt,
    io::Read as _,
    thread,
    time::{Duration, Instant},
};

use cloudtaser_core::{Secret, names::kubernetes::ISSUER_KEYS_PATH};
use cloudtaser_tls::{TlsClient, TlsOptions, Trust, explain};
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::{
    Agent,
    http::{HeaderValue, Method, Request, StatusCode},
    unversioned::resolver::DefaultResolver,
};
use zeroize::Zeroizing;

use super::{
    ClusterArgs,
    dial::Dial,
    error::{ApiError, ClusterError},
    kubeconfig,
    path::of_object,
};
use crate::ui;

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// For an API server that is busy or has just lost its leader.
const PERSISTENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(500);
/// The form of an answer that is the whole object.
const EVERYTHING: &str = "application/json";
/// A page of a list, as kubectl asks for them.
const PAGE: u32 = 500;
/// A list of pods of a full page has some megabytes.
const LONGEST: u64 = 256 << 20;
const APPLY: &str = "application/apply-patch+yaml";
/// A list that changes faster than it is read is given up after so many beginnings.
const BEGINNINGS: u32 = 3;

/// Whether fields are taken from whoever has them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Force {
    /// A field of another manager is a conflict.
    Ask,
    /// It is taken over.
    TakeOver,
}

/// A cluster that can be asked.
pub(crate) struct Cluster {
    agent: Agent,
    /// The context's name, for words.
    pub(crate) context: String,
    /// Its address, for words.
    pub(crate) server: String,
    token: Option<Secret>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("server", &self.server).finish_non_exhaustive()
    }
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    date: Option<String>,
    /// Wiped: it may be a Secret.
    body: Zeroizing<Vec<u8>>,
}

/// As much of a Secret as is needed, borrowed from the answer: base64 has nothing to unescape.
#[derive(Deserialize)]
struct HeldSecret<'a> {
    #[serde(borrow, default)]
    data: Option<BTreeMap<&'a str, &'a str>>,
}

impl Cluster {
    /// Reads the kubeconfig and makes a client. Nothing is sent yet.
    pub(crate) fn open(args: &ClusterArgs) -> Result<Self, ClusterError> {
        let access = kubeconfig::access(args)?;
        if matches!(access.trust, Trust::SkipVerify(_)) {
            ui::note(
                "warning: insecure-skip-tls-verify is set in the kubeconfig: whoever is on the way \
                 can take the place of this cluster",
            );
        }
        let options = TlsOptions {
            trust: access.trust,
            identity: access.identity,
            server_name: access.server_name,
        };
        let tls = TlsClient::new(&options).map_err(ClusterError::Tls)?;
        let config = Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("cloudtaser/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(PATIENCE))
            .build();
        Ok(Self {
            agent: Agent::with_parts(config, Dial(tls), DefaultResolver::default()),
            context: access.context,
            server: access.server,
            token: access.token,
        })
    }

    /// An object, if it is there.
    pub(crate) fn get(&self, path: &str) -> Result<Option<Value>, ApiError> {
        let answer = self.ask(&Method::GET, path, None)?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        self.object(path, &answer).map(Some)
    }

    /// Text that is no object, such as a log or the metrics of a pod, if it can be had.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let answer = self.ask_once(wanted_of(path), &Method::GET, path, None).ok()?;
        let text = String::from_utf8(answer.body.to_vec()).ok()?;
        answer.status.is_success().then_some(text)
    }

    /// All objects of a path, page by page.
    pub(crate) fn list(&self, path: &str, query: &str) -> Result<Vec<Value>, ApiError> {
        let (mut items, mut next, mut beginnings) = (Vec::new(), String::new(), 1);
        loop {
            let page = format!("{path}?limit={PAGE}{query}{next}");
            let answer = self.ask(&Method::GET, &page, None)?;
            // The continuation is older than what the API server remembers.
            if answer.status == StatusCode::GONE && !next.is_empty() && beginnings < BEGINNINGS {
                (items, next) = (Vec::new(), String::new());
                beginnings += 1;
                continue;
            }
            let mut list = self.object(path, &answer)?;
            let more = list.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take);
            items.extend(more.unwrap_or_default());
            match list.pointer("/metadata/continue").and_then(Value::as_str) {
                Some(token) if !token.is_empty() => next = format!("&continue={}", encoded(token)),
                _ => return Ok(items),
            }
        }
    }

    /// The fields of a Secret, if it is there.
    pub(crate) fn secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Secret>>, ApiError> {
        let path = format!("/api/v1/namespaces/{}/secrets/{}", encoded(namespace), encoded(name));
        let answer = self.ask_for(EVERYTHING, &Method::GET, &path, None)?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !answer.status.is_success() {
            return self.object(&path, &answer).map(|_never| None);
        }
        // SECURITY: an error of a parser may quote what it read.
        let odd = || ApiError::NotTheApi { what: words(&path), server: self.server.clone() };
        let held: HeldSecret<'_> = serde_json::from_slice(&answer.body).ok().ok_or_else(odd)?;
        let mut fields = BTreeMap::new();
        for (name, text) in held.data.unwrap_or_default() {
            let value = BASE64.decode(text.as_bytes()).ok().ok_or_else(odd)?;
            fields.insert(name.to_owned(), Secret::new(value));
        }
        Ok(Some(fields))
    }

    /// Creates an object of a review kind, and gives what the API server made of it.
    pub(crate) fn review(&self, path: &str, object: &Value) -> Result<Value, ApiError> {
        let body = Body::of("application/json", object);
        let answer = self.ask(&Method::POST, path, Some(&body))?;
        self.object(path, &answer)
    }

    /// Makes the fields of an object so, and leaves all others as they are.
    pub(crate) fn apply(&self, object: &Value, force: Force) -> Result<Value, ApiError> {
        self.apply_body(object, &Body::of(APPLY, object), force)
    }

    /// Makes a Secret so, with one field more than the object has.
    pub(crate) fn apply_secret(
        &self,
        object: &Value,
        (name, value): (&str, &Secret),
        force: Force,
    ) -> Result<(), ApiError> {
        let head = object.to_string();
        // SECURITY: written by hand, since a tree of JSON would leave copies of the value behind.
        let len = head.len() + value.len() * 2 + 64;
        let mut bytes = Zeroizing::new(String::with_capacity(len));
        bytes.push_str(head.strip_suffix('}').unwrap_or(&head));
        bytes.push_str(&format!(",\"data\":{{\"{name}\":\""));
        bytes.push_str(&Zeroizing::new(BASE64.encode(value.expose())));
        bytes.push_str("\"}}");
        self.apply_body(object, &Body { kind: APPLY, bytes }, force).map(drop)
    }

    fn apply_body(&self, object: &Value, body: &Body, force: Force) -> Result<Value, ApiError> {
        let path = of_object(object).unwrap_or_default();
        let force = force == Force::TakeOver;
        let manager = cloudtaser_k8s::install::FIELD_MANAGER;
        let query = format!("{path}?fieldManager={manager}&force={force}&fieldValidation=Strict");
        let answer = self.ask(&Method::PATCH, &query, Some(body))?;
        self.object(&path, &answer)
    }

    /// Asks for an object's removal; whether it was there.
    pub(crate) fn delete(&self, path: &str) -> Result<bool, ApiError> {
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
        });
        let body = Body::of("application/json", &options);
        let answer = self.ask(&Method::DELETE, path, Some(&body))?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        self.object(path, &answer).map(|_deleted| true)
    }

    /// The API server's clock, as it writes it into answers.
    pub(crate) fn date(&self) -> Result<Option<String>, ApiError> {
        Ok(self.ask(&Method::GET, "/version", None)?.date)
    }

    fn object(&self, path: &str, answer: &Answer) -> Result<Value, ApiError> {
        let what = words(path);
        let json: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let Some(json) = json else {
            return Err(if answer.status.is_success() {
                ApiError::NotTheApi { what, server: self.server.clone() }
            } else {
                let message = String::from_utf8_lossy(&answer.body).trim().to_owned();
                self.refusal(what, answer.status, message)
            });
        };
        if answer.status.is_success() {
            return Ok(json);
        }
        let message = json.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
        Err(self.refusal(what, answer.status, message))
    }

    fn refusal(&self, what: String, status: StatusCode, message: String) -> ApiError {
        let message = ui::printable(&message);
        match status.as_u16() {
            401 => ApiError::Unauthorized { server: self.server.clone() },
            403 => ApiError::Forbidden { what, message },
            409 => ApiError::Conflict { what, message },
            400 | 422 => ApiError::Invalid { what, message },
            status => ApiError::Server { what, status, message },
        }
    }

    fn ask(&self, method: &Method, path: &str, body: Option<&Body>) -> Result<Answer, ApiError> {
        self.ask_for(wanted_of(path), method, path, body)
    }

    fn ask_for(
        &self,
        wanted: &str,
        method: &Method,
        path: &str,
        body: Option<&Body>,
    ) -> Result<Answer, ApiError> {
        let start = Instant::now();
        loop {
            let answer = self.ask_once(wanted, method, path, body);
            let again = match &answer {
                Ok(answer) => matches!(answer.status.as_u16(), 429 | 500 | 502 | 503 | 504),
                // What will not change within seconds is told at once: names, certificates.
                Err(lost) => lost.again,
            };
            if !again || start.elapsed() > PERSISTENCE {
                return answer.map_err(|lost| ApiError::Unreachable {
                    server: self.server.clone(),
                    why: lost.why,
                });
            }
            thread::sleep(PAUSE);
        }
    }

    fn ask_once(
        &self,
        wanted: &str,
        method: &Method,
        path: &str,
        body: Option<&Body>,
    ) -> Result<Answer, Lost> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.server));
        request = request.header("accept", wanted);
        if let Some(token) = &self.token {
            let bearer = [b"Bearer ", token.expose()].concat();
            let value = HeaderValue::from_bytes(&bearer);
            let mut value =
                value.map_err(|_bad| Lost::of("the token has impossible characters"))?;
            value.set_sensitive(true);
            request = request.header("authorization", value);
        }
        let bad = |_| Lost::of("the request cannot be written");
        let sent = match body {
            Some(body) => {
                let request = request.header("content-type", body.kind);
                self.agent.run(request.body(body.bytes.as_str()).map_err(bad)?)
            }
            // ureq takes a DELETE and a GET without a body.
            None => self.agent.run(request.body(()).map_err(bad)?),
        };
        let response = sent.map_err(|error| Lost::from(&error))?;
        let status = response.status();
        let date = response.headers().get("date").and_then(|date| date.to_str().ok());
        let date = date.map(str::to_owned);
        let len = response.headers().get("content-length").and_then(|len| len.to_str().ok());
        let len = len.and_then(|len| len.parse().ok()).unwrap_or(0_usize);
        // SECURITY: all of it at once, so that no copy is left behind by growing.
        let mut bytes = Zeroizing::new(Vec::with_capacity(len.clamp(16 << 10, 4 << 20)));
        let read = response.into_body().into_reader().take(LONGEST).read_to_end(&mut bytes);
        read.map_err(|error| Lost { why: error.to_string(), again: true })?;
        Ok(Answer { status, date, body: bytes })
    }
}

/// What is sent.
struct Body {
    kind: &'static str,
    /// Wiped: it may be a Secret.
    bytes: Zeroizing<String>,
}

impl Body {
    fn of(kind: &'static str, object: &Value) -> Self {
        Self { kind, bytes: Zeroizing::new(object.to_string()) }
    }
}

/// SECURITY: of Secrets it is asked what they are called and not what is in them, but where that is
/// what is wanted.
fn wanted_of(path: &str) -> &'static str {
    let path = path.split('?').next().unwrap_or_default();
    if path.ends_with("/secrets") {
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    } else if path.contains("/secrets/") {
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    } else if path == ISSUER_KEYS_PATH {
        // The API server has them in this form alone, and answers 406 to who wants JSON.
        "application/jwk-set+json"
    } else {
        EVERYTHING
    }
}

/// Why there was no answer.
struct Lost {
    why: String,
    again: bool,
}

impl Lost {
    fn of(why: &str) -> Self {
        Self { why: why.to_owned(), again: false }
    }
}

impl From<&ureq::Error> for Lost {
    fn from(error: &ureq::Error) -> Self {
        let tls = |error: &rustls::Error| Self { why: explain(error).1, again: false };
        match error {
            ureq::Error::Rustls(error) => tls(error),
            ureq::Error::Io(error) => {
                let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
                inner.map_or_else(|| Self { why: error.to_string(), again: true }, tls)
            }
            ureq::Error::HostNotFound => Self::of("no such host"),
            ureq::Error::Timeout(_) => Self { why: "no answer in time".to_owned(), again: true },
            other => Self { why: other.to_string(), again: false },
        }
    }
}

/// What a path is about: `daemonsets cloudtaser-agent`.
fn words(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let head = if parts.first() == Some(&"apis") { 3 } else { 2 };
    parts.drain(..head.min(parts.len()));
    if parts.len() > 2 && parts.first() == Some(&"namespaces") {
        parts.drain(..2);
    }
    if parts.is_empty() { path.to_owned() } else { parts.join(" ") }
}

/// A value of a query.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut out = String::new();
    for byte in text.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_in_words() {
        assert_eq!(
            words("/apis/apps/v1/namespaces/n/daemonsets/agent?force=true"),
            "daemonsets agent"
        );
        assert_eq!(words("/api/v1/namespaces/n"), "namespaces n");
        assert_eq!(words("/version"), "/version");
    }

    #[test]
    fn a_query_holds_any_text() {
        assert_eq!(encoded("a=b/ü~"), "a%3Db%2F%C3%BC~");
    }
}
