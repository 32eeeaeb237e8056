//! What is written down about a release, or a refusal: the leaves of the log.
//!
//! A bridge fills a [`Draft`]; the log gives it number, time and the hash of the one before, which
//! makes it a [`Receipt`]. Its bytes are deterministic CBOR (RFC 8949 §4.2), and only those bytes
//! are read again: any other way to write the same receipt is refused. No secret and no name of a
//! secret is in it ([`crate::names`]).

pub use cloudtaser_core::release::nodes::Assurance;
use cloudtaser_core::{ProtectionLevel, level::Verdict};
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode, to_vec};
use serde::Serialize;

use crate::hash::Digest;

/// The format that this code writes and reads.
pub const FORMAT: u8 = 1;
/// More orders than one decision stands on.
pub const ORDERS_MAX: usize = 16;
/// More secrets than one release names.
pub const SECRETS_MAX: usize = 64;
/// Longest text; a Kubernetes name has at most 253.
pub const NAME_MAX: usize = 253;
/// No receipt is longer; C2SP tlog-tiles would allow 65,535.
pub const RECEIPT_MAX: usize = 16 * 1024;

/// Why a receipt is not one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// It is not the CBOR that the format says.
    #[error("this is no receipt: {0}")]
    Form(String),
    /// The same could be written otherwise, and must be written as the format says.
    #[error("the receipt is not in the one form that it may have")]
    NotCanonical,
    /// It is of a format that came later.
    #[error("the receipt has format {0}, and this program knows {FORMAT}")]
    Format(u8),
    /// It names too many orders, or an empty list of them.
    #[error("a receipt names 1 to {ORDERS_MAX} orders, or has no list of them")]
    Orders,
    /// It names too many secrets.
    #[error("a receipt names at most {SECRETS_MAX} secrets")]
    TooManySecrets,
    /// It is too long.
    #[error("a receipt has at most {RECEIPT_MAX} bytes")]
    TooLong,
}

/// A text that is too long, empty, or not printable.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a name has 1 to {NAME_MAX} bytes and no control characters")]
pub struct NameError;

/// A bounded, printable text.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Name(String);

/// Who asked.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq, Serialize)]
#[cbor(map)]
pub struct Workload {
    /// Its namespace.
    #[n(0)]
    pub namespace: Name,
    /// Its service account.
    #[n(1)]
    pub service_account: Name,
    /// The pod's UID.
    #[n(2)]
    pub pod: Name,
}

/// One secret that was released, or asked for.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq, Serialize)]
#[cbor(map)]
pub struct SecretEntry {
    /// The keyed hash of path and field names.
    #[n(0)]
    pub name: Digest,
    /// Which version, where the engine has versions.
    #[n(1)]
    pub version: Option<u64>,
    /// OpenBao's id of the request that read it, as its audit log has it.
    #[n(2)]
    pub request: Option<Name>,
}

/// To which key the answer was sealed.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq, Serialize)]
#[cbor(map)]
pub struct Sealing {
    /// The suite, such as `X-Wing/HKDF-SHA256/AES-256-GCM`.
    #[n(0)]
    pub suite: Name,
    /// Hash of the recipient's public key.
    #[n(1)]
    pub recipient: Digest,
}

/// What people signed, on which a decision stood.
#[derive(Clone, Debug, Decode, Encode, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cbor(map)]
pub struct SignedBefore {
    /// What for.
    #[n(0)]
    pub act: Act,
    /// Hash of the order, which is kept beside the log.
    #[n(1)]
    pub order: Digest,
}

/// What people sign for a bridge.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Act {
    /// This path may be released to this workload.
    Approval,
    /// Demands of the policy are set aside.
    BreakGlass,
}

/// What was decided.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// The secrets were released.
    Released,
    /// They were not, for this reason (a word of the policy engine's).
    Refused(Name),
}

/// The six adversary rows of the threat model, T1 first.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Rows([Verdict; 6]);

