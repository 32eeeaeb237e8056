//! What the writer has in memory, and how a group of receipts becomes a write.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Content,
    error::LogError,
    journal::{self, CLUSTERS_MAX, Head, Kind, Stream},
};
use crate::{
    checkpoint::{Checkpoint, SignedCheckpoint},
    hash::Digest,
    note::Signer,
    notice::{self, Leaf, Notice},
    receipt::{Name, Receipt, ReceiptError},
    tree::{self, Edge, NotKept},
};

/// How far the clock may go back before the log stops: corrections of NTP are less.
const CLOCK_TOLERANCE_MS: u64 = 5_000;

/// The log, as far as it is in memory.
pub(super) struct State {
    pub(super) folder: PathBuf,
    pub(super) signer: Signer,
    /// Held as long as the log is open.
    pub(super) _lock: File,
    pub(super) journal: File,
    /// Where the next group goes.
    pub(super) end: u64,
    /// Full tiles on the disk have so many entries.
    pub(super) base: u64,
    /// The entries from `base` on.
    pub(super) entries: Vec<Arc<[u8]>>,
    pub(super) edge: Edge,
    pub(super) time_ms: u64,
    pub(super) streams: BTreeMap<Name, Stream>,
    pub(super) latest: SignedCheckpoint,
    /// So many entries are in tiles that were written, if not yet known to be on the disk.
    pub(super) tiled: u64,
    /// Size of the newest checkpoint that others can read.
    pub(super) published: Option<u64>,
    /// Why the disk's state is not known.
    pub(super) stopped: Option<String>,
}

/// A receipt that has its number, and is not written yet.
pub(super) struct Staged {
    pub(super) index: u64,
    pub(super) entry: Leaf,
    stream: Name,
    pub(super) leaf: Arc<[u8]>,
    before: (Option<Stream>, u64),
}

impl State {
    pub(super) const fn latest(&self) -> &SignedCheckpoint {
        &self.latest
    }

    pub(super) fn journal_path(&self) -> PathBuf {
        self.folder.join("journal")
    }

    /// Gives a content its number and time, and the tree its leaf.
    pub(super) fn stage(&mut self, content: Content, now_ms: u64) -> Result<Staged, LogError> {
        let behind = self.time_ms.saturating_sub(now_ms);
        if behind > CLOCK_TOLERANCE_MS {
            return Err(LogError::ClockWentBack { seconds: behind.div_ceil(1000) });
        }
        let stream = stream_of(&content)?;
        let before = self.streams.get(&stream).copied();
        if before.is_none() && self.streams.len() >= CLUSTERS_MAX {
            return Err(LogError::TooManyClusters(CLUSTERS_MAX));
        }
        let (sequence, previous) = before.map_or((0, None), |s| (s.next, Some(s.last)));
        let time_ms = now_ms.max(self.time_ms);
        let entry = match content {
            Content::Draft(draft) => Receipt::new(*draft, sequence, time_ms, previous).into(),
            Content::Remark(said) => Leaf::Notice(Notice::new(said, sequence, time_ms, previous)),
        };
        let leaf: Arc<[u8]> = entry.to_bytes()?.into();
        let before = (before, self.time_ms);
        let staged = Staged { index: self.edge.size(), leaf, before, entry, stream };
        self.take(staged.stream.clone(), &staged.entry, &staged.leaf);
        Ok(staged)
    }

    /// Adds an entry to what is in memory.
    pub(super) fn take(&mut self, stream: Name, entry: &Leaf, leaf: &Arc<[u8]>) {
        let last = Digest::leaf(leaf);
        self.edge.push(last);
        self.entries.push(Arc::clone(leaf));
        self.time_ms = entry.time_ms();
        let next = entry.sequence().saturating_add(1);
        self.streams.insert(stream, Stream { next, last });
    }

