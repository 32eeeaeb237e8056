//! Answers of OpenBao, read without receiving them.
//!
//! Every function takes the whole text of an answer and gives owners of the parts that are wanted;
//! the text itself stays in the caller's wiped buffer. Nothing here panics on any text.

use std::{collections::BTreeMap, fmt, time::Duration};

use cloudtaser_core::Secret;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    error::{Failure, presentable},
    json::{members, text_of},
    renewal::Grant,
};

/// What a read or a write gave.
#[derive(Debug)]
pub struct Answer {
    /// The fields.
    pub fields: Fields,
    /// The lease, where what was given ends with one.
    pub lease: Option<Lease>,
    /// The path that answered: with `data/` for KV v2.
    pub path: String,
    /// Which version of a KV v2 secret this is.
    pub version: Option<u64>,
    /// What OpenBao remarks, made fit for a log line.
    pub warnings: Vec<String>,
    /// OpenBao's name of the request, as its audit log has it.
    pub request: Option<String>,
}

/// The fields of a secret. A field that is `null` is as if it were not there.
pub struct Fields {
    json: Secret,
    by_name: BTreeMap<String, Secret>,
}

/// A promise that something lives until then.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lease {
    /// Its name.
    pub id: String,
    /// How long it lives.
    pub duration: Duration,
    /// Whether it may be renewed.
    pub renewable: bool,
}

/// A login.
#[derive(Debug)]
pub struct Session {
    token: Secret,
    /// The token's name in OpenBao's logs, which is no secret.
    pub accessor: Option<String>,
    /// How long it lives from when it was given; zero for ever, or unknown.
    pub lease: Duration,
    /// Whether it may be renewed.
    pub renewable: bool,
    /// The names of its policies.
    pub policies: Vec<String>,
}

/// Where a path is mounted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Mount {
    /// With a slash at the end.
    pub(crate) path: String,
    pub(crate) versioned: bool,
}

impl Fields {
    /// One field: a string as it is, anything else as JSON.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.by_name.get(name)
    }

    /// All fields by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.by_name.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The names, which are no secret.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// The whole object as JSON.
    #[must_use]
    pub const fn json(&self) -> &Secret {
        &self.json
    }

    /// The whole object as JSON, to be handed on.
    #[must_use]
    pub fn into_json(self) -> Secret {
        self.json
    }

    fn parse(object: &RawValue) -> Result<Self, Failure> {
        let found = members(object).ok_or(Failure::Shape("its data is no object"))?;
        let mut by_name = BTreeMap::new();
        for (name, value) in found {
            if value.get() != "null" {
                let text = text_of(value).ok_or(Failure::Shape("a field has half a character"))?;
                by_name.insert(name, text);
            }
        }
        Ok(Self { json: Secret::new(object.get().as_bytes().to_vec()), by_name })
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl Session {
    /// The token.
    #[must_use]
    pub const fn token(&self) -> &Secret {
        &self.token
    }

    /// What renewal goes by; the first time to live is that of the login itself.
    #[must_use]
    pub const fn grant(&self, first_ttl: Duration) -> Grant {
        Grant { ttl: self.lease, renewable: self.renewable, first_ttl }
    }

    /// A session of a token about which nothing else is known.
    pub(crate) const fn of_token(token: Secret) -> Self {
        let lease = Duration::ZERO;
        Self { token, accessor: None, lease, renewable: false, policies: Vec::new() }
    }
}

impl Lease {
    /// What renewal goes by; the first time to live is that of the read itself.
    #[must_use]
    pub const fn grant(&self, first_ttl: Duration) -> Grant {
        Grant { ttl: self.duration, renewable: self.renewable, first_ttl }
    }
}

/// The outer object of every answer.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(default)]
    request_id: Option<String>,
    #[serde(borrow, default)]
    auth: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    wrap_info: Option<&'a RawValue>,
    #[serde(default)]
    lease_id: Option<String>,
    #[serde(default)]
    lease_duration: Option<u64>,
    #[serde(default)]
    renewable: Option<bool>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
    #[serde(default)]
    errors: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Auth<'a> {
    #[serde(borrow)]
    client_token: &'a RawValue,
    #[serde(default)]
    accessor: Option<String>,
    #[serde(default)]
    lease_duration: Option<u64>,
    #[serde(default)]
    renewable: Option<bool>,
    #[serde(default)]
    token_policies: Option<Vec<String>>,
    #[serde(default)]
    policies: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct LookedUp {
    #[serde(default)]
    accessor: Option<String>,
    #[serde(default)]
    ttl: Option<u64>,
    #[serde(default)]
    renewable: Option<bool>,
    #[serde(default)]
    policies: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct MountInfo {
    path: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    options: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    version: Option<u64>,
    #[serde(default)]
    created_time: Option<String>,
    #[serde(default)]
    destroyed: Option<bool>,
}

fn envelope(text: &[u8]) -> Result<Envelope<'_>, Failure> {
    serde_json::from_slice(text)
        .ok()
        .ok_or(Failure::Shape("it has not the form of OpenBao's answers"))
}

/// A JSON `null` is a raw value too.
fn present(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|raw| raw.get() != "null")
}

