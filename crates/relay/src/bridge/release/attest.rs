//! What a node has signed about a launch: judged when the launch logs in, kept with its receipts.

use std::{
    fs, io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use cloudtaser_core::{
    node::{Hash, NodeEvidence},
    release::nodes::Attested,
};
use cloudtaser_evidence::{
    Digest,
    attest::machine::MachineError,
    node::{Document, Launch, NodeError},
    receipt::Assurance,
};

use tracing::warn;

use super::receipt::Kept;
use crate::log::chain;

/// Clocks of nodes that are kept differ by seconds; the nonce is what makes a statement fresh.
const CLOCKS_DIFFER: u64 = 300;

/// Certificates and collateral of all machines that a cluster has.
const FILES_MAX: usize = 256;
/// Intel's collateral has 20 kB.
const FILE_MAX: u64 = 512 * 1024;

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
    /// Verifies what a launch brought; `files` are what reports of machines are verified with.
    pub(super) fn judge(
        signed: &NodeEvidence,
        place: &Place<'_>,
        files: &[Vec<u8>],
        now: u64,
    ) -> Result<Self, NodeError> {
        let mut document = Document::of(signed)?;
        match document.take_report(signed, files, now) {
            // SECURITY: a genuine report of another launch is somebody who tries.
            Err(error @ NodeError::Machine(MachineError::Binding)) => return Err(error),
            // Collateral gets old by itself: then it counts as none, and rules that want one say so.
            Err(error) => {
                warn!(why = chain(&error), "a report of a confidential machine counts as none");
            }
            Ok(()) => {}
        }
        let found = document.verify()?;
        let (session, sealing) = (Digest::new(place.session), Digest::new(place.sealing));
        found.is_of(&Launch { session, sealing, pod: place.pod })?;
        found.is_recent(now, CLOCKS_DIFFER)?;
        if let (Some(said), Some(known)) = (place.wrapper, found.statement.launch.wrapper)
            && Hash::try_from(said) != Ok(known)
        {
            return Err(NodeError::Wrapper);
        }
        // What it is worth is for the policy to say, which knows whose keys these are.
        let assurance = Assurance::L0;
        let bytes: Arc<[u8]> = document.to_bytes()?.into();
        let kept = Kept { hash: Digest::of(&bytes), document: bytes, assurance };
        let attested = found.attested();
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

/// The files of a folder: certificates as DER, collateral as JSON. Read anew each time, since Intel's
/// is good for a month; what cannot be read is left out.
pub(super) fn files(folder: Option<&Path>) -> Vec<Vec<u8>> {
    let Some(folder) = folder else { return Vec::new() };
    let read = || -> io::Result<Vec<Vec<u8>>> {
        let mut names: Vec<_> =
            fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        names.sort();
        let fits = |path: &&std::path::PathBuf| {
            fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= FILE_MAX)
        };
        Ok(names
            .iter()
            .filter(fits)
            .take(FILES_MAX)
            .filter_map(|path| fs::read(path).ok())
            .collect())
    };
    read().unwrap_or_else(|error| {
        warn!(folder = %folder.display(), error = chain(&error), "no collateral can be read");
        Vec::new()
    })
}
