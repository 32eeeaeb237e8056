//! The messages, named by direction.
//!
//! What people read in the end (reasons, paths) is cut and has no control characters once it was
//! read here.

use serde::{Deserialize, Serialize};

use crate::{Secret, level::Facets, node::NodeEvidence};

mod watch;
mod wire;

pub use watch::{Changed, Watch, Watching};

/// No request asks for more at once.
pub const ITEMS_MAX: usize = 512;
/// No item has more ciphertexts.
pub const TEXTS_MAX: usize = 1024;
/// A workload's token is shorter.
pub const TOKEN_MAX: usize = 64 << 10;
/// What one answer may hold in all.
pub const VALUES_MAX: usize = 8 << 20;
/// What sealing adds to what is sealed, at most.
pub const SEALING_MAX: usize = 4 << 10;
/// A wrapper's key for sealing is shorter.
pub const KEY_MAX: usize = 4 << 10;
/// Longest sentence of the other side that is shown, in characters.
const SHOWN_CHARS: usize = 400;
/// As many sentences are shown.
const SHOWN_TEXTS: usize = 8;

/// What a wrapper says.
#[derive(Debug)]
pub enum WrapperToBridge {
    /// Who it is, and what protects it.
    Hello(Box<Hello>),
    /// What it wants.
    Read(Read),
    /// A token or a lease is to live longer.
    Renew(Renew),
    /// It needs nothing more: the login at OpenBao can end.
    Done,
    /// The workload has ended: another of the same pod may take its place.
    Leave(Leave),
    /// It wants to be told of new values.
    Watch(Watch),
}

/// What a bridge says.
#[derive(Debug)]
pub enum BridgeToWrapper {
    /// The client was let in.
    Welcome(Welcome),
    /// The workload is logged in.
    LoggedIn(LoggedIn),
    /// One answer for each item. It travels within [`Sealed`] alone.
    Answers(Answers),
    /// Answers that only the launch's own key opens, and only together with their receipts.
    Sealed(Sealed),
    /// What came of a renewal.
    Renewed(Renewed),
    /// What was asked as a whole is refused.
    Refused(Refused),
    /// Of what it will be told.
    Watching(Watching),
    /// Something changed. The only thing that a bridge says without having been asked.
    Changed(Changed),
}

/// Who a wrapper is.
#[derive(Debug)]
pub struct Hello {
    /// Claims and proofs.
    pub claims: Claims,
    /// The workload's token.
    pub token: Secret,
}

/// The part of [`Hello`] that is no secret.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// The role at OpenBao; the mount's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The public key (Ed25519, hexadecimal) that this launch made for itself.
    pub instance: String,
    /// The public key (X-Wing, hexadecimal) to which answers are sealed; made for this launch too.
    pub sealing: String,
    /// The instance key's signature (hexadecimal) over [`super::Purpose::Hello`].
    pub proof: String,
    /// How long the wrapper waits.
    pub within_ms: u32,
    /// What protects the launch.
    pub statement: Statement,
    /// What the node's agent has signed for this session and this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeEvidence>,
}

/// What a wrapper says of its own protection. Nobody but the wrapper has signed it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// What it measured.
    pub facets: Facets,
    /// SHA-256 of the wrapper's file, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapper: Option<String>,
    /// What the node agent says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// Several things at once.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// Chosen by the wrapper, given back in the answer.
    pub id: u32,
    /// How long the wrapper waits.
    pub within_ms: u32,
    /// What is wanted.
    pub items: Vec<Item>,
}

/// One thing that is wanted of OpenBao.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Item {
    /// Read a path.
    Read {
        /// The path.
        path: String,
        /// Which version of a KV v2 secret.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
    },
    /// Write to a path and read what is answered.
    Write {
        /// The path.
        path: String,
        /// A JSON object.
        body: String,
    },
    /// Decrypt with Transit.
    Decrypt {
        /// Where Transit is mounted.
        mount: String,
        /// The key's name.
        key: String,
        /// How many ciphertexts go into one request.
        batch: u16,
        /// The ciphertexts.
        texts: Vec<String>,
    },
}

/// A renewal.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// As in [`Read`].
    pub id: u32,
    /// As in [`Read`].
    pub within_ms: u32,
    /// Of what.
    pub what: Renewing,
}

/// What is to live longer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Renewing {
    /// The bridge's login for this workload.
    Token,
    /// A lease, by its name.
    Lease(String),
}

/// The end of a workload.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Leave {
    /// As in [`Claims`].
    pub instance: String,
    /// The key's signature over [`super::Purpose::Leave`], with zeros in the place of both hashes.
    pub proof: String,
}

/// The bridge's first words.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Welcome {
    /// 32 random bytes, hexadecimal.
    pub nonce: String,
}

/// A login.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LoggedIn {
    /// Whether it is the login of an earlier session, with all its leases.
    pub resumed: bool,
    /// How long it lives; 0 for ever, or unknown.
    pub ttl_seconds: u64,
    /// Whether it may be renewed.
    pub renewable: bool,
}

