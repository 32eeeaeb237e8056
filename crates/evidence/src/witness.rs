//! A witness (C2SP tlog-witness): signs that a log only grew, and never anything else.
//!
//! It keeps one checkpoint per log and signs a newer one only with a proof that it begins with the
//! kept one. What it signed is on its disk before the answer leaves, so a log that forks or rolls
//! back needs the witness's help, which it does not get. [`http`] is the wire, [`remote`] the log's
//! side of it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::{
    checkpoint::{SignedCheckpoint, parse_number},
    hash::Digest,
    log::Clock,
    note::{KeyKind, NOTE_MAX, NoteError, Signer, VerifierKey},
    tree::{self, PROOF_MAX},
};

pub mod http;
pub mod remote;

/// A clock that went back further than this signs nothing.
const CLOCK_TOLERANCE_S: u64 = 5;
/// Type of the answer that tells a size.
pub const SIZE_TYPE: &str = "text/x.tlog.size";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// Why a witness cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    /// Its key is of another kind.
    #[error("the key cannot sign for a witness")]
    Key(#[source] NoteError),
    /// A file or folder cannot be used.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process uses the folder.
    #[error("another process uses {}", .0.display())]
    Locked(PathBuf),
    /// What it signed last cannot be read.
    #[error("{} is damaged: restore it, or the witness could sign a fork", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
}

/// An answer to a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// What was signed last of a log.
struct Kept {
    checkpoint: SignedCheckpoint,
    unix_seconds: u64,
}

/// A witness of some logs.
pub struct Witness {
    signer: Signer,
    logs: Vec<VerifierKey>,
    folder: PathBuf,
    clock: Clock,
    kept: Mutex<BTreeMap<String, Kept>>,
    _lock: File,
}

/// A request that was read.
struct Request {
    old: u64,
    proof: Vec<Digest>,
    signed: SignedCheckpoint,
}

