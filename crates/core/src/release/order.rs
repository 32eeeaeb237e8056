//! What people sign for a bridge: that a path may be released to a workload, or that demands of a
//! rule are set aside for a while.
//!
//! An order is a text, somebody's signature under it, and, where it is about a path, the path. The
//! text itself has that only as a commitment, so that it can be kept in a log which others read. It
//! names the bridge, so that it is good at no other one, and a time at which it ends.

use serde::{Deserialize, Serialize};

use super::policy::terms::{Relax, SignerKey};

/// No file with an order is longer.
pub const FILE_MAX: usize = 8192;
/// An approval for longer is a rule.
pub const APPROVAL_SECONDS_MAX: u64 = 7 * 86_400;
/// Need that lasts longer is a setting.
pub const BREAK_GLASS_SECONDS_MAX: u64 = 12 * 3600;
/// Longest reason, in bytes.
const REASON_MAX: usize = 300;
/// The clocks of those who sign may be ahead by so much.
const SKEW_SECONDS: u64 = 300;
/// What stands before the text when it is signed, so that no signature is one for another purpose.
const PURPOSE: &[u8] = b"cloudtaser release order, version 1\n";

/// What is ordered, by whom, for how long, and why.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The public key of the bridge that it is for.
    pub bridge: SignerKey,
    /// The signer's name in the policy.
    pub by: String,
    /// 32 hex digits: no two orders are one.
    pub id: String,
    /// From when on, in seconds since 1970.
    pub from: u64,
    /// Until when.
    pub until: u64,
    /// Why, for the log.
    pub reason: String,
    /// What.
    pub act: Act,
}

/// What is ordered.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// A path may be released to a workload.
    Approve {
        /// 64 hex digits: commitment to the path.
        name: String,
        /// `issuer:namespace/serviceaccount`.
        workload: String,
    },
    /// Demands of a rule are set aside.
    BreakGlass {
        /// The rule.
        rule: String,
        /// Which demands.
        relax: Vec<Relax>,
    },
}

/// The file in which an order travels.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SignedOrder {
    /// The text that was signed.
    pub order: String,
    /// 128 hex digits.
    pub signature: String,
    /// The path, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// 64 hex digits, with which the commitment to the path is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blinding: Option<String>,
}

/// What a log keeps of an order: no path.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeptOrder {
    /// The text that was signed.
    pub order: String,
    /// 128 hex digits.
    pub signature: String,
    /// Whose signature it is.
    pub key: SignerKey,
}

/// Why a text is no order.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// It is something else.
    #[error("this is no order for a bridge")]
    Form,
    /// It does not fit.
    #[error("an order has at most {FILE_MAX} bytes")]
    TooLong,
    /// The number is not as it has to be.
    #[error("an order's id has 32 hex digits")]
    Id,
    /// There is no reason, or too much of it.
    #[error("a reason has 1 to {REASON_MAX} bytes without control characters")]
    Reason,
    /// It would last too long, or not at all.
    #[error("an approval lasts at most 7 days, and break-glass at most 12 hours")]
    Time,
    /// A name in it is empty, too long or odd.
    #[error("a name in the order is empty, too long, or not as it has to be")]
    Name,
    /// An order to set nothing aside.
    #[error("break-glass sets at least one of approvals, level, limit aside, each once")]
    Relax,
}

impl Order {
    /// Reads what was signed.
    ///
    /// # Errors
    /// [`OrderError`], which does not show the text.
    pub fn parse(text: &str) -> Result<Self, OrderError> {
        if text.len() > FILE_MAX {
            return Err(OrderError::TooLong);
        }
        let order: Self = serde_json::from_str(text).map_err(|_other| OrderError::Form)?;
        order.check()?;
        Ok(order)
    }

    /// The text to sign.
    ///
    /// # Errors
    /// [`OrderError`] where no bridge would take it.
    pub fn to_text(&self) -> Result<String, OrderError> {
        self.check()?;
        serde_json::to_string(self).map_err(|_never| OrderError::Form)
    }

