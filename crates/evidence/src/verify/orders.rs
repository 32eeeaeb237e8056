//! What people signed for a bridge, as a log kept it: whose signature it is, what it said, and
//! whether the releases that stood on it were within its time.
//!
//! Whether a key is that of a person who may sign is in the bridge's policy, of which receipts have
//! the hash alone: the report shows the keys, and their owners are known to whoever asks.

use cloudtaser_core::release::order::{Act as Ordered, KeptOrder, signed_bytes};
use data_encoding::HEXLOWER;
use ed25519_dalek::{Signature, VerifyingKey};
use serde::Serialize;

use crate::receipt::Act;

/// A bridge's clock and the log's are one; those who sign have others.
const TOLERANCE_SECONDS: u64 = 300;

/// How often an order was stood on, and what it said.
#[derive(Clone, Debug, Serialize)]
pub struct OrderTally {
    /// What for.
    pub act: Act,
    /// Decisions that name it.
    pub decisions: u64,
    /// First and last time of those, in milliseconds since 1970.
    pub used_ms: Option<(u64, u64)>,
    /// What it said, where it is here.
    pub said: Option<Said>,
}

/// What an order said.
#[derive(Clone, Debug, Serialize)]
pub struct Said {
    /// The signer's name in the policy.
    pub by: String,
    /// The key under which the signature verifies.
    pub key: String,
    /// From when on, in seconds since 1970.
    pub from: u64,
    /// Until when.
    pub until: u64,
    /// About what: a workload, or a rule and its demands.
    pub about: String,
    /// Why.
    pub reason: String,
}

/// How an order contradicts itself or the receipts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderRefused {
    /// The document is none.
    #[error("it is no order")]
    Form,
    /// Nobody signed it.
    #[error("its signature does not verify")]
    Signature,
    /// It is an approval where break-glass is named, or the other way round.
    #[error("it is of another kind than the receipts say")]
    Kind,
    /// It had ended, or not begun.
    #[error("a decision stood on it outside of its time")]
    Time,
}

impl OrderTally {
    pub(super) const fn new(act: Act) -> Self {
        Self { act, decisions: 0, used_ms: None, said: None }
    }

    pub(super) fn use_at(&mut self, time_ms: u64) {
        self.decisions += 1;
        let first = self.used_ms.map_or(time_ms, |(first, _)| first);
        self.used_ms = Some((first, time_ms));
    }

    /// Takes the document that has this order's hash.
    pub(super) fn take(&mut self, document: &[u8]) -> Result<(), OrderRefused> {
        let (kept, order) = KeptOrder::parse(document).map_err(|_odd| OrderRefused::Form)?;
        let key = VerifyingKey::from_bytes(kept.key.as_bytes()).ok().filter(|key| !key.is_weak());
        let signature = HEXLOWER.decode(kept.signature.as_bytes()).unwrap_or_default();
        let signature = Signature::from_slice(&signature).ok();
        let (Some(key), Some(signature)) = (key, signature) else {
            return Err(OrderRefused::Signature);
        };
        let signed = key.verify_strict(&signed_bytes(&kept.order), &signature);
        signed.map_err(|_false| OrderRefused::Signature)?;
        let (act, about) = match order.act {
            Ordered::Approve { workload, .. } => (Act::Approval, workload),
            Ordered::BreakGlass { rule, relax } => {
                let relax = relax.into_iter().map(|relax| relax.as_str()).collect::<Vec<_>>();
                (Act::BreakGlass, format!("rule {rule:?}: {}", relax.join(", ")))
            }
        };
        if act != self.act {
            return Err(OrderRefused::Kind);
        }
        if let Some((first, last)) = self.used_ms {
            let begins = order.from.saturating_sub(TOLERANCE_SECONDS).saturating_mul(1000);
            let ends = order.until.saturating_add(TOLERANCE_SECONDS).saturating_mul(1000);
            if first < begins || last > ends {
                return Err(OrderRefused::Time);
            }
        }
        let (by, key, reason) = (order.by, kept.key.to_string(), order.reason);
        self.said = Some(Said { by, key, from: order.from, until: order.until, about, reason });
        Ok(())
    }
}
