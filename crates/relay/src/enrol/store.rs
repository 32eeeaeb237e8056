//! The state on the disk.
//!
//! One file, written aside and renamed, so that a reader sees the state before an act or after it
//! and never between; one lock, so that acts of several processes come one after the other.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use super::{
    audit,
    state::{Act, State},
};

use crate::file::replace;

const STATE: &str = "enrolment.json";
const NEXT: &str = "enrolment.json.next";
const LOCK: &str = "lock";
/// The audit lines of all acts.
pub const AUDIT: &str = "audit.jsonl";

/// The folder of a bridge's enrolment.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

/// Why the state cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk.
    #[error("cannot read or write {}", path.display())]
    Disk {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not as it was written.
    #[error("{} is damaged: nobody is let in until it is put back from a copy", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
}

/// What tells one state of the file from another.
pub type Version = (u64, i64, i64, u64);

impl Store {
    /// Makes an empty one in a new folder.
    ///
    /// # Errors
    /// [`StoreError`] where there is one already, or it cannot be written.
    pub fn create(folder: &Path) -> Result<Self, StoreError> {
        let store = Self { folder: folder.to_owned() };
        let made = fs::DirBuilder::new().mode(0o700).create(folder);
        made.map_err(|source| store.failed("", source))?;
        store.write(&State::default())?;
        Ok(store)
    }

    /// Opens what [`Self::create`] made.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let store = Self { folder: folder.to_owned() };
        store.read()?;
        Ok(store)
    }

    /// What is known.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(&self) -> Result<State, StoreError> {
        let path = self.folder.join(STATE);
        let text = fs::read(&path).map_err(|source| self.failed(STATE, source))?;
        serde_json::from_slice(&text).map_err(|source| StoreError::Damaged { path, source })
    }

    /// Another one whenever the state is another.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn version(&self) -> Result<Version, StoreError> {
        let about = fs::metadata(self.folder.join(STATE));
        let about = about.map_err(|source| self.failed(STATE, source))?;
        Ok((about.ino(), about.mtime(), about.mtime_nsec(), about.size()))
    }

    /// Does one act: what is said comes out, and what was done is on the disk, with its audit line,
    /// before it does. Where nothing was done nothing is written.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was done, or the act is done and its line comes with the next.
    pub fn act<T>(
        &self,
        by: &str,
        now: u64,
        work: impl FnOnce(&mut State) -> (T, Option<Act>),
    ) -> Result<T, StoreError> {
        let _lock = self.lock()?;
        let mut state = self.read()?;
        let audit = self.folder.join(AUDIT);
        let caught_up = |state: &State| {
            audit::catch_up(&audit, state).map_err(|source| self.failed(AUDIT, source))
        };
        // What a crash left undone comes first, or its line would be lost.
        caught_up(&state)?;
        let (said, act) = work(&mut state);
        if let Some(act) = act {
            state.revision = state.revision.saturating_add(1);
            state.last_line = Some(audit::line(&state, &act, by, now));
            self.write(&state)?;
            caught_up(&state)?;
        }
        Ok(said)
    }

    /// Several processes come one after the other.
    fn lock(&self) -> Result<Flock<File>, StoreError> {
        let path = self.folder.join(LOCK);
        let opened =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = opened.map_err(|source| self.failed(LOCK, source))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_file, errno)| self.failed(LOCK, errno.into()))
    }

    fn write(&self, state: &State) -> Result<(), StoreError> {
        let path = self.folder.join(STATE);
        let text = serde_json::to_vec_pretty(state)
            .map_err(|source| StoreError::Damaged { path: path.clone(), source })?;
        replace(&self.folder, STATE, NEXT, &text).map_err(|source| self.failed(STATE, source))
    }

    fn failed(&self, file: &str, source: io::Error) -> StoreError {
        StoreError::Disk { path: self.folder.join(file), source }
    }
}

#[cfg(test)]
mod tests;
