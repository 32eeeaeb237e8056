//! How a cluster stands with its bridge, as its operator says it to whoever may read a Lease.
//!
//! Nothing secret is in it, and nothing is concluded from it but words: what lets a cluster in is
//! looked at by the bridge alone.

use serde::{Deserialize, Serialize};

/// What the annotation [`cloudtaser_core::names::kubernetes::ENROLMENT`] holds, as JSON.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Enrolment {
    /// Where it stands.
    pub standing: Standing,
    /// The bridge's key.
    pub bridge: String,
    /// The cluster's key; none before it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The invitation that it used last, by its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<String>,
    /// Until when its certificate is good, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good_until: Option<u64>,
    /// What is wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How the keys stand by which this cluster's tokens are signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<IssuerKeys>,
}

/// The keys by which a cluster signs tokens, as its operator showed them to the bridge.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct IssuerKeys {
    /// How they stand there.
    pub standing: Belief,
    /// Who issues the tokens; none where the API server does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What people compare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// What is wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How an issuer's keys stand at the bridge.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Belief {
    /// Tokens are believed by them.
    Believed,
    /// The bridge is told of no such issuer.
    NoIssuer,
    /// The bridge verifies no tokens.
    NotNeeded,
    /// They could not be read, or not be shown.
    NotShown,
    /// People at the bridge have to say yes.
    Waits,
}

/// Where a cluster stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// The bridge lets it in.
    Enrolled,
    /// It has joined, and people at the bridge have to say yes.
    Pending,
    /// The bridge does not take it, and asking again changes nothing.
    Refused,
    /// The bridge cannot be asked, or what it gave cannot be kept.
    Troubled,
    /// Nobody has invited it yet.
    Uninvited,
}

impl Enrolment {
    /// Reads what an operator wrote; nothing where it is of another version.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// As it is written.
    #[must_use]
    pub fn to_text(&self) -> String {
        // It has nothing that JSON could not say.
        serde_json::to_string(self).unwrap_or_default()
    }
}
