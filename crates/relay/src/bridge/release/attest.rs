//! What a node has signed about a launch: judged when the launch logs in, kept with its receipts.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cloudtaser_core::{
    node::{Hash, NodeEvidence},
    release::nodes::Attested,
};
use cloudtaser_evidence::{
    Digest,
    node::{Document, Launch, NodeError},
};
use data_encoding::HEXLOWER;

use super::receipt::Kept;

/// Clocks of nodes that are kept differ by seconds; the nonce is what makes a statement fresh.
const CLOCKS_DIFFER: u64 = 300;

/// What a statement must have been made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) session: [u8; 32],
    pub(super) sealing: [u8; 32],
    pub(super) pod: &'a str,
    /// What the launch says its own file hashes to.
    pub(super) wrapper: Option<&'a str>,
}

/// A statement that is signed, fresh, and of this launch. Whether the key is one that counts is for
/// the policy to say, each time that it is asked.
#[derive(Debug)]
pub(super) struct Evidence {
    attested: Attested,
    kept: Kept,
    since: Instant,
}

impl Evidence {
    /// Verifies what a launch brought.
    pub(super) fn judge(
        signed: &NodeEvidence,
        place: &Place<'_>,
        now: u64,
    ) -> Result<Self, NodeError> {
        let signature = HEXLOWER.decode(signed.signature.as_bytes());
        let signature = signature.map_err(|_digits| NodeError::Signature)?;
        let document = Document::new(signed.statement.clone(), &signed.key, signature);
        let found = document.verify()?;
        let (session, sealing) = (Digest::new(place.session), Digest::new(place.sealing));
        found.is_of(&Launch { session, sealing, pod: place.pod })?;
        found.is_recent(now, CLOCKS_DIFFER)?;
        if let (Some(said), Some(known)) = (place.wrapper, found.statement.launch.wrapper)
            && Hash::try_from(said) != Ok(known)
        {
            return Err(NodeError::Wrapper);
        }
        let assurance = found.assurance();
        let bytes: Arc<[u8]> = document.to_bytes()?.into();
        let kept = Kept { hash: Digest::of(&bytes), document: bytes, assurance };
        let attested = Attested { key: signed.key, statement: found.statement };
        Ok(Self { attested, kept, since: Instant::now() })
    }

    /// For the policy.
    pub(super) const fn attested(&self) -> &Attested {
        &self.attested
    }

    /// For the receipts.
    pub(super) fn kept(&self) -> Kept {
        self.kept.clone()
    }

    pub(super) fn is_older_than(&self, limit: Duration) -> bool {
        self.since.elapsed() > limit
    }
}
