//! The log itself: a folder that only grows, written by one thread.
//!
//! [`Log::append`] returns once the receipt is on the disk (`fdatasync`) under a signed checkpoint,
//! and, where witnesses are asked for, once enough of them have signed too. Receipts that arrive
//! together are written together. Where any of that fails there is an error, and then nothing may
//! be released: the log never falls back to memory.
//!
//! Files: `tile/…` and `checkpoint` as C2SP tlog-tiles has them, for anybody to read; `journal`, the
//! only file that must not be lost; `documents/…`, which receipts have the hashes of; `lock`.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Sender},
    },
    thread::JoinHandle,
};

use crate::{
    checkpoint::SignedCheckpoint,
    export::{DOCUMENT_MAX, DOCUMENTS},
    hash::Digest,
    note::{KeyKind, NoteError, Signer},
    notice::{Leaf, Remark},
    proof::Proof,
    receipt::Draft,
    witness::remote::Witnesses,
};

mod clock;
mod error;
mod journal;
mod open;
mod publish;
mod rotate;
mod state;
mod writer;

pub use clock::Clock;
pub use error::LogError;

/// What a log can be told beside its folder and key.
#[derive(Debug)]
pub struct Options {
    clock: Clock,
    witnesses: Option<Witnesses>,
    journal_bytes: u64,
}

/// The journal begins anew beyond this size: some eight thousand receipts.
const JOURNAL_BYTES: u64 = 4 << 20;

impl Default for Options {
    fn default() -> Self {
        Self { clock: Clock::system(), witnesses: None, journal_bytes: JOURNAL_BYTES }
    }
}

impl Options {
    /// Takes the time from another clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Begins the journal anew beyond this size, after its tiles were synced.
    #[must_use]
    pub const fn journal_bytes(mut self, bytes: u64) -> Self {
        self.journal_bytes = bytes;
        self
    }

    /// Counts a receipt only once enough witnesses have signed a checkpoint with it.
    #[must_use]
    pub fn witnesses(mut self, witnesses: Witnesses) -> Self {
        self.witnesses = Some(witnesses);
        self
    }
}

/// A receipt that is kept, with its proof.
#[derive(Clone, Debug)]
pub struct Appended {
    /// Position in the log.
    pub index: u64,
    /// What was logged, with number and time.
    pub entry: Leaf,
    /// The bytes that were logged.
    pub leaf: Vec<u8>,
    /// That they are in the log.
    pub proof: Proof,
}

impl Appended {
    /// The leaf hash: names this receipt, and goes into what is sealed under it.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest::leaf(&self.leaf)
    }
}

/// An open log. Any number of threads may append.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # fn decided() -> cloudtaser_evidence::Draft { unimplemented!() }
/// use std::{path::Path, time::Duration};
/// use cloudtaser_evidence::{Log, keys, log::Options, witness::remote::Witnesses};
///
/// let signer = keys::read_signer(Path::new("/etc/cloudtaser/log.key"))?;
/// let policy = std::fs::read_to_string("/etc/cloudtaser/policy")?.parse()?;
/// let options = Options::default().witnesses(Witnesses::new(policy, Duration::from_secs(2)));
/// let log = Log::open(Path::new("/var/lib/cloudtaser/log"), signer, options)?;
///
/// // Blocks until it is safe; on an error nothing may be released.
/// let appended = log.append(decided())?;
/// println!("sealed under {}", appended.hash());
/// # Ok(())
/// # }
/// ```
pub struct Log {
    folder: PathBuf,
    requests: Mutex<Option<Sender<Request>>>,
    latest: Arc<Mutex<SignedCheckpoint>>,
    writer: Option<JoinHandle<()>>,
    cut_bytes: u64,
}

/// One receipt to write, and where to answer.
struct Request {
    content: Content,
    answer: mpsc::SyncSender<Result<Appended, LogError>>,
}

/// What a leaf is made of.
enum Content {
    Draft(Box<Draft>),
    Remark(Remark),
}

impl Log {
    /// Opens the log in a folder, or begins one. A write that was cut short is cut off.
    ///
    /// # Errors
    /// [`LogError`]; in particular where receipts are missing or changed.
    pub fn open(folder: &Path, signer: Signer, options: Options) -> Result<Self, LogError> {
        if signer.kind() != KeyKind::Log {
            return Err(LogError::Signer(NoteError::KeyKind));
        }
        let (state, cut_bytes) = open::open(folder, signer)?;
        let latest = Arc::new(Mutex::new(state.latest().clone()));
        let (requests, queue) = mpsc::channel();
        let writer = writer::Writer::new(state, options, Arc::clone(&latest));
        let thread = std::thread::Builder::new().name("evidence-log".to_owned());
        let writer = thread
            .spawn(move || writer.run(&queue))
            .map_err(LogError::io("start the writer of", folder))?;
        let (folder, requests) = (folder.to_owned(), Mutex::new(Some(requests)));
        Ok(Self { folder, requests, latest, writer: Some(writer), cut_bytes })
    }

    /// Keeps a receipt; returns once it is safe.
    ///
    /// # Errors
    /// [`LogError`]: then nothing may be released.
    pub fn append(&self, draft: Draft) -> Result<Appended, LogError> {
        self.send(Content::Draft(Box::new(draft)))
    }

    /// Says something aloud; returns once it is safe.
    ///
    /// # Errors
    /// [`LogError`]: then what it was about must not go on.
    pub fn notice(&self, remark: Remark) -> Result<Appended, LogError> {
        self.send(Content::Remark(remark))
    }

    fn send(&self, content: Content) -> Result<Appended, LogError> {
        let (answer, answered) = mpsc::sync_channel(1);
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let request = Request { content, answer };
        let sent = requests.as_ref().is_some_and(|requests| requests.send(request).is_ok());
        drop(requests);
        if sent { answered.recv().unwrap_or(Err(LogError::Closed)) } else { Err(LogError::Closed) }
    }

    /// The newest checkpoint whose receipts are safe.
    #[must_use]
    pub fn checkpoint(&self) -> SignedCheckpoint {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps a statement of evidence beside the log, for bundles; a receipt then names its hash.
    ///
    /// # Errors
    /// [`LogError`]: then no receipt should name it.
    pub fn keep(&self, document: &[u8]) -> Result<Digest, LogError> {
        if document.len() > DOCUMENT_MAX {
            return Err(LogError::Document(document.len()));
        }
        publish::keep(&self.folder.join(DOCUMENTS), document)
    }

    /// How many bytes of an unfinished write were found and cut off at the start.
    #[must_use]
    pub const fn cut_bytes(&self) -> u64 {
        self.cut_bytes
    }
}

impl Drop for Log {
    /// Waits for what is being written, and publishes it.
    fn drop(&mut self) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has answered nobody, which is what they were told.
            let _ended = writer.join();
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("latest", &self.latest).finish_non_exhaustive()
    }
}

/// Reads records to the end, as opening does.
#[cfg(any(test, fuzzing))]
pub(crate) fn journal_for_fuzzing(bytes: &[u8]) {
    let mut at = 0;
    while let Some((_, body, length)) = bytes.get(at..).and_then(journal::read) {
        assert!(body.len() < length && at + length <= bytes.len());
        at += length;
    }
    assert!(!journal::has_commit(bytes.get(at..).unwrap_or_default()) || at < bytes.len());
}

#[cfg(test)]
mod tests;
