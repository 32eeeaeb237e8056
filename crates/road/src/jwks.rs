//! A set of public keys in the form that an issuer publishes (RFC 7517).

use std::fmt;

use cloudtaser_tls::signature::VerifyingKey;
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

/// Keys with their names. Members that are not needed are passed over, as the standard demands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Jwks(Vec<Named>);

/// A key, and what its issuer calls it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Named {
    name: Option<String>,
    key: VerifyingKey,
}

impl Named {
    /// A key, with a name or without one.
    pub(crate) fn new(name: &str, key: VerifyingKey) -> Self {
        Self { name: (!name.is_empty()).then(|| name.to_owned()), key }
    }

    /// What its issuer calls it; nothing where it has no name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &VerifyingKey {
        &self.key
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_deref().unwrap_or("without a name");
        write!(f, "{} ({})", name.escape_debug(), self.key.algorithm())
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default, rename = "use")]
    purpose: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

impl Jwks {
    /// Reads the text of a set; `None` where no key of it can be used.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let set: Set = serde_json::from_slice(text).ok()?;
        let named = |key: Key| Some(Named { name: key.kid.clone(), key: key.usable()? });
        let keys = set.keys.into_iter().filter_map(named);
        Some(Self(keys.collect())).filter(|keys| !keys.0.is_empty())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Named> {
        self.0.iter()
    }

    /// The keys of this set that the other has not.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Vec<&Named> {
        self.iter().filter(|named| !other.0.contains(named)).collect()
    }

    /// The keys that may have signed a token with this algorithm and this key's name.
    pub fn candidates<'a>(
        &'a self,
        algorithm: &'a str,
        kid: Option<&'a str>,
    ) -> impl Iterator<Item = &'a VerifyingKey> {
        let named = move |own: &Option<String>| match (kid, own.as_deref()) {
            (Some(kid), Some(own)) => kid == own,
            _ => true,
        };
        self.0
            .iter()
            .filter(move |one| one.key.algorithm() == algorithm && named(&one.name))
            .map(Named::key)
    }
}

impl Key {
    fn usable(&self) -> Option<VerifyingKey> {
        let bytes = |text: &Option<String>| {
            text.as_ref().and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok())
        };
        if self.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let key = match (&*self.kty, self.crv.as_deref()) {
            ("RSA", None) => VerifyingKey::rsa(&bytes(&self.n)?, &bytes(&self.e)?),
            ("EC", Some("P-256")) => VerifyingKey::p256(&bytes(&self.x)?, &bytes(&self.y)?),
            _ => None,
        }?;
        self.alg.as_deref().is_none_or(|alg| alg == key.algorithm()).then_some(key)
    }
}