    /// Forgets receipts that could not be written.
    pub(super) fn unstage(&mut self, staged: &[Staged]) {
        for staged in staged.iter().rev() {
            let (before, time_ms) = staged.before;
            match before {
                Some(before) => self.streams.insert(staged.stream.clone(), before),
                None => self.streams.remove(&staged.stream),
            };
            self.time_ms = time_ms;
            self.entries.pop();
        }
        let size = self.edge.size().saturating_sub(u64::try_from(staged.len()).unwrap_or(0));
        self.edge.truncate(size);
    }

    /// Writes a group, makes sure of it, and only then lets its checkpoint be seen.
    pub(super) fn commit(&mut self, staged: &[Staged]) -> Result<(), LogError> {
        let checkpoint = self.sign()?;
        let mut bytes = Vec::new();
        for staged in staged {
            journal::write(&mut bytes, Kind::Entry, &staged.leaf);
        }
        journal::write(&mut bytes, Kind::Commit, checkpoint.to_string().as_bytes());
        if let Err(source) = self.journal.write_all_at(&bytes, self.end) {
            return Err(self.write_failed(source));
        }
        if let Err(error) = self.journal.sync_data() {
            // SECURITY: after a failed sync the kernel may forget what it could not write, and a
            // second sync would say that all is well.
            return Err(self.stop(format!("the disk did not confirm a write ({error})")));
        }
        self.end += u64::try_from(bytes.len()).unwrap_or(0);
        self.latest = checkpoint;
        Ok(())
    }

    /// The checkpoint over all that is in memory.
    pub(super) fn sign(&self) -> Result<SignedCheckpoint, LogError> {
        let size = self.edge.size();
        let root = tree::root(&self.edge, size).map_err(|error| self.lost_node(error))?;
        let origin = self.signer.name().to_owned();
        Ok(Checkpoint { origin, size, root }.sign(&self.signer))
    }

    pub(super) fn lost_node(&self, error: NotKept) -> LogError {
        LogError::Stopped(error.to_string())
    }

    /// From now on nothing is taken.
    pub(super) fn stop(&mut self, why: String) -> LogError {
        self.stopped = Some(why.clone());
        LogError::Stopped(why)
    }

    /// A full or read-only disk is no end, if what was half written can be taken away again.
    fn write_failed(&mut self, source: io::Error) -> LogError {
        let taken_away = self.journal.set_len(self.end).or_else(|error| {
            // Nothing was written to a disk that does not take even this.
            let length = self.journal.metadata().map(|metadata| metadata.len());
            if length.is_ok_and(|length| length == self.end) { Ok(()) } else { Err(error) }
        });
        match taken_away {
            Ok(()) => LogError::Write { path: self.journal_path(), source: Arc::new(source) },
            Err(error) => self.stop(format!("{source}, and what was half written stays ({error})")),
        }
    }

    /// The first record of a journal that begins here.
    pub(super) fn head(&self, base: u64) -> Result<Head, LogError> {
        let root = tree::root(&self.edge, base).map_err(|error| self.lost_node(error))?;
        Ok(Head {
            base,
            root,
            time_ms: self.time_ms,
            streams: self.streams.clone(),
            key: self.signer.verifier().to_string(),
        })
    }
}

/// In which sequence a content comes. That of notices is no cluster's.
fn stream_of(content: &Content) -> Result<Name, LogError> {
    let odd = || ReceiptError::Form(format!("no cluster can be called {}", notice::STREAM));
    match content {
        Content::Draft(draft) if draft.cluster.as_str() == notice::STREAM => Err(odd().into()),
        Content::Draft(draft) => Ok(draft.cluster.clone()),
        Content::Remark(_) => name_of(notice::STREAM),
    }
}

/// The name of a sequence.
pub(super) fn name_of(stream: &str) -> Result<Name, LogError> {
    let odd = |error: crate::receipt::NameError| ReceiptError::Form(error.to_string());
    Ok(Name::try_from(stream).map_err(odd)?)
}

/// Makes sure that a folder has the files that were put into it.
pub(super) fn sync_folder(folder: &Path) -> Result<(), LogError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(LogError::io("make sure of", folder))
}
