//! The keys by which a cluster signs the tokens of its pods, as the cluster shows them to a bridge.
//!
//! They come by the tunnel, so nothing is believed of them but that they were shown: what makes them
//! keys of a cluster is a person who compares their fingerprint with what the cluster's API server
//! says (`docs/adr/0059`). So there is one form for one set: keys in the order of their bytes, none
//! twice, and the fingerprint is of exactly what will be believed.
//!
//! Pure: what an API server answered goes in as text.

use std::{fmt, str::FromStr};

use cloudtaser_core::names::kubernetes::{DISCOVERY_PATH, ISSUER_KEYS_PATH as KEYS_PATH};
use cloudtaser_tls::{
    Digest,
    signature::{Numbers, VerifyingKey},
};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    bytes::Reader,
    jwks::{Jwks, Named},
};

/// Keys at most. During a rotation there are two or three.
pub const MAX_KEYS: usize = 16;
/// Longest name of an issuer.
pub const MAX_ISSUER_LEN: usize = 255;
/// Longest name of a key. Kubernetes' have 43 characters.
pub const MAX_NAME_LEN: usize = 128;
/// No form is longer.
pub const MAX_LEN: usize = 12 << 10;

const CONTEXT: &[u8] = b"cte1/issuer keys";
const FINGERPRINT_PREFIX: &str = "sha256:";
const RS256: u8 = 1;
const ES256: u8 = 2;

/// An issuer, and all of its keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeySet {
    issuer: String,
    /// In the order of their bytes.
    keys: Vec<Named>,
}

/// SHA-256 of what is shown, which people compare.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Fingerprint([u8; 32]);

/// Why nothing can be shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NotShown {
    /// What came is not what an API server says of itself.
    #[error("{DISCOVERY_PATH} does not say who issues the tokens")]
    Discovery,
    /// The issuer's name.
    #[error("the name of the issuer is empty, too long, or has characters that no address has")]
    Issuer,
    /// There is no key of use.
    #[error("{KEYS_PATH} has no key for signatures of RS256 or ES256")]
    Keys,
    /// There are too many.
    #[error(
        "there are more than {MAX_KEYS} keys: carry them by file (`cloudtaser-bridge issuer-keys`)"
    )]
    Many,
    /// The name of one.
    #[error("the name of a key is longer than {MAX_NAME_LEN} bytes")]
    Name,
}

/// A text that is no fingerprint.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a fingerprint is {FINGERPRINT_PREFIX} and 44 characters of base64: copy it whole")]
pub struct NoFingerprint;

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

impl KeySet {
    /// What an API server answered at [`DISCOVERY_PATH`] and [`KEYS_PATH`].
    ///
    /// # Errors
    /// [`NotShown`].
    pub fn read(discovery: &[u8], keys: &[u8]) -> Result<Self, NotShown> {
        let Discovery { issuer } =
            serde_json::from_slice(discovery).map_err(|_odd| NotShown::Discovery)?;
        Self::new(&issuer, &Jwks::parse(keys).ok_or(NotShown::Keys)?)
    }

    /// What an API server says, which `get` asks by path, with what people compare of it.
    ///
    /// # Errors
    /// Why there is nothing to show, in words.
    pub fn ask(
        get: impl Fn(&'static str) -> Result<Option<Value>, String>,
    ) -> Result<(Self, Fingerprint), String> {
        let get = |path| {
            let answer = get(path)?.ok_or_else(|| format!("the API server has no {path}"))?;
            Ok::<_, String>(answer.to_string())
        };
        let shown = Self::read(get(DISCOVERY_PATH)?.as_bytes(), get(KEYS_PATH)?.as_bytes());
        let shown = shown.map_err(|error| error.to_string())?;
        let digest = Digest::new().map_err(|error| error.to_string())?;
        let print = shown.fingerprint(digest);
        Ok((shown, print))
    }

    /// These keys of this issuer.
    ///
    /// # Errors
    /// [`NotShown`].
    pub fn new(issuer: &str, keys: &Jwks) -> Result<Self, NotShown> {
        if !is_issuer(issuer) {
            return Err(NotShown::Issuer);
        }
        let mut keys: Vec<Named> =
            keys.iter().map(|named| Named::new(named.name(), named.key().clone())).collect();
        if keys.iter().any(|named| named.name().len() > MAX_NAME_LEN) {
            return Err(NotShown::Name);
        }
        keys.sort_by_cached_key(bytes_of);
        keys.dedup();
        match keys.len() {
            0 => Err(NotShown::Keys),
            1..=MAX_KEYS => Ok(Self { issuer: issuer.to_owned(), keys }),
            _ => Err(NotShown::Many),
        }
    }

    /// Who issues: `iss` of the tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[Named] {
        &self.keys
    }