/// A receipt that has no number and no time yet.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq, Serialize)]
#[cbor(map)]
pub struct Draft {
    /// The cluster, as it was enrolled. Each has its own gapless sequence.
    #[n(0)]
    pub cluster: Name,
    /// Who asked.
    #[n(1)]
    pub workload: Workload,
    /// The role that the bridge logged in with.
    #[n(2)]
    pub role: Name,
    /// What was released, or asked for.
    #[n(3)]
    pub secrets: Vec<SecretEntry>,
    /// Hash of the release policy that decided.
    #[n(4)]
    pub policy: Digest,
    /// What the launch may claim against T1 to T6.
    #[n(5)]
    pub protection: Rows,
    /// How far the evidence reaches.
    #[cbor(n(6), with = "assurance")]
    pub assurance: Assurance,
    /// Hash of the wrapper's program file, where known.
    #[n(7)]
    pub wrapper: Option<Digest>,
    /// Hash of the session's exported key: the receipt is of this session and no other.
    #[n(8)]
    pub session: Digest,
    /// Hash of the evidence statement, where there was one.
    #[n(9)]
    pub evidence: Option<Digest>,
    /// What was decided.
    #[n(10)]
    pub decision: Decision,
    /// Hash of the bridge's program file, where known.
    #[n(11)]
    pub bridge: Option<Digest>,
    /// The session's key exchange, as TLS names it: `X25519MLKEM768`.
    #[n(12)]
    pub key_exchange: Option<Name>,
    /// To which key the answer was sealed, where it was.
    #[n(13)]
    pub sealing: Option<Sealing>,
    /// What people signed for it, where it stood on that.
    #[n(20)]
    pub orders: Option<Vec<SignedBefore>>,
}

/// A leaf of the log.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq, Serialize)]
#[cbor(map)]
pub struct Receipt {
    #[n(0)]
    format: u8,
    /// Number among the receipts of its cluster, from 0, without gaps.
    #[n(1)]
    pub sequence: u64,
    /// Milliseconds since 1970, by the log's clock; never less than in the one before.
    #[n(2)]
    pub time_ms: u64,
    /// Leaf hash of the cluster's receipt before; the first has none.
    #[n(3)]
    pub previous: Option<Digest>,
    /// What the bridge said.
    #[n(4)]
    #[serde(flatten)]
    pub draft: Draft,
}

impl Receipt {
    /// Numbers a draft.
    #[must_use]
    pub const fn new(draft: Draft, sequence: u64, time_ms: u64, previous: Option<Digest>) -> Self {
        Self { format: FORMAT, sequence, time_ms, previous, draft }
    }

    /// The bytes that are logged.
    ///
    /// # Errors
    /// [`ReceiptError::TooManySecrets`], [`ReceiptError::TooLong`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, ReceiptError> {
        if self.draft.secrets.len() > SECRETS_MAX {
            return Err(ReceiptError::TooManySecrets);
        }
        if self.draft.orders.as_ref().is_some_and(|all| !(1..=ORDERS_MAX).contains(&all.len())) {
            return Err(ReceiptError::Orders);
        }
        let bytes = to_vec(self).map_err(|error| ReceiptError::Form(error.to_string()))?;
        if bytes.len() > RECEIPT_MAX { Err(ReceiptError::TooLong) } else { Ok(bytes) }
    }

    /// Reads a leaf.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        if bytes.len() > RECEIPT_MAX {
            return Err(ReceiptError::TooLong);
        }
        let receipt: Self = decode(bytes).map_err(|error| ReceiptError::Form(error.to_string()))?;
        if receipt.format != FORMAT {
            return Err(ReceiptError::Format(receipt.format));
        }
        // SECURITY: one receipt has one form, so that two hashes are never the same statement.
        if receipt.to_bytes()? != bytes {
            return Err(ReceiptError::NotCanonical);
        }
        Ok(receipt)
    }

    /// Whether secrets were released.
    #[must_use]
    pub fn is_release(&self) -> bool {
        self.draft.decision == Decision::Released
    }

    /// Whether demands of the policy were set aside for it.
    #[must_use]
    pub fn is_break_glass(&self) -> bool {
        self.draft.orders.iter().flatten().any(|order| order.act == Act::BreakGlass)
    }
}