impl Witness {
    /// Opens a witness's folder and reads what it signed last.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub fn open(
        folder: &Path,
        signer: Signer,
        logs: Vec<VerifierKey>,
        clock: Clock,
    ) -> Result<Self, WitnessError> {
        if signer.kind() != KeyKind::Witness {
            return Err(WitnessError::Key(NoteError::KeyKind));
        }
        let at = |path: &Path| {
            let path = path.to_owned();
            |source| WitnessError::Io { path, source }
        };
        fs::create_dir_all(folder).map_err(at(folder))?;
        let path = folder.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(at(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(WitnessError::Locked(path)),
            Err(fs::TryLockError::Error(source)) => return Err(WitnessError::Io { path, source }),
        }
        let mut kept = BTreeMap::new();
        for log in &logs {
            let path = folder.join(origin_hash(log.name())).join("checkpoint");
            let text = match fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(source) => return Err(WitnessError::Io { path, source }),
            };
            let read = SignedCheckpoint::parse(&text).and_then(|checkpoint| {
                let unix_seconds = checkpoint.note().verify_cosigned(&signer.verifier())?;
                Ok(Kept { checkpoint, unix_seconds })
            });
            kept.insert(
                log.name().to_owned(),
                read.map_err(|_bad| WitnessError::Damaged { path })?,
            );
        }
        let (folder, kept) = (folder.to_owned(), Mutex::new(kept));
        Ok(Self { signer, logs, folder, clock, kept, _lock: lock })
    }

    /// The key that verifies its signatures.
    #[must_use]
    pub fn verifier(&self) -> VerifierKey {
        self.signer.verifier()
    }

    /// `POST /add-checkpoint`.
    #[must_use]
    pub fn add_checkpoint(&self, body: &[u8]) -> Answer {
        self.judge(body).unwrap_or_else(|refused| refused)
    }

    /// `GET /HASH/checkpoint`: what it signed last of a log.
    #[must_use]
    pub fn checkpoint(&self, origin_hash: &str) -> Answer {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find(|(origin, _)| self::origin_hash(origin) == origin_hash);
        match found {
            Some((_, kept)) => Answer::text(200, &kept.checkpoint.to_string()),
            None => Answer::text(404, "no checkpoint of this log was signed here\n"),
        }
    }

    fn judge(&self, body: &[u8]) -> Result<Answer, Answer> {
        let Request { old, proof, signed } = parse(body)?;
        let origin = signed.checkpoint().origin.clone();
        let by = self.is_trusted(&signed)?;
        let (size, root) = (signed.checkpoint().size, signed.checkpoint().root);
        if old > size {
            return Err(Answer::text(400, "the old size is above the new one\n"));
        }
        // Held to the end: nobody else may look at the kept size before this one is on the disk.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let last = kept.get(&origin);
        // SECURITY: once a newer key has signed, whoever has an older one signs in vain.
        if last.is_some_and(|last| self.newest(&last.checkpoint) > Some(by)) {
            return Err(Answer::text(403, "a newer key of the log has signed since\n"));
        }
        let (last_size, last_root) = last.map_or_else(
            || (0, Digest::of(b"")),
            |last| (last.checkpoint.checkpoint().size, last.checkpoint.checkpoint().root),
        );
        if old != last_size {
            let body = format!("{last_size}\n");
            return Err(Answer { status: 409, content_type: SIZE_TYPE, body });
        }
        if size == 0 && root != Digest::of(b"") {
            return Err(Answer::text(422, "an empty tree has another root\n"));
        }
        tree::verify_consistency((old, last_root), (size, root), &proof).map_err(|_wrong| {
            Answer::text(422, "the log does not begin with what was signed here before\n")
        })?;
        let now = self.clock.now_ms() / 1000;
        if last.is_some_and(|last| now + CLOCK_TOLERANCE_S < last.unix_seconds) {
            return Err(Answer::text(503, "the witness's clock went back\n"));
        }
        let now = last.map_or(now, |last| now.max(last.unix_seconds));
        let signature = self.signer.sign(signed.note().text(), now);
        let line = signature.to_string();
        let mut checkpoint = signed;
        let logs: Vec<_> = self.logs.iter().filter(|log| log.name() == origin).collect();
        checkpoint.note_mut().retain(|signature| logs.iter().any(|log| signature.is_by(log)));
        checkpoint.note_mut().add(signature);
        self.keep(&origin, &checkpoint).map_err(|error| {
            Answer::text(503, &format!("the witness cannot keep what it signs: {error}\n"))
        })?;
        kept.insert(origin, Kept { checkpoint, unix_seconds: now });
        Ok(Answer::text(200, &line))
    }

    /// The newest key of its log that signed: of several keys the last one that was named.
    fn newest(&self, signed: &SignedCheckpoint) -> Option<usize> {
        self.logs.iter().rposition(|log| signed.verify(log).is_ok())
    }

    /// A log that is known, and signed; by which of its keys, the newest if there are several.
    fn is_trusted(&self, signed: &SignedCheckpoint) -> Result<usize, Answer> {
        let origin = &signed.checkpoint().origin;
        let mut verified = None;
        for log in self.logs.iter().filter(|log| log.name() == origin) {
            match signed.verify(log) {
                Ok(()) => verified = Some(true),
                Err(NoteError::Forged(_)) => {
                    return Err(Answer::text(403, "a signature of the log does not verify\n"));
                }
                Err(_) => verified = verified.or(Some(false)),
            }
        }
        match verified {
            Some(true) => Ok(self.newest(signed).unwrap_or_default()),
            Some(false) => Err(Answer::text(403, "the log's signature is missing\n")),
            None => Err(Answer::text(404, "this log is not known here\n")),
        }
    }

    fn keep(&self, origin: &str, checkpoint: &SignedCheckpoint) -> io::Result<()> {
        let folder = self.folder.join(origin_hash(origin));
        fs::create_dir_all(&folder)?;
        let new = folder.join("checkpoint.new");
        let mut file = File::create(&new)?;
        file.write_all(checkpoint.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, folder.join("checkpoint"))?;
        File::open(&folder)?.sync_all()?;
        File::open(&self.folder)?.sync_all()
    }
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness").field("signer", &self.signer).finish_non_exhaustive()
    }
}

impl Answer {
    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self { status, content_type: TEXT_TYPE, body: body.to_owned() }
    }
}

/// How a log's origin is written in a path.
#[must_use]
pub fn origin_hash(origin: &str) -> String {
    Digest::of(origin.as_bytes()).to_string()
}

/// The body of a request.
#[must_use]
pub fn request_body(old: u64, proof: &[Digest], checkpoint: &SignedCheckpoint) -> String {
    let mut body = format!("old {old}\n");
    for hash in proof {
        // Writing to a string does not fail.
        let _written = writeln!(body, "{}", hash.to_base64());
    }
    body.push_str(&format!("\n{checkpoint}"));
    body
}

fn parse(body: &[u8]) -> Result<Request, Answer> {
    let form = || Answer::text(400, "the body is: old SIZE, hashes, an empty line, a checkpoint\n");
    if body.len() > NOTE_MAX {
        return Err(form());
    }
    let text = str::from_utf8(body).map_err(|_bad| form())?;
    let (head, checkpoint) = text.split_once("\n\n").ok_or_else(form)?;
    let mut lines = head.split('\n');
    let old = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(parse_number);
    let proof: Option<Vec<_>> = lines.map(Digest::from_base64).collect();
    let proof = proof.filter(|proof| proof.len() <= PROOF_MAX).ok_or_else(form)?;
    let signed = SignedCheckpoint::parse(checkpoint).map_err(|_bad| form())?;
    Ok(Request { old: old.ok_or_else(form)?, proof, signed })
}

#[cfg(any(test, fuzzing))]
pub(crate) fn parse_for_fuzzing(body: &[u8]) -> Option<(u64, Vec<Digest>, SignedCheckpoint)> {
    parse(body).ok().map(|request| (request.old, request.proof, request.signed))
}

#[cfg(test)]
pub(crate) mod tests;