/// Reads what a read or a write gave.
pub(crate) fn parse(text: &[u8], path: String) -> Result<Answer, Failure> {
    let envelope = envelope(text)?;
    // What makes tokens answers with `auth` alone.
    let data = present(envelope.data)
        .or_else(|| present(envelope.auth))
        .ok_or(Failure::Shape("it holds no data"))?;
    let versioned = versioned(data);
    let (object, version) = match &versioned {
        Some((inner, metadata)) => match inner {
            Some(inner) => (*inner, metadata.version),
            None => return Err(deleted(metadata)),
        },
        None => (data, None),
    };
    let lease = envelope.lease_id.filter(|id| !id.is_empty()).map(|id| Lease {
        id,
        duration: Duration::from_secs(envelope.lease_duration.unwrap_or(0)),
        renewable: envelope.renewable.unwrap_or(false),
    });
    let warnings = envelope.warnings.unwrap_or_default();
    let warnings = presentable(warnings.iter().map(String::as_str));
    let request = envelope.request_id.filter(|id| !id.is_empty());
    Ok(Answer { fields: Fields::parse(object)?, lease, path, version, warnings, request })
}

/// OpenBao's name of the request, as its audit log has it.
pub(crate) fn request_id(text: &[u8]) -> Option<String> {
    envelope(text).ok()?.request_id.filter(|id| !id.is_empty())
}

/// Why a 404 came: a deleted version says so in its body.
pub(crate) fn missing(text: &[u8]) -> Option<Failure> {
    let envelope = envelope(text).ok()?;
    match versioned(present(envelope.data)?)? {
        (None, metadata) => Some(deleted(&metadata)),
        (Some(_), _) => None,
    }
}

const fn deleted(metadata: &Metadata) -> Failure {
    Failure::Deleted {
        version: metadata.version,
        destroyed: matches!(metadata.destroyed, Some(true)),
    }
}

/// The two halves of what KV v2 gives: an object of `data` and `metadata` and nothing else, whose
/// metadata names a version and its time. Data of other engines that look like this by chance would
/// need to imitate all of it.
fn versioned(data: &RawValue) -> Option<(Option<&RawValue>, Metadata)> {
    let found = members(data)?;
    let (Some(&inner), Some(&metadata), 2) =
        (found.get("data"), found.get("metadata"), found.len())
    else {
        return None;
    };
    let metadata: Metadata = serde_json::from_str(metadata.get()).ok()?;
    (metadata.version.is_some() && metadata.created_time.is_some())
        .then_some((present(Some(inner)), metadata))
}

