//! Leaves that are no receipts: what a bridge has to say aloud, in a sequence of its own.
//!
//! That people set the policy aside, that somebody read a secret around the bridge, that the log has
//! a new key. A receipt says what was decided about one request; a notice stands for itself, so that
//! nobody who shows a log can leave it out. No secret and no name of one is in it.

use minicbor::{Decode, Encode, decode, to_vec};
use serde::Serialize;

use crate::{
    hash::Digest,
    receipt::{FORMAT, Name, RECEIPT_MAX, Receipt, ReceiptError},
};

/// The sequence of all notices, where receipts have their cluster.
pub const STREAM: &str = "@bridge";
/// People set demands of the policy aside.
pub const BREAK_GLASS: &str = "break-glass";
/// OpenBao gave out a secret for which the bridge had not asked.
pub const AROUND: &str = "around";
/// The log is signed by another key from here on.
pub const NEW_KEY: &str = "new-key";

/// What is said, without number and time.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq, Serialize)]
#[cbor(map)]
pub struct Remark {
    /// Of which kind it is.
    #[n(0)]
    pub kind: Name,
    /// In words.
    #[n(1)]
    pub words: Name,
    /// Hash of the document that it stands on.
    #[n(2)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<Digest>,
    /// The keyed hash of the path that it is about.
    #[n(3)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Digest>,
    /// OpenBao's id of the request that it is about.
    #[n(4)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Name>,
}

/// A leaf of the log that is no receipt.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq, Serialize)]
#[cbor(map)]
pub struct Notice {
    #[n(0)]
    format: u8,
    /// Number among the notices, from 0, without gaps.
    #[n(1)]
    pub sequence: u64,
    /// Milliseconds since 1970, by the log's clock.
    #[n(2)]
    pub time_ms: u64,
    /// Leaf hash of the notice before; the first has none.
    #[n(3)]
    pub previous: Option<Digest>,
    /// What is said.
    #[n(5)]
    pub notice: Remark,
}

/// Whatever a leaf is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Leaf {
    /// Something that is to be heard.
    Notice(Notice),
    /// A release or a refusal.
    Receipt(Box<Receipt>),
}

impl Notice {
    /// Numbers a remark.
    #[must_use]
    pub const fn new(
        notice: Remark,
        sequence: u64,
        time_ms: u64,
        previous: Option<Digest>,
    ) -> Self {
        Self { format: FORMAT, sequence, time_ms, previous, notice }
    }

    /// The bytes that are logged.
    ///
    /// # Errors
    /// [`ReceiptError::TooLong`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, ReceiptError> {
        let bytes = to_vec(self).map_err(|error| ReceiptError::Form(error.to_string()))?;
        if bytes.len() > RECEIPT_MAX { Err(ReceiptError::TooLong) } else { Ok(bytes) }
    }

    fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        let notice: Self = decode(bytes).map_err(|error| ReceiptError::Form(error.to_string()))?;
        if notice.format != FORMAT {
            return Err(ReceiptError::Format(notice.format));
        }
        // SECURITY: one statement has one form, as with receipts.
        if notice.to_bytes()? == bytes { Ok(notice) } else { Err(ReceiptError::NotCanonical) }
    }
}

impl Leaf {
    /// Reads a leaf.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        if bytes.len() > RECEIPT_MAX {
            return Err(ReceiptError::TooLong);
        }
        // What has both contents is the one form of neither.
        match Notice::parse(bytes) {
            Ok(notice) => Ok(Self::Notice(notice)),
            Err(_other) => Receipt::parse(bytes).map(|receipt| Self::Receipt(Box::new(receipt))),
        }
    }

    /// The bytes that are logged.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, ReceiptError> {
        match self {
            Self::Notice(notice) => notice.to_bytes(),
            Self::Receipt(receipt) => receipt.to_bytes(),
        }
    }

    /// The receipt, where it is one.
    #[must_use]
    pub fn receipt(&self) -> Option<&Receipt> {
        match self {
            Self::Notice(_) => None,
            Self::Receipt(receipt) => Some(receipt),
        }
    }

    /// Hashes of the documents that it names.
    pub fn documents(&self) -> impl Iterator<Item = Digest> {
        let (evidence, orders, said) = match self {
            Self::Notice(notice) => (None, None, notice.notice.document),
            Self::Receipt(receipt) => (receipt.draft.evidence, receipt.draft.orders.as_ref(), None),
        };
        let orders = orders.into_iter().flatten().map(|order| order.order);
        evidence.into_iter().chain(said).chain(orders)
    }

    /// In which sequence it is.
    #[must_use]
    pub fn stream(&self) -> &str {
        match self {
            Self::Notice(_) => STREAM,
            Self::Receipt(receipt) => receipt.draft.cluster.as_str(),
        }
    }

    /// Its number there.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Notice(notice) => notice.sequence,
            Self::Receipt(receipt) => receipt.sequence,
        }
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        match self {
            Self::Notice(notice) => notice.time_ms,
            Self::Receipt(receipt) => receipt.time_ms,
        }
    }

    /// Leaf hash of the one before it in its sequence.
    #[must_use]
    pub fn previous(&self) -> Option<Digest> {
        match self {
            Self::Notice(notice) => notice.previous,
            Self::Receipt(receipt) => receipt.previous,
        }
    }
}

impl From<Receipt> for Leaf {
    fn from(receipt: Receipt) -> Self {
        Self::Receipt(Box::new(receipt))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use data_encoding::HEXLOWER;

    use super::*;
    use crate::receipt::tests::{draft, name};

    pub(crate) fn remark() -> Remark {
        Remark {
            kind: name(BREAK_GLASS),
            words: name("anna sets level aside"),
            document: Some(Digest::of(b"an order")),
            name: None,
            request: None,
        }
    }

    #[test]
    fn the_bytes_of_a_notice_are_these() {
        let notice = Notice::new(remark(), 0, 1_700_000_000_000, None);
        let bytes = notice.to_bytes().unwrap();
        let expected = concat!(
            "a4",
            "0001",                       // 0: format 1
            "0100",                       // 1: number 0
            "021b0000018bcfe56800",       // 2: the time
            "05a3",                       // 5: what is said, three things
            "006b627265616b2d676c617373", // 0: "break-glass"
            "0175616e6e61207365747320",   // 1: "anna sets …
        );
        let hex = HEXLOWER.encode(&bytes);
        assert!(hex.starts_with(expected), "{hex}");
        assert_eq!(Leaf::parse(&bytes), Ok(Leaf::Notice(notice)));
    }

    #[test]
    fn a_leaf_is_a_receipt_or_a_notice_and_never_both() {
        let receipt = Receipt::new(draft(), 3, 5, Some(Digest::of(b"x")));
        let bytes = receipt.to_bytes().unwrap();
        assert_eq!(Leaf::parse(&bytes), Ok(Leaf::from(receipt)));
        let notice = Notice::new(remark(), 0, 5, None).to_bytes().unwrap();
        assert!(Receipt::parse(&notice).is_err(), "a notice passes for a receipt");
        // Both contents in one map.
        let said = &notice[notice.len() - to_vec(remark()).unwrap().len() - 1..];
        let mut both = bytes;
        both[0] += 1;
        both.extend_from_slice(said);
        assert!(Leaf::parse(&both).is_err());
        for at in 0..notice.len() {
            let mut bent = notice.clone();
            bent[at] ^= 1;
            if let Ok(leaf) = Leaf::parse(&bent) {
                assert_eq!(leaf.to_bytes().unwrap(), bent, "byte {at}");
            }
            assert!(Leaf::parse(&notice[..at]).is_err());
        }
    }
}
