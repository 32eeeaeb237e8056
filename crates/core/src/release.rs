//! What a wrapper and a bridge say to each other, and by which rules the bridge releases.
//!
//! The wrapper sends its workload's token, what protects it, and what it wants to read; the bridge
//! answers with values or with the reason why not. Both speak inside one TLS session that nobody
//! between them can open. `docs/protocol/release.md` describes the same for other implementations.
//!
//! Whoever reads a message here reads what the other side may have made up: each part has a bound,
//! a word that is not known is an error, and no error holds what was sent. Secret bytes stand behind
//! a message's head and never in it, so that they pass through no JSON.
//!
//! Reading order: [`message`], [`frame`], [`policy`], [`nodes`], [`hardware`], [`order`].

use data_encoding::HEXLOWER;

pub mod frame;
pub mod hardware;
pub mod message;
pub mod nodes;
pub mod order;
pub mod policy;

pub use frame::{FrameError, Message, decode, encode};
pub use message::{
    Answer, Answers, BridgeToWrapper, Changed, Denial, Hello, Item, Lease, Leave, LoggedIn,
    Operation, Place, Read, Recorded, Refused, Renew, Renewed, Renewing, Sealed, Statement, Watch,
    Watching, Welcome, Why, WrapperToBridge,
};

/// The name of the protocol among those of a ClientHello.
pub const PROTOCOL: &[u8] = b"ct-release/1";

/// The label under which both sides export 32 bytes that are of this session alone.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-ct-release-1";

/// What a session's two ends agree on without having sent it.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// 32 bytes of the session's exporter.
    pub exporter: &'a [u8; 32],
    /// What the bridge made up for this session.
    pub nonce: &'a [u8; 32],
    /// The key by which the client proved itself in the handshake.
    pub client: &'a [u8; 32],
    /// The key of the bridge.
    pub bridge: &'a [u8; 32],
}

/// What a proof is for, so that one cannot be shown in the place of another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// To log in.
    Hello,
    /// To give a login back.
    Leave,
}

impl<'a> Ends<'a> {
    /// What is hashed (SHA-256, one behind the other) for the binding of a session.
    ///
    /// Both keys are in it, since the exporter alone is the same for both directions.
    #[must_use]
    pub const fn parts(&self) -> [&'a [u8]; 5] {
        [b"ct-release/1 binding", self.exporter, self.nonce, self.client, self.bridge]
    }
}

impl Purpose {
    /// What an instance's key signs: the session's binding, and the SHA-256 of the token and of the
    /// key that answers are sealed to.
    #[must_use]
    pub fn signed(
        self,
        binding: &[u8; 32],
        token_hash: &[u8; 32],
        sealing_hash: &[u8; 32],
    ) -> Vec<u8> {
        let label: &[u8] = match self {
            Self::Hello => b"ct-release/1 hello",
            Self::Leave => b"ct-release/1 leave",
        };
        [label, binding, token_hash, sealing_hash].concat()
    }
}

/// What HPKE calls `info` for the answers to one request: of this session, and of this request.
#[must_use]
pub fn sealing_info(binding: &[u8; 32], id: u32) -> Vec<u8> {
    [&b"ct-release/1 answers"[..], binding, &id.to_be_bytes()].concat()
}

/// What HPKE calls additional data: the receipts of what is sealed. `None` where one is no hash.
#[must_use]
pub fn sealing_data(receipts: &[Recorded]) -> Option<Vec<u8>> {
    let mut data = b"ct-release/1 receipts".to_vec();
    for receipt in receipts {
        let hash = HEXLOWER.decode(receipt.hash.as_bytes()).ok()?;
        let hash: [u8; 32] = hash.try_into().ok()?;
        data.extend_from_slice(&receipt.number.to_be_bytes());
        data.extend_from_slice(&hash);
    }
    Some(data)
}

#[cfg(test)]
mod tests;