/// Reads what a login, a renewal or an unwrapped token gave.
pub(crate) fn session(text: &[u8]) -> Result<Session, Failure> {
    const NO_AUTH: Failure = Failure::Shape("it holds no token");
    let auth = present(envelope(text)?.auth).ok_or(NO_AUTH)?;
    let auth: Auth<'_> = serde_json::from_str(auth.get()).ok().ok_or(NO_AUTH)?;
    let token = text_of(auth.client_token).filter(|token| !token.is_empty()).ok_or(NO_AUTH)?;
    Ok(Session {
        token,
        accessor: auth.accessor.filter(|accessor| !accessor.is_empty()),
        lease: Duration::from_secs(auth.lease_duration.unwrap_or(0)),
        renewable: auth.renewable.unwrap_or(false),
        policies: auth.token_policies.or(auth.policies).unwrap_or_default(),
    })
}

/// Adds to a token what a look-up says about it.
pub(crate) fn looked_up(text: &[u8], token: Secret) -> Result<Session, Failure> {
    const NO_DATA: Failure = Failure::Shape("it says nothing about the token");
    let data = present(envelope(text)?.data).ok_or(NO_DATA)?;
    let about: LookedUp = serde_json::from_str(data.get()).ok().ok_or(NO_DATA)?;
    Ok(Session {
        token,
        accessor: about.accessor,
        lease: Duration::from_secs(about.ttl.unwrap_or(0)),
        renewable: about.renewable.unwrap_or(false),
        policies: about.policies.unwrap_or_default(),
    })
}

/// Reads what a renewed lease gave.
pub(crate) fn lease(text: &[u8], id: &str) -> Result<Lease, Failure> {
    let envelope = envelope(text)?;
    Ok(Lease {
        id: envelope.lease_id.filter(|id| !id.is_empty()).unwrap_or_else(|| id.to_owned()),
        duration: Duration::from_secs(envelope.lease_duration.unwrap_or(0)),
        renewable: envelope.renewable.unwrap_or(false),
    })
}

/// Reads one field of what was unwrapped.
pub(crate) fn unwrapped(text: &[u8], field: &'static str) -> Result<Secret, Failure> {
    let missing = Failure::Shape("what was wrapped is something else");
    let Some(data) = present(envelope(text)?.data) else { return Err(missing) };
    members(data)
        .and_then(|members| members.get(field).copied().and_then(text_of))
        .filter(|secret| !secret.is_empty())
        .ok_or(missing)
}

/// Where a wrapped answer was made, from a look-up of its token.
pub(crate) fn creation_path(text: &[u8]) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Wrapping {
        creation_path: String,
    }
    present(envelope(text)?.data)
        .and_then(|data| serde_json::from_str::<Wrapping>(data.get()).ok())
        .map(|wrapping| wrapping.creation_path)
        .ok_or(Failure::Shape("it does not say where the wrapped answer was made"))
}

/// Whether the answer was wrapped instead of given, which happens when a policy demands it.
pub(crate) fn is_wrapped(text: &[u8]) -> bool {
    envelope(text).is_ok_and(|envelope| present(envelope.wrap_info).is_some())
}

/// Reads where a path is mounted.
pub(crate) fn mount(text: &[u8]) -> Result<Mount, Failure> {
    const NO_MOUNT: Failure = Failure::Shape("it does not say where the path is mounted");
    let data = present(envelope(text)?.data).ok_or(NO_MOUNT)?;
    let info: MountInfo = serde_json::from_str(data.get()).ok().ok_or(NO_MOUNT)?;
    let version = info.options.as_ref().and_then(|options| options.get("version"));
    let versioned = info.kind == "kv" && version.is_some_and(|version| version == "2");
    Ok(Mount { path: format!("{}/", info.path.trim_matches('/')), versioned })
}

/// What OpenBao says about a request that it did not grant.
pub(crate) fn errors(text: &[u8]) -> Vec<String> {
    let errors = envelope(text).ok().and_then(|envelope| envelope.errors).unwrap_or_default();
    presentable(errors.iter().map(String::as_str))
}

/// The raw `data` of an answer, for engines with a shape of their own.
pub(crate) fn data(text: &[u8]) -> Option<&RawValue> {
    present(envelope(text).ok()?.data)
}

#[cfg(test)]
mod tests;