impl Name {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Name {
    type Error = NameError;

    fn try_from(text: &str) -> Result<Self, NameError> {
        let right = !text.is_empty() && text.len() <= NAME_MAX && !text.contains(char::is_control);
        if right { Ok(Self(text.to_owned())) } else { Err(NameError) }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<C> Encode<C> for Name {
    fn encode<W: encode::Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        encoder.str(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Name {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Self::try_from(decoder.str()?).map_err(decode::Error::custom)
    }
}

impl Rows {
    /// The verdicts, T1 first.
    #[must_use]
    pub const fn new(verdicts: [Verdict; 6]) -> Self {
        Self(verdicts)
    }

    /// Takes them from a level.
    #[must_use]
    pub fn of(level: &ProtectionLevel) -> Self {
        let mut rows = [Verdict::Open; 6];
        rows.iter_mut().zip(&level.rows).for_each(|(to, from)| *to = from.verdict);
        Self(rows)
    }

    /// The verdicts, T1 first.
    #[must_use]
    pub const fn verdicts(&self) -> &[Verdict; 6] {
        &self.0
    }

    /// The verdict on T4, the beacon's operator and the wire.
    #[must_use]
    pub const fn wire(&self) -> Verdict {
        let [_, _, _, wire, _, _] = self.0;
        wire
    }
}

impl<C> Encode<C> for Rows {
    fn encode<W: encode::Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        encoder.array(6)?;
        for verdict in self.0 {
            encoder.u8(match verdict {
                Verdict::Open => 0,
                Verdict::Partial => 1,
                Verdict::Closed => 2,
            })?;
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Rows {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        if decoder.array()? != Some(6) {
            return Err(decode::Error::message("there are six rows"));
        }
        let mut rows = [Verdict::Open; 6];
        for row in &mut rows {
            *row = match decoder.u8()? {
                0 => Verdict::Open,
                1 => Verdict::Partial,
                2 => Verdict::Closed,
                _ => return Err(decode::Error::message("a row is open, partial or closed")),
            };
        }
        Ok(Self(rows))
    }
}

/// A level as its number.
mod assurance {
    use minicbor::{Decoder, Encoder, decode as read, encode as write};

    use super::Assurance;

    pub(super) fn encode<C, W: write::Write>(
        level: &Assurance,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), write::Error<W::Error>> {
        encoder.u8(*level as u8)?.ok()
    }

    pub(super) fn decode<C>(
        decoder: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Assurance, read::Error> {
        let level = Assurance::ALL.get(usize::from(decoder.u8()?)).copied();
        level.ok_or_else(|| read::Error::message("levels are 0 to 4"))
    }
}

impl<C> Encode<C> for Act {
    fn encode<W: encode::Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        encoder.u8(*self as u8)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Act {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        match decoder.u8()? {
            0 => Ok(Self::Approval),
            1 => Ok(Self::BreakGlass),
            _ => Err(decode::Error::message("an order is an approval or break-glass")),
        }
    }
}

impl<C> Encode<C> for Decision {
    fn encode<W: encode::Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        match self {
            Self::Released => encoder.array(1)?.u8(0)?.ok(),
            Self::Refused(reason) => encoder.array(2)?.u8(1)?.str(reason.as_str())?.ok(),
        }
    }
}

impl<'b, C> Decode<'b, C> for Decision {
    fn decode(decoder: &mut Decoder<'b>, context: &mut C) -> Result<Self, decode::Error> {
        match (decoder.array()?, decoder.u8()?) {
            (Some(1), 0) => Ok(Self::Released),
            (Some(2), 1) => Ok(Self::Refused(Name::decode(decoder, context)?)),
            _ => Err(decode::Error::message("a decision is [0] or [1, reason]")),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