/// Answers, in the order of the items.
#[derive(Debug)]
pub struct Answers {
    /// Of which request.
    pub id: u32,
    /// One per item.
    pub answers: Vec<Answer>,
}

/// Answers as they travel: sealed to the launch's key, with the receipts' hashes as what HPKE calls
/// additional data. Whoever has not the receipts' hashes opens nothing.
#[derive(Debug)]
pub struct Sealed {
    /// Of which request.
    pub id: u32,
    /// What was written down of it, before this left the bridge.
    pub receipts: Vec<Recorded>,
    /// The encapsulated key and the ciphertext of an ANSWERS frame.
    pub sealed: Secret,
}

/// A receipt, as the bridge's log has it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Its number in the log.
    pub number: u64,
    /// Its hash, hexadecimal: of a leaf where the log is a Merkle tree, else SHA-256 of the line.
    pub hash: String,
}

/// What came of one item.
#[derive(Debug)]
pub enum Answer {
    /// Fields of a secret.
    Fields {
        /// The path that answered.
        path: String,
        /// Which version of a KV v2 secret.
        version: Option<u64>,
        /// The lease.
        lease: Option<Lease>,
        /// What OpenBao remarks.
        warnings: Vec<String>,
        /// All fields, one JSON object.
        json: Secret,
    },
    /// What was decrypted, in the order of the ciphertexts.
    Plain(Vec<Secret>),
    /// Nothing.
    Refused(Box<Refused>),
}

/// A lease.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// Its name.
    pub id: String,
    /// How long it lives.
    pub ttl_seconds: u64,
    /// Whether it may be renewed.
    pub renewable: bool,
}

/// What a renewal came to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Renewed {
    /// Of which request.
    pub id: u32,
    /// The lease; of the token only time and renewability.
    pub lease: Lease,
}

/// Why something was not done.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Of which request; absent for a login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// What was being done.
    pub operation: Operation,
    /// Method and path, where a request to OpenBao was to be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// How often it was tried.
    pub tries: u32,
    /// How long that took.
    pub elapsed_ms: u64,
    /// Why.
    pub why: Why,
}

/// What was being done.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Ciphertexts were being decrypted.
    Decrypt,
    /// The workload was logging in.
    Login,
    /// A secret was being read.
    Read,
    /// A lease was being renewed.
    RenewLease,
    /// The login was being renewed.
    RenewToken,
    /// A path was being written to.
    Write,
}

/// A method and a path of OpenBao's interface.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Whether it was to be written.
    pub write: bool,
    /// The path after `/v1/`.
    pub path: String,
}

/// Why, with all distinctions that a direct answer of OpenBao would have.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Why {
    /// OpenBao cannot be reached or gave no usable answer in time: later it may be otherwise.
    Away {
        /// In words.
        meaning: String,
    },
    /// The version was deleted or destroyed.
    Deleted {
        /// Which.
        version: Option<u64>,
        /// Whether for good.
        destroyed: bool,
    },
    /// The bridge refuses, whatever OpenBao would say.
    Denied {
        /// Which of its rules.
        denial: Denial,
        /// In words.
        meaning: String,
    },
    /// A ciphertext could not be decrypted.
    Entry {
        /// Its place, from 0.
        index: u32,
        /// What OpenBao says.
        said: String,
    },
    /// Nothing is there.
    NotFound {
        /// What was tried, likeliest first.
        tried: Vec<String>,
        /// As it was written, where it was tried in other forms only.
        written: Option<String>,
        /// What OpenBao says.
        errors: Vec<String>,
    },
    /// OpenBao answered with this status.
    Status {
        /// The status.
        status: u16,
        /// What OpenBao says.
        errors: Vec<String>,
    },
    /// OpenBao's answer, or what was asked, cannot be used.
    Unusable {
        /// In words.
        meaning: String,
    },
}

/// What the bridge itself refuses for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Denial {
    /// The path needs people's approval, and has not enough of it.
    Approval,
    /// It carries as much as it may; later it may be otherwise.
    Busy,
    /// What a node is said to have signed is not of this launch and this session.
    Evidence,
    /// The launch is protected less than the policy demands.
    Level,
    /// The path was released to this pod as often as the policy lets it.
    Limit,
    /// No rule of the policy releases this path to this workload.
    Policy,
    /// The proof of the instance's key is not of this session.
    Proof,
    /// It cannot write its audit line; later it may be otherwise.
    Record,
    /// The pod has logged in already, with another key.
    Replay,
    /// What the node signed for this session is too old; in a new session it may be otherwise.
    Stale,
    /// The token is not one that this bridge accepts.
    Token,
}

impl Denial {
    /// Whether it may be otherwise later.
    #[must_use]
    pub const fn is_passing(self) -> bool {
        matches!(self, Self::Busy | Self::Record | Self::Stale)
    }

    /// The word for logs, metrics and audit lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Busy => "busy",
            Self::Evidence => "evidence",
            Self::Level => "level",
            Self::Limit => "limit",
            Self::Policy => "policy",
            Self::Proof => "proof",
            Self::Record => "record",
            Self::Replay => "replay",
            Self::Stale => "stale",
            Self::Token => "token",
        }
    }
}
