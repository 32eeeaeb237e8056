//! What the agent of a node states of itself and of the launch that asked, in the form that is
//! signed: one text of JSON, which has one spelling, so that one statement has one hash.
//!
//! A statement is about one moment and one launch: it names the session (which a bridge's nonce is
//! in) and the key that answers are sealed to, so it is of no use in another session. What a
//! signature under it is worth is what the key's home is worth: `docs/adr/0041`.
//!
//! Invariant: a [`NodeStatement`] that was parsed is written again as the very bytes that were read.

use std::{collections::BTreeMap, fmt};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::level;

#[cfg(test)]
pub(crate) mod tests;

/// No statement is longer: some sixty roads with their names are 2 kB.
pub const STATEMENT_MAX: usize = 8 * 1024;
/// The form that is written and read here.
const FORM: u8 = 1;
/// More reasons than an agent has hooks are none.
const REASONS_MAX: usize = 16;
/// More roads than anybody has thought of.
const ROADS_MAX: usize = 128;
/// Longest text inside, in bytes.
const TEXT_MAX: usize = 200;
/// What stands before the text when it is signed, so that no signature is one for another purpose.
const PURPOSE: &[u8] = b"cloudtaser node statement, version 1\n";

/// The same for a quote.
const QUOTE_PURPOSE: &[u8] = b"cloudtaser node quote, version 1\n";
/// The same for a report of a confidential machine.
const REPORT_PURPOSE: &[u8] = b"cloudtaser node report, version 1\n";

/// 32 bytes, in hexadecimal where they are written: a SHA-256 or a public key.
#[derive(Clone, Copy, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash([u8; 32]);

/// A text that is not 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a hash or key is 64 hexadecimal digits in lower case")]
pub struct HashError;

/// What an agent states.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NodeStatement {
    /// The form: [`NodeStatement::FORM`].
    pub v: u8,
    /// The session that it is for: the binding of `ct-release/1`, with the bridge's nonce in it.
    pub session: Hash,
    /// SHA-256 of the launch's sealing key.
    pub sealing: Hash,
    /// Seconds since 1970, by the node's clock.
    pub at: u64,
    /// The kernel's name for this boot.
    pub boot: String,
    /// Release of the kernel.
    pub kernel: String,
    /// What the kernel refuses to root.
    pub lockdown: Lockdown,
    /// SHA-256 of the agent's program file.
    pub agent: Hash,
    /// What the agent is worth.
    pub state: level::Agent,
    /// How it judges, where it does.
    pub tier: Option<String>,
    /// Why it is not worth more.
    pub reasons: Vec<String>,
    /// Seconds since its canary was attacked.
    pub proved_s: u64,
    /// What came of each road to the canary.
    pub roads: BTreeMap<String, Outcome>,
    /// The programs that judge.
    pub programs: Programs,
    /// Who asked for this statement.
    pub launch: Launch,
}

/// The programs in the kernel.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Programs {
    /// How many are attached.
    pub count: u32,
    /// SHA-256 of their tags, sorted, one to a line. A tag is the kernel's hash of a program as it
    /// was loaded, so it is another one on another kernel.
    pub tags: Hash,
}

/// The process that asked, as the kernel knows it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// SHA-256 of the file that it executes, where that is a wrapper that the agent knows.
    pub wrapper: Option<Hash>,
    /// UID of its pod, by its cgroup.
    pub pod: Option<String>,
    /// Its container, by its cgroup.
    pub container: Option<String>,
}

/// How far an attacker came on a road to the canary.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// This kernel does not have it.
    Absent,
    /// He was refused.
    Denied,
    /// He was ended; what he had done by then may stand.
    Killed,
    /// It was open.
    Open,
}

/// What the kernel refuses to root, weakest first.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lockdown {
    /// Nothing, or it does not say.
    None,
    /// To change the kernel.
    Integrity,
    /// And to read it.
    Confidentiality,
}

/// A statement with its signature, as it travels.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NodeEvidence {
    /// The text of a [`NodeStatement`].
    pub statement: String,
    /// The node's public key (Ed25519).
    pub key: Hash,
    /// Its signature over [`signed_bytes`], in hexadecimal.
    pub signature: String,
    /// What the node's TPM signed of it, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmEvidence>,
    /// What the processor of a confidential machine signed of it, where the node is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<HardwareEvidence>,
}

/// What a processor signed, as Linux hands it out (`configfs-tsm-report`), in base64.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HardwareEvidence {
    /// Linux's name for what the bytes are: `sev_guest`, `tdx_guest`.
    pub provider: String,
    /// The report or quote (`outblob`), over [`reported_bytes`].
    pub report: String,
    /// What the host gave along with it (`auxblob`): AMD's certificates. Often nothing.
    pub table: String,
}

/// What a TPM 2.0 signed. Structures are the TPM's own, in base64.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TpmEvidence {
    /// The key (`TPMT_PUBLIC`).
    pub key: String,
    /// What it signed (`TPMS_ATTEST`), over [`quoted_bytes`].
    pub quote: String,
    /// Its signature (`TPMT_SIGNATURE`).
    pub signature: String,
    /// The registers that the quote covers.
    pub registers: BTreeMap<u8, Hash>,
    /// The firmware's event log.
    pub log: String,
}

