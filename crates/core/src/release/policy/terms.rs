//! What a rule may demand beside a workload and its protection: that not too much was released
//! before, and that people said yes. And how people set such a demand aside in need.
//!
//! Pure: who asks brings what was released and signed so far ([`Standing`]).

use std::collections::BTreeSet;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

/// More signers than one company names.
const SIGNERS_MAX: usize = 64;
/// More releases than a limit is worth; the times of so many are kept.
pub const PER_HOUR_MAX: u32 = 3600;
const KEY_PREFIX: &str = "ed25519:";

/// How much of one path one pod gets.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// In the life of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub releases: Option<u32>,
    /// In the last hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_hour: Option<u32>,
}

/// How many people have to say yes, and which.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Quorum {
    /// So many of them.
    pub needed: u32,
    /// Names of signers.
    pub by: Vec<String>,
}

/// Somebody who may sign.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// In rules and receipts.
    pub name: String,
    /// `ed25519:` and base64.
    pub key: SignerKey,
}

/// A public Ed25519 key.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct SignerKey([u8; 32]);

/// A text that is no public key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a public key has the form ed25519: and 44 characters of base64")]
pub struct SignerKeyError;

/// A demand that people may set aside in need.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relax {
    /// That others approved.
    Approvals,
    /// How the launch is protected.
    Level,
    /// How much was released already.
    Limit,
}

/// An order to set demands of a rule aside, which is in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opened {
    /// Who signed it.
    pub by: String,
    /// Of which rule.
    pub rule: String,
    /// Which demands.
    pub relax: Vec<Relax>,
}

/// What a decision is about.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Occasion {
    /// Something is to be released.
    #[default]
    Release,
    /// What was released is to live longer. That is no release: it is not counted, and nobody is
    /// asked again.
    Renewal,
}

/// What happened before a question, as far as rules go by it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Standing {
    /// What it is about.
    pub occasion: Occasion,
    /// Who has approved this path for this workload, and still does.
    pub approved_by: Vec<String>,
    /// How often the path was released to this pod.
    pub released: u64,
    /// How often in the last hour.
    pub last_hour: u64,
    /// Orders in force that set demands aside.
    pub opened: Vec<Opened>,
}

/// On what a release stands, beside the rule.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Grounds<'a> {
    /// Whose approvals were demanded and given.
    pub approved_by: Vec<&'a str>,
    /// Demands that were not met, and were set aside.
    pub relaxed: Vec<Relax>,
    /// Whether it counts against a limit.
    pub limited: bool,
}

impl Relax {
    /// The word in orders and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approvals => "approvals",
            Self::Level => "level",
            Self::Limit => "limit",
        }
    }
}

impl SignerKey {
    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<String> for SignerKey {
    type Error = SignerKeyError;

    fn try_from(text: String) -> Result<Self, SignerKeyError> {
        let bytes = text.strip_prefix(KEY_PREFIX).map(str::as_bytes);
        let bytes = bytes.and_then(|base64| BASE64.decode(base64).ok());
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(SignerKeyError)
    }
}

impl From<SignerKey> for String {
    fn from(key: SignerKey) -> Self {
        key.to_string()
    }
}

impl std::fmt::Display for SignerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{KEY_PREFIX}{}", BASE64.encode(&self.0))
    }
}

impl Limit {
    pub(super) fn check(&self) -> Result<(), &'static str> {
        match (self.releases, self.per_hour) {
            (None, None) => Err("its limit limits nothing: say releases or per_hour"),
            (Some(0), _) | (_, Some(0)) => Err("a limit of 0 lets nothing out: remove the rule"),
            (_, Some(rate)) if rate > PER_HOUR_MAX => Err("per_hour is 3600 at most"),
            _ => Ok(()),
        }
    }

    /// Which part of the limit is reached, in words.
    pub(super) fn reached(&self, standing: &Standing) -> Option<String> {
        let full = |limit: Option<u32>, had: u64| limit.filter(|limit| had >= u64::from(*limit));
        if let Some(limit) = full(self.releases, standing.released) {
            return Some(format!("{limit} in the life of a pod"));
        }
        full(self.per_hour, standing.last_hour).map(|limit| format!("{limit} in an hour"))
    }
}

impl Quorum {
    pub(super) fn check(&self, signers: &[Signer]) -> Result<(), String> {
        let known = |name: &String| signers.iter().any(|signer| signer.name == *name);
        if let Some(stranger) = self.by.iter().find(|name| !known(name)) {
            return Err(format!("{stranger:?} is the name of no [[signer]]"));
        }
        let distinct = self.by.iter().collect::<BTreeSet<_>>().len();
        if distinct != self.by.len() {
            return Err("a signer is named twice".to_owned());
        }
        match usize::try_from(self.needed) {
            Ok(0) => Err("0 signatures are no demand: leave it out".to_owned()),
            Ok(needed) if needed <= distinct => Ok(()),
            _ => Err(format!("it needs {} signatures of {distinct} people", self.needed)),
        }
    }

    /// Those of its people who signed, each once.
    pub(super) fn of(&self, signed: impl Fn(&str) -> bool) -> Vec<&str> {
        self.by.iter().map(String::as_str).filter(|name| signed(name)).collect()
    }

    pub(super) fn is_met(&self, people: usize) -> bool {
        u64::try_from(people).is_ok_and(|people| people >= u64::from(self.needed))
    }
}

/// People and keys are one to one, or one person could be two.
pub(super) fn check_signers(signers: &[Signer]) -> Result<(), String> {
    if signers.len() > SIGNERS_MAX {
        return Err(format!("there are more than {SIGNERS_MAX} [[signer]]"));
    }
    for (at, signer) in signers.iter().enumerate() {
        let name = &signer.name;
        if name.trim().is_empty() || name.len() > 64 || name.contains(char::is_control) {
            return Err("the name of a [[signer]] has 1 to 64 bytes".to_owned());
        }
        let earlier = || signers.iter().take(at);
        if earlier().any(|other| other.name == *name) {
            return Err(format!("two [[signer]] are called {name:?}"));
        }
        // SECURITY: one key under two names would be two approvals of one person.
        if earlier().any(|other| other.key == signer.key) {
            return Err(format!("the key of {name:?} is another [[signer]]'s too"));
        }
    }
    Ok(())
}
