//! What an operator orders the agent to do that takes something away from its guard.
//!
//! Root of a node is whom the agent guards against, so root alone cannot order it: an order is a text
//! that somebody signed with a key which no node has. It names one load of one agent's programs and
//! has a number, so it is taken once, by one node, before the next reboot.

use serde::{Deserialize, Serialize};

use super::content::Content;

/// No order is longer.
pub const ORDER_MAX: usize = 768;

/// Longest reason, in bytes.
const REASON_MAX: usize = 200;

/// A grant that is longer is a setting.
pub const SECONDS_MAX: u32 = 12 * 60 * 60;

/// What stands before the text when it is signed, so that no signature is one for another purpose.
const PURPOSE: &[u8] = b"cloudtaser agent order, version 1\n";

/// What is ordered, of whom, and why.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The load that it is for: 32 hex digits that the agent gives.
    pub instance: String,
    /// The number that the agent takes next.
    pub serial: u64,
    /// What to do.
    pub act: Act,
    /// Why, for the records.
    pub reason: String,
}

/// What to do.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// Let something through for a while.
    Grant {
        /// What.
        allow: Allow,
        /// Whose memory, where it is memory.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<Target>,
        /// For how long from the moment at which the agent takes the order.
        seconds: u32,
    },
    /// End a grant, by the number of its order.
    Revoke {
        /// Of the order that granted.
        order: u64,
    },
    /// Let the programs of an image load BPF from now on, until the node boots: for an update of a
    /// product that is listed by its content.
    Admit {
        /// Which.
        loader: Content,
    },
    /// Let a file of the node load BPF from now on, until the node boots: what an update put in the
    /// place of a listed loader, such as the node's container runtime.
    AdmitFile {
        /// What it holds.
        loader: Content,
    },
    /// Take the programs out of the kernel.
    Unload,
}

/// What can be let through.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allow {
    /// Debuggers and dumps of one process and its tree.
    Memory,
    /// Kernel modules and the registers of hardware.
    Kernel,
    /// Block devices that are kept.
    Devices,
    /// BPF programs, profilers, tracers.
    Tracing,
}

impl Allow {
    /// The word on command lines and in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Kernel => "kernel",
            Self::Devices => "devices",
            Self::Tracing => "tracing",
        }
    }
}

/// A process that cannot be mistaken for a later one of the same number.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Its number in the node's first PID namespace.
    pub pid: i32,
    /// When it started, as `/proc/PID/stat` has it.
    pub started: u64,
}

/// Why a text is no order.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// It does not fit.
    #[error("the order is longer than {ORDER_MAX} bytes")]
    TooLong,
    /// It is something else.
    #[error("the text is no order of ours")]
    Unknown,
    /// The load is not named as the agent names it.
    #[error("`instance` is not 32 hex digits")]
    Instance,
    /// There is no reason, or too much of it.
    #[error("a reason is 1 to {REASON_MAX} bytes without control characters")]
    Reason,
    /// It would last too long, or not at all.
    #[error("a grant lasts 1 second to {} hours", SECONDS_MAX / 3600)]
    Seconds,
    /// Memory of nobody, or a process for something that has none.
    #[error("memory is of a process, and nothing else is")]
    Target,
}

impl Order {
    /// Reads what was signed.
    ///
    /// # Errors
    /// [`OrderError`], which does not show the text.
    pub fn parse(text: &str) -> Result<Self, OrderError> {
        if text.len() > ORDER_MAX {
            return Err(OrderError::TooLong);
        }
        let order: Self = serde_json::from_str(text).map_err(|_other| OrderError::Unknown)?;
        order.check()?;
        Ok(order)
    }

    /// The text to sign.
    ///
    /// # Errors
    /// [`OrderError`] where the agent would not take it.
    pub fn to_text(&self) -> Result<String, OrderError> {
        self.check()?;
        let text = serde_json::to_string(self).map_err(|_never| OrderError::Unknown)?;
        if text.len() > ORDER_MAX { Err(OrderError::TooLong) } else { Ok(text) }
    }