/// Who a node and its TPM are, for whoever takes the node into a policy. Nothing of it is proved yet.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NodeIdentity {
    /// What the node calls itself.
    pub name: String,
    /// The key with which its agent signs.
    pub key: Hash,
    /// The TPM's endorsement key (`TPMT_PUBLIC`, base64).
    pub endorsement: String,
    /// The key that signs quotes, the same.
    pub attestation: String,
    /// The certificate that the TPM's maker put into it (DER, base64), where he did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// What only the TPM of an endorsement key can answer, and only for a key of its own.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// `TPM2B_ID_OBJECT` without its size, base64.
    pub blob: String,
    /// `TPM2B_ENCRYPTED_SECRET`, the same.
    pub secret: String,
}

/// Why a text is no statement.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// It does not fit.
    #[error("a statement has at most {STATEMENT_MAX} bytes")]
    TooLong,
    /// It is something else, or of a later form.
    #[error("the text is no statement of ours")]
    Unknown,
    /// The same could be written otherwise.
    #[error("the statement is not in the one form that it may have")]
    NotCanonical,
    /// A list or text inside is longer than any.
    #[error("the statement has texts or lists that no agent writes")]
    Bounds,
}

impl NodeStatement {
    /// The form that an agent writes.
    pub const FORM: u8 = FORM;

    /// Starts a statement: of this launch, by this kernel. The agent fills in what it is worth.
    #[must_use]
    pub fn new(session: Hash, sealing: Hash, agent: Hash, launch: Launch) -> Self {
        Self {
            v: FORM,
            session,
            sealing,
            at: 0,
            boot: String::new(),
            kernel: String::new(),
            lockdown: Lockdown::None,
            agent,
            state: level::Agent::Off,
            tier: None,
            reasons: Vec::new(),
            proved_s: 0,
            roads: BTreeMap::new(),
            programs: Programs { count: 0, tags: Hash([0; 32]) },
            launch,
        }
    }

    /// Reads what was signed.
    ///
    /// # Errors
    /// [`StatementError`], which says nothing of the content.
    pub fn parse(text: &str) -> Result<Self, StatementError> {
        if text.len() > STATEMENT_MAX {
            return Err(StatementError::TooLong);
        }
        let read: Self = serde_json::from_str(text).map_err(|_other| StatementError::Unknown)?;
        if read.v != FORM {
            return Err(StatementError::Unknown);
        }
        if !read.is_bounded() {
            return Err(StatementError::Bounds);
        }
        // SECURITY: one statement has one form, so that two hashes are never the same statement.
        if read.to_text() != text {
            return Err(StatementError::NotCanonical);
        }
        Ok(read)
    }

    /// The text to sign. Texts inside are cut to their limits.
    #[must_use]
    pub fn to_text(&self) -> String {
        // Writing numbers and words to memory does not fail; an empty text is no statement.
        serde_json::to_string(&self.clone().cut()).unwrap_or_default()
    }

    fn cut(mut self) -> Self {
        self.reasons.truncate(REASONS_MAX);
        self.reasons.iter_mut().for_each(|reason| *reason = clean(reason));
        self.tier = self.tier.as_deref().map(clean);
        self.kernel = clean(&self.kernel);
        self.boot = clean(&self.boot);
        while self.roads.len() > ROADS_MAX {
            drop(self.roads.pop_last());
        }
        self
    }

    fn is_bounded(&self) -> bool {
        let texts = self.reasons.iter().chain(&self.tier).chain(self.roads.keys());
        let texts = texts.chain([&self.boot, &self.kernel]);
        let texts = texts.chain(&self.launch.pod).chain(&self.launch.container);
        self.reasons.len() <= REASONS_MAX
            && self.roads.len() <= ROADS_MAX
            && texts.into_iter().all(|text| clean(text) == *text)
    }
}

/// What is hashed (SHA-256) for a quote over a statement.
#[must_use]
pub fn quoted_bytes(text: &str) -> Vec<u8> {
    [QUOTE_PURPOSE, text.as_bytes()].concat()
}

/// What is hashed (SHA-512) for a report over a statement.
#[must_use]
pub fn reported_bytes(text: &str) -> Vec<u8> {
    [REPORT_PURPOSE, text.as_bytes()].concat()
}

/// What is signed of a text.
#[must_use]
pub fn signed_bytes(text: &str) -> Vec<u8> {
    [PURPOSE, text.as_bytes()].concat()
}

/// SECURITY: the text ends up on terminals and in reports, one line each.
fn clean(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_MAX);
    let head = text.split_at_checked(end).map_or("", |(head, _)| head);
    head.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Lockdown {
    /// The kernel's own word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Integrity => "integrity",
            Self::Confidentiality => "confidentiality",
        }
    }
}

impl Hash {
    /// Takes the bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::str::FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        Self::try_from(text)
    }
}

impl TryFrom<&str> for Hash {
    type Error = HashError;

    fn try_from(text: &str) -> Result<Self, HashError> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_digits| HashError)?;
        bytes.try_into().map(Self).map_err(|_length| HashError)
    }
}

impl TryFrom<String> for Hash {
    type Error = HashError;

    fn try_from(text: String) -> Result<Self, HashError> {
        Self::try_from(text.as_str())
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
