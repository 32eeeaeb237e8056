//! An issuer's public keys, from a file that the operator put there (RFC 7517).

use std::{fs, path::Path};

use cloudtaser_tls::signature::VerifyingKey;
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use crate::file::ConfigError;

/// Keys with their names. Members that are not needed are passed over, as the standard demands.
#[derive(Debug)]
pub struct Jwks(Vec<(Option<String>, VerifyingKey)>);

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
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).ok_or(ConfigError::Missing(
            "the jwks_file of an issuer has no key for signatures of RS256 or ES256",
        ))
    }

    /// Reads the text of a set; `None` where no key of it can be used.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let set: Set = serde_json::from_slice(text).ok()?;
        let keys = set.keys.into_iter().filter_map(|key| Some((key.kid.clone(), key.usable()?)));
        Some(Self(keys.collect())).filter(|keys| !keys.0.is_empty())
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &VerifyingKey> {
        self.0.iter().map(|(_, key)| key)
    }

    /// The keys that may have signed a token with this algorithm and this key's name.
    pub(super) fn candidates<'a>(
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
            .filter(move |(own, key)| key.algorithm() == algorithm && named(own))
            .map(|(_, key)| key)
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