    fn check(&self) -> Result<(), OrderError> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if self.instance.len() != 32 || !self.instance.bytes().all(is_hex) {
            return Err(OrderError::Instance);
        }
        let reason = self.reason.trim();
        if reason.is_empty() || self.reason.len() > REASON_MAX || reason.contains(char::is_control)
        {
            return Err(OrderError::Reason);
        }
        let Act::Grant { allow, target, seconds } = self.act else { return Ok(()) };
        if !(1..=SECONDS_MAX).contains(&seconds) {
            return Err(OrderError::Seconds);
        }
        let names_one = target.is_some_and(|target| target.pid > 1);
        if (allow == Allow::Memory) == names_one && target.is_some() == names_one {
            Ok(())
        } else {
            Err(OrderError::Target)
        }
    }
}

/// What is signed: the text behind a line that says what for.
#[must_use]
pub fn signed_bytes(text: &str) -> Vec<u8> {
    [PURPOSE, text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(act: Act) -> Order {
        let instance = "0123456789abcdef0123456789abcdef".to_owned();
        Order { instance, serial: 7, act, reason: "INC-1: it hangs".to_owned() }
    }

    const TARGET: Option<Target> = Some(Target { pid: 4711, started: 99 });

    #[test]
    fn orders_are_these_bytes() {
        let memory = Act::Grant { allow: Allow::Memory, target: TARGET, seconds: 600 };
        let node = Act::Grant { allow: Allow::Kernel, target: None, seconds: 60 };
        let acts = [
            (
                memory,
                r#"{"grant":{"allow":"memory","target":{"pid":4711,"started":99},"seconds":600}}"#,
            ),
            (node, r#"{"grant":{"allow":"kernel","seconds":60}}"#),
            (Act::Revoke { order: 3 }, r#"{"revoke":{"order":3}}"#),
            (
                Act::Admit { loader: Content { sha256: [0; 32], size: 7 } },
                r#"{"admit":{"loader":"sha256:0000000000000000000000000000000000000000000000000000000000000000:7"}}"#,
            ),
            (
                Act::AdmitFile { loader: Content { sha256: [0; 32], size: 7 } },
                r#"{"admit-file":{"loader":"sha256:0000000000000000000000000000000000000000000000000000000000000000:7"}}"#,
            ),
            (Act::Unload, r#""unload""#),
        ];
        for (act, json) in acts {
            let order = order(act);
            let text = order.to_text().unwrap();
            let head = r#"{"instance":"0123456789abcdef0123456789abcdef","serial":7,"act":"#;
            assert_eq!(text, format!(r#"{head}{json},"reason":"INC-1: it hangs"}}"#));
            assert_eq!(Order::parse(&text), Ok(order));
        }
    }

    #[test]
    fn what_is_not_meant_is_not_taken() {
        let grant = |allow, target, seconds| order(Act::Grant { allow, target, seconds });
        let check = |order: Order, error| assert_eq!(order.to_text(), Err(error), "{order:?}");
        check(grant(Allow::Memory, None, 60), OrderError::Target);
        check(grant(Allow::Tracing, TARGET, 60), OrderError::Target);
        check(grant(Allow::Memory, Some(Target { pid: 1, started: 0 }), 60), OrderError::Target);
        check(grant(Allow::Kernel, Some(Target { pid: 1, started: 0 }), 60), OrderError::Target);
        check(grant(Allow::Devices, None, 0), OrderError::Seconds);
        check(grant(Allow::Devices, None, SECONDS_MAX + 1), OrderError::Seconds);
        check(Order { instance: "0".repeat(31), ..order(Act::Unload) }, OrderError::Instance);
        check(Order { reason: " ".to_owned(), ..order(Act::Unload) }, OrderError::Reason);
        check(Order { reason: "a\nb".to_owned(), ..order(Act::Unload) }, OrderError::Reason);
        check(Order { reason: "x".repeat(201), ..order(Act::Unload) }, OrderError::Reason);
        for text in ["", "{}", r#"{"instance":"","serial":1,"act":"unload","reason":"x","more":1}"#]
        {
            assert_eq!(Order::parse(text), Err(OrderError::Unknown), "{text}");
        }
        assert_eq!(Order::parse(&"x".repeat(ORDER_MAX + 1)), Err(OrderError::TooLong));
    }

    #[test]
    fn a_signature_is_for_this_purpose() {
        assert_eq!(signed_bytes("x"), b"cloudtaser agent order, version 1\nx");
    }
}