    /// Whether it holds at this moment (seconds since 1970).
    #[must_use]
    pub const fn is_in_force(&self, now: u64) -> bool {
        self.from <= now.saturating_add(SKEW_SECONDS) && now < self.until
    }

    /// Whether it sets demands aside.
    #[must_use]
    pub const fn is_break_glass(&self) -> bool {
        matches!(self.act, Act::BreakGlass { .. })
    }

    fn check(&self) -> Result<(), OrderError> {
        if !is_hex(&self.id, 32) {
            return Err(OrderError::Id);
        }
        if !is_text(&self.reason, REASON_MAX) {
            return Err(OrderError::Reason);
        }
        let (right, longest) = match &self.act {
            Act::Approve { name, workload } => {
                (is_hex(name, 64) && is_workload(workload), APPROVAL_SECONDS_MAX)
            }
            Act::BreakGlass { rule, relax } => {
                let mut sorted = relax.clone();
                sorted.sort_unstable();
                sorted.dedup();
                if relax.is_empty() || sorted.len() != relax.len() {
                    return Err(OrderError::Relax);
                }
                (is_text(rule, 200), BREAK_GLASS_SECONDS_MAX)
            }
        };
        if !right || !is_text(&self.by, 64) {
            return Err(OrderError::Name);
        }
        match self.until.checked_sub(self.from) {
            Some(seconds) if (1..=longest).contains(&seconds) => Ok(()),
            _ => Err(OrderError::Time),
        }
    }
}

impl SignedOrder {
    /// Reads a file.
    ///
    /// # Errors
    /// [`OrderError`].
    pub fn parse(text: &str) -> Result<(Self, Order), OrderError> {
        if text.len() > FILE_MAX {
            return Err(OrderError::TooLong);
        }
        let signed: Self = serde_json::from_str(text).map_err(|_other| OrderError::Form)?;
        let order = Order::parse(&signed.order)?;
        let about_a_path = matches!(order.act, Act::Approve { .. });
        let has_path = signed.path.as_ref().is_some_and(|path| is_text(path, 1024))
            && signed.blinding.as_ref().is_some_and(|blinding| is_hex(blinding, 64));
        let none = signed.path.is_none() && signed.blinding.is_none();
        let right = is_hex(&signed.signature, 128) && if about_a_path { has_path } else { none };
        if right { Ok((signed, order)) } else { Err(OrderError::Form) }
    }

    /// What a log keeps of it.
    #[must_use]
    pub fn kept(&self, key: SignerKey) -> KeptOrder {
        KeptOrder { order: self.order.clone(), signature: self.signature.clone(), key }
    }
}

impl KeptOrder {
    /// Reads a document of a log.
    ///
    /// # Errors
    /// [`OrderError`].
    pub fn parse(bytes: &[u8]) -> Result<(Self, Order), OrderError> {
        if bytes.len() > FILE_MAX {
            return Err(OrderError::TooLong);
        }
        let kept: Self = serde_json::from_slice(bytes).map_err(|_other| OrderError::Form)?;
        let order = Order::parse(&kept.order)?;
        if is_hex(&kept.signature, 128) { Ok((kept, order)) } else { Err(OrderError::Form) }
    }

    /// The document.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Text alone: it cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What is signed: the text behind a line that says what for.
#[must_use]
pub fn signed_bytes(text: &str) -> Vec<u8> {
    [PURPOSE, text.as_bytes()].concat()
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_text(text: &str, most: usize) -> bool {
    !text.trim().is_empty() && text.len() <= most && !text.contains(char::is_control)
}

/// One workload: no part of it stands for any.
fn is_workload(text: &str) -> bool {
    let parts = text.split_once(':').and_then(|(issuer, rest)| {
        let (namespace, account) = rest.split_once('/')?;
        Some([issuer, namespace, account])
    });
    let odd = |c: char| matches!(c, '*' | '/' | ':') || c.is_control() || c.is_whitespace();
    let named = |part: &&str| !part.is_empty() && part.len() <= 253 && !part.contains(odd);
    parts.is_some_and(|parts| parts.iter().all(named))
}

#[cfg(test)]
mod tests;
