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