    /// In the one form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(MAX_LEN);
        put8(&mut out, self.issuer.as_bytes());
        // At most MAX_KEYS.
        out.push(u8::try_from(self.keys.len()).unwrap_or(0));
        self.keys.iter().for_each(|named| out.extend(bytes_of(named)));
        out
    }

    /// As it was encoded, and in no other form.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut body = Reader::new(bytes);
        let issuer = std::str::from_utf8(body.vec8()?.rest()).ok()?;
        let mut keys = Vec::new();
        for _ in 0..body.u8()? {
            keys.push(one(&mut body)?);
        }
        let read = Self { issuer: issuer.to_owned(), keys };
        let is_whole = body.is_empty() && is_issuer(issuer);
        let is_counted = (1..=MAX_KEYS).contains(&read.keys.len());
        // SECURITY: of two forms of one set a person would have compared only one.
        let ascends = read.keys.is_sorted_by(|a, b| bytes_of(a) < bytes_of(b));
        (is_whole && is_counted && ascends && read.encode() == bytes).then_some(read)
    }

    /// What people compare.
    #[must_use]
    pub fn fingerprint(&self, digest: Digest) -> Fingerprint {
        Fingerprint(digest.sha256(&[CONTEXT, &self.encode()]))
    }

    /// As a set of keys (RFC 7517), of these and no others.
    #[must_use]
    pub fn to_jwks(&self) -> String {
        let number = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let key = |named: &Named| {
            let mut key = match named.key().numbers() {
                Numbers::Rsa { modulus, exponent } => json!({
                    "kty": "RSA", "n": number(modulus), "e": number(exponent),
                }),
                Numbers::P256 { x, y } => json!({
                    "kty": "EC", "crv": "P-256", "x": number(x), "y": number(y),
                }),
            };
            if let Some(key) = key.as_object_mut() {
                key.insert("use".to_owned(), "sig".into());
                key.insert("alg".to_owned(), named.key().algorithm().into());
                if !named.name().is_empty() {
                    key.insert("kid".to_owned(), named.name().into());
                }
            }
            key
        };
        let keys: Vec<_> = self.keys.iter().map(key).collect();
        format!("{}\n", json!({ "keys": keys }))
    }
}

/// A URL, as far as it matters to who shows it on a terminal.
fn is_issuer(name: &str) -> bool {
    (1..=MAX_ISSUER_LEN).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

fn put8(out: &mut Vec<u8>, bytes: &[u8]) {
    // Every one of these was found to be short.
    let bytes = bytes.get(..usize::from(u8::MAX)).unwrap_or(bytes);
    out.push(u8::try_from(bytes.len()).unwrap_or(0));
    out.extend_from_slice(bytes);
}

fn bytes_of(named: &Named) -> Vec<u8> {
    let mut out = Vec::new();
    put8(&mut out, named.name().as_bytes());
    match named.key().numbers() {
        Numbers::Rsa { modulus, exponent } => {
            out.push(RS256);
            // At most 4096 bits.
            out.extend(u16::try_from(modulus.len()).unwrap_or(0).to_be_bytes());
            out.extend_from_slice(modulus);
            put8(&mut out, exponent);
        }
        Numbers::P256 { x, y } => {
            out.push(ES256);
            out.extend_from_slice(x);
            out.extend_from_slice(y);
        }
    }
    out
}

fn one(body: &mut Reader<'_>) -> Option<Named> {
    let name = std::str::from_utf8(body.vec8()?.rest()).ok()?;
    let key = match body.u8()? {
        RS256 => {
            let modulus = body.vec16()?.rest();
            VerifyingKey::rsa(modulus, body.vec8()?.rest())
        }
        ES256 => VerifyingKey::p256(body.take(32)?, body.take(32)?),
        _ => None,
    }?;
    (name.len() <= MAX_NAME_LEN).then(|| Named::new(name, key))
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FINGERPRINT_PREFIX}{}", BASE64.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.trim().strip_prefix(FINGERPRINT_PREFIX).map(str::as_bytes);
        let bytes = bytes.and_then(|base64| BASE64.decode(base64).ok());
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(NoFingerprint)
    }
}

#[cfg(test)]
mod tests;
