//! Why a log cannot be opened, or a receipt not be kept.

use std::{io, path::PathBuf, sync::Arc};

use cloudtaser_core::Blame;

use crate::{note::NoteError, receipt::ReceiptError};

/// Why a log cannot be opened, or a receipt not be kept. No secret may leave after one of these.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The clock is behind the last receipt.
    #[error(
        "the clock went back by {seconds} s, behind the last receipt: mend the clock; nothing is \
         released until it has caught up"
    )]
    ClockWentBack {
        /// How far.
        seconds: u64,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// The disk has other bytes than were written.
    #[error("{} is damaged: {why}; restore the log from a copy, do not delete it", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// Something happened after which the disk's state is not known.
    #[error("the log stopped: {0}; start the program again, which reads what the disk has")]
    Stopped(String),
    /// A file or folder cannot be used.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: Arc<io::Error>,
    },
    /// Another process has it open.
    #[error("another process has the log in {} open", .0.display())]
    Locked(PathBuf),
    /// The log was begun with another key.
    #[error("the log in {} belongs to the key {owner}", path.display())]
    OtherKey {
        /// Which log.
        path: PathBuf,
        /// Whose it is.
        owner: String,
    },
    /// What cannot be logged.
    #[error("the receipt cannot be logged")]
    Receipt(#[from] ReceiptError),
    /// There is less than was published before.
    #[error(
        "the log was rolled back: {published} receipts were published, {found} are here; restore \
         the newest copy"
    )]
    RolledBack {
        /// How many there were.
        published: u64,
        /// How many there are.
        found: u64,
    },
    /// The key cannot sign a log.
    #[error("the key cannot sign this log")]
    Signer(#[source] NoteError),
    /// More clusters than one log keeps apart.
    #[error("a log has at most {0} clusters")]
    TooManyClusters(usize),
    /// The receipt is kept, but too few witnesses saw it in time.
    #[error("receipt {index} was logged, and too few witnesses signed: {reason}")]
    Unwitnessed {
        /// Where it is.
        index: u64,
        /// Which witness did what.
        reason: String,
    },
    /// Too few witnesses saw what is there already, so nothing more was logged.
    #[error("too few witnesses answer, so nothing is logged or released: {reason}")]
    WitnessesAway {
        /// Which witness did what.
        reason: String,
    },
    /// The disk takes nothing more.
    #[error("the receipt cannot be written to {}", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// Why not: full, read-only.
        source: Arc<io::Error>,
    },
}

impl LogError {
    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source: Arc::new(source) }
    }

    /// Who has to act.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Damaged { .. } | Self::RolledBack { .. } => Blame::Attack,
            Self::Locked(_) | Self::OtherKey { .. } | Self::Signer(_) => Blame::Configuration,
            Self::Receipt(_) | Self::TooManyClusters(_) => Blame::Configuration,
            Self::Unwitnessed { .. } | Self::WitnessesAway { .. } => Blame::Peer,
            Self::ClockWentBack { .. }
            | Self::Closed
            | Self::Io { .. }
            | Self::Stopped(_)
            | Self::Write { .. } => Blame::Platform,
        }
    }
}
