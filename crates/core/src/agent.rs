//! What a program and the node agent say to each other: one question, one answer, a packet each.
//!
//! Whoever asks is known by what the kernel says of the connection, never by what is written here,
//! so a question carries no name and no credential. None takes a guard away but an [`order`] that an
//! operator signed.
//! Both sides read what the other may have made up: packets have a limit, texts are cut and have no
//! control characters, and what cannot be read is an error that does not echo it.
//!
//! The programs come from different images and differ in age. Questions are read strictly, since an
//! old agent must not do half of what was asked; answers may have fields that are new.

use serde::{Deserialize, Serialize};

use crate::{
    level,
    node::{Hash, NodeEvidence},
};

pub mod content;
pub mod order;

#[cfg(test)]
mod tests;

/// No question is longer: an order with its quotes escaped, and its signature.
pub const QUESTION_MAX: usize = 2 * order::ORDER_MAX + 256;

/// No answer without a report is longer.
pub const ANSWER_MAX: usize = 16 * 1024;

/// No answer with a report is longer; one with all counts has about 4 KiB.
pub const REPORT_MAX: usize = 64 * 1024;

/// No answer is longer: evidence has the firmware's event log in it, a report, and certificates. One
/// packet of a socket takes 208 KiB.
pub const EVIDENCE_MAX: usize = 192 * 1024;

/// More reasons than an agent has hooks are none.
const REASONS_MAX: usize = 16;

/// Longest reason and longest name of a tier, in bytes.
const REASON_MAX: usize = 200;

/// Longest text, in bytes.
const TEXT_MAX: usize = 4096;

/// What can be asked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Question {
    /// Guard whoever asks, and all that it starts from now on.
    Guard,
    /// Guard another process, which runs already.
    Protect {
        /// Its number in the host's namespace.
        pid: i32,
    },
    /// Sign what the node is worth, for a launch of whoever asks, which must be guarded already.
    Attest {
        /// The session that it is for.
        session: Hash,
        /// SHA-256 of the key that answers are sealed to.
        sealing: Hash,
    },
    /// What the agent is worth, in full.
    Status,
    /// Which orders it took, and what the next one must name.
    Orders,
    /// Do what an operator ordered.
    Order {
        /// The text that was signed: see [`order::Order`].
        text: String,
        /// Ed25519 over [`order::signed_bytes`], in hex.
        signature: String,
    },
}

/// What is answered.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Answer {
    /// Whether what was asked was done.
    pub done: bool,
    /// What the agent is worth at this moment.
    pub state: level::Agent,
    /// How it judges: `lsm`, `fmod_ret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Why it is not worth more. No numbers of others, no names of others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// One line for people: the state, or what is in the way.
    #[serde(default)]
    pub text: String,
    /// The report, when that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<serde_json::Value>,
    /// What was signed, when that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<NodeEvidence>,
}

/// A packet that is no message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// It does not fit.
    #[error("the packet is longer than {most} bytes")]
    TooLong {
        /// The limit.
        most: usize,
    },
    /// It is empty: the other side closed.
    #[error("the packet is empty")]
    Empty,
    /// It is something else.
    #[error("the packet is no message of ours")]
    Unknown,
}

impl Question {
    /// Reads a packet.
    ///
    /// # Errors
    /// [`MessageError`], which says nothing of the content.
    pub fn parse(packet: &[u8]) -> Result<Self, MessageError> {
        limited(packet, QUESTION_MAX)?;
        serde_json::from_slice(packet).map_err(|_no_question| MessageError::Unknown)
    }

    /// The packet.
    #[must_use]
    pub fn to_packet(&self) -> Vec<u8> {
        // Writing numbers and words to memory does not fail; an empty packet asks nothing.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Answer {
    /// Reads a packet; texts are cut to their limits.
    ///
    /// # Errors
    /// [`MessageError`], which says nothing of the content.
    pub fn parse(packet: &[u8]) -> Result<Self, MessageError> {
        limited(packet, EVIDENCE_MAX)?;
        let read: Self =
            serde_json::from_slice(packet).map_err(|_no_answer| MessageError::Unknown)?;
        Ok(read.cut())
    }

    /// The packet; texts are cut to their limits, so that it fits.
    #[must_use]
    pub fn to_packet(&self) -> Vec<u8> {
        serde_json::to_vec(&self.clone().cut()).unwrap_or_default()
    }

    /// What a launch may claim with this answer: nothing where the guard was refused.
    #[must_use]
    pub fn facet(&self) -> level::Agent {
        if self.done { self.state } else { level::Agent::Off }
    }

    fn cut(mut self) -> Self {
        self.tier = self.tier.map(|tier| clean(&tier, REASON_MAX));
        self.reasons.truncate(REASONS_MAX);
        for reason in &mut self.reasons {
            *reason = clean(reason, REASON_MAX);
        }
        self.text = clean(&self.text, TEXT_MAX);
        self
    }
}

fn limited(packet: &[u8], most: usize) -> Result<(), MessageError> {
    match packet.len() {
        0 => Err(MessageError::Empty),
        len if len > most => Err(MessageError::TooLong { most }),
        _ => Ok(()),
    }
}

/// SECURITY: the text ends up on terminals and in logs, one line each.
fn clean(text: &str, most: usize) -> String {
    let end = text.floor_char_boundary(most);
    let head = text.split_at_checked(end).map_or("", |(head, _)| head);
    head.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
