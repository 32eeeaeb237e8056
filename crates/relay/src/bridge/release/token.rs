//! A workload's token: whose it is, and whether it is one (RFC 7519, as Kubernetes writes them).
//!
//! SECURITY: the algorithm is that of the issuer's key and never the token's choice; claims are
//! looked at only after the signature was verified; a token that no pod is named in is none.

use cloudtaser_core::release::policy::Identity;
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use super::config::Issuer;

#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
pub(super) mod tests;

/// Projected tokens have about 1.2 KiB.
const MAX_LEN: usize = 16 << 10;
/// How far clocks may differ, in seconds.
const SKEW_SECONDS: u64 = 60;
/// Namespaces, accounts and pods have shorter names.
const MAX_NAME: usize = 253;
/// What keys are known for.
const ALGORITHMS: [&str; 2] = ["RS256", "ES256"];

/// Who shows a token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bearer {
    /// The workload.
    pub identity: Identity,
    /// The pod's uid.
    pub pod: String,
}

/// Why a token is none. No variant holds a part of it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is not for this bridge.
    #[error("the token is for another audience: {expected} is expected")]
    Audience {
        /// What would do.
        expected: String,
    },
    /// It is too old.
    #[error("the token expired {seconds} s ago")]
    Expired {
        /// How long ago.
        seconds: u64,
    },
    /// It has not the form of a signed token.
    #[error("what was sent is no signed token: {0}")]
    Form(&'static str),
    /// It is of nobody whose keys are known for this client.
    #[error("no issuer of this client has signed the token (RS256 and ES256 are accepted)")]
    Issuer,
    /// The key is right, and the name is not.
    #[error("the token names another issuer: {expected} is expected")]
    IssuerName {
        /// What would do.
        expected: String,
    },
    /// It is by a key that nobody here has heard of.
    #[error(
        "the token is signed by the key {kid}, which the bridge does not know: where the cluster is \
         new or its keys were rotated, somebody at the bridge has to say `cloudtaser-bridge approve \
         --issuer-keys` (`status` there shows what waits), or `issuer-keys --take` for keys in a file"
    )]
    Key {
        /// What the token calls it.
        kid: String,
    },
    /// It is too new.
    #[error("the token is not valid yet, for another {seconds} s: is a clock wrong?")]
    NotYet {
        /// How long.
        seconds: u64,
    },
    /// It is bound to no pod.
    #[error("the token is bound to no pod: a projected token of a pod is needed")]
    Unbound,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// RFC 7515 §4.1.11: what is critical must be understood, and nothing is.
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default, rename = "kubernetes.io")]
    kubernetes: Option<Kubernetes>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: String,
    serviceaccount: Named,
    #[serde(default)]
    pod: Option<Pod>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Pod {
    uid: String,
}

/// Verifies a token of one of these issuers, at this moment in seconds since 1970.
///
/// # Errors
/// [`TokenError`].
pub fn verify<'a>(
    token: &[u8],
    issuers: impl Iterator<Item = &'a Issuer>,
    now: u64,
) -> Result<(Bearer, &'a Issuer), TokenError> {
    let (signed, payload, signature, header) = parts(token)?;
    let (mut asked, mut tried) = (false, false);
    for issuer in issuers {
        asked = true;
        for key in issuer.keys.now().candidates(&header.alg, header.kid.as_deref()) {
            tried = true;
            // A provider that cannot run here has been noticed at the start.
            if key.verifies(signed, &signature).unwrap_or(false) {
                return claims(&payload, issuer, now).map(|bearer| (bearer, issuer));
            }
        }
    }
    let kid = header.kid.filter(|kid| is_name(kid) && ALGORITHMS.contains(&&*header.alg));
    match kid {
        Some(kid) if asked && !tried => Err(TokenError::Key { kid }),
        _ => Err(TokenError::Issuer),
    }
}

type Parts<'a> = (&'a [u8], zeroize::Zeroizing<Vec<u8>>, Vec<u8>, Header);

fn parts(token: &[u8]) -> Result<Parts<'_>, TokenError> {
    if token.len() > MAX_LEN {
        return Err(TokenError::Form("it is too long"));
    }
    let dots = || TokenError::Form("it has not three parts");
    let last = token.iter().rposition(|byte| *byte == b'.').ok_or_else(dots)?;
    let (signed, signature) = token.split_at_checked(last).ok_or_else(dots)?;
    let first = signed.iter().position(|byte| *byte == b'.').ok_or_else(dots)?;
    let (header, payload) = signed.split_at_checked(first).ok_or_else(dots)?;
    let decode = |bytes: &[u8]| {
        let bytes = bytes.strip_prefix(b".").unwrap_or(bytes);
        BASE64URL_NOPAD.decode(bytes).ok().ok_or(TokenError::Form("a part is no base64url"))
    };
    let header: Header = serde_json::from_slice(&decode(header)?)
        .ok()
        .ok_or(TokenError::Form("its header cannot be read"))?;
    if header.crit.is_some() {
        return Err(TokenError::Form("its header demands an extension"));
    }
    Ok((signed, decode(payload)?.into(), decode(signature)?, header))
}

fn claims(payload: &[u8], issuer: &Issuer, now: u64) -> Result<Bearer, TokenError> {
    let claims: Claims = serde_json::from_slice(payload)
        .ok()
        .ok_or(TokenError::Form("its claims cannot be read"))?;
    if claims.iss != issuer.issuer {
        return Err(TokenError::IssuerName { expected: issuer.issuer.clone() });
    }
    let named = match &claims.aud {
        Audience::One(one) => *one == issuer.audience,
        Audience::Many(many) => many.contains(&issuer.audience),
    };
    if !named {
        return Err(TokenError::Audience { expected: issuer.audience.clone() });
    }
    let expires = seconds(claims.exp)?.saturating_add(SKEW_SECONDS);
    if expires <= now {
        return Err(TokenError::Expired { seconds: now - expires + SKEW_SECONDS });
    }
    let begins = claims.nbf.map(seconds).transpose()?.unwrap_or(0);
    if begins > now.saturating_add(SKEW_SECONDS) {
        return Err(TokenError::NotYet { seconds: begins - now });
    }
    let kubernetes = claims.kubernetes.ok_or(TokenError::Unbound)?;
    let pod = kubernetes.pod.ok_or(TokenError::Unbound)?.uid;
    let (namespace, service_account) = (kubernetes.namespace, kubernetes.serviceaccount.name);
    // What the issuer signed is believed; what a policy could not tell apart is not.
    if ![&namespace, &service_account, &pod].into_iter().all(|name| is_name(name)) {
        return Err(TokenError::Form("a name in it is none of Kubernetes"));
    }
    let identity = Identity { issuer: issuer.name.clone(), namespace, service_account };
    Ok(Bearer { identity, pod })
}

/// Words that can stand in a policy, a receipt or a line of a log as they are.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(plain)
}

/// A `NumericDate`, which may have a fraction.
fn seconds(date: f64) -> Result<u64, TokenError> {
    const LATEST: f64 = 253_402_300_799.0;
    if !(0.0..=LATEST).contains(&date) {
        return Err(TokenError::Form("a date in it is out of range"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was just checked"
    )]
    let seconds = date as u64;
    Ok(seconds)
}
