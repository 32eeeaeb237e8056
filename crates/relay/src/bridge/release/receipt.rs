//! One record per release: who, what, by which rule, protected how.
//!
//! A path is in it as a keyed hash, by which the owner of the key finds it and nobody else does; a
//! value or a token never is. [`ReceiptSink`] is the seam behind which `books` stands.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use cloudtaser_core::{
    level::Facets,
    release::{Recorded, policy},
};
use cloudtaser_evidence::receipt::{Act, Assurance};
use cloudtaser_sys::heap;
use cloudtaser_tls::{Digest, MacKey};
use data_encoding::HEXLOWER;
use serde::Serialize;

use super::{PATH_LABEL, orders::Believed};
use crate::clock::unix_seconds;

/// What is recorded.
#[derive(Clone, Debug, Serialize)]
pub struct Receipt {
    /// Seconds since 1970.
    pub at: u64,
    /// What happened.
    pub event: Event,
    /// Whether it was done, or the word for why not.
    pub decision: String,
    /// The client with whose key the session was opened.
    pub client: String,
    /// `issuer:namespace/serviceaccount`, as far as a token said so and was believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// The pod's uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The role that was asked for at OpenBao.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The launch: its public key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The path itself, which is written nowhere.
    #[serde(skip)]
    pub path: Option<String>,
    /// The hash of the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_hmac: Option<String>,
    /// Which version of a KV v2 secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// How long a lease lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_seconds: Option<u64>,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// SHA-256 of the policy file.
    pub policy: String,
    /// What the wrapper says of the launch's protection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facets: Option<Facets>,
    /// What it says its own file hashes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrapper: Option<String>,
    /// What it says the node agent says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Refused logins of this client before this one that have no line, where there were many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<u64>,
    /// The session.
    pub session: String,
    /// The bridge's own memory: `sealed` or `wiped`.
    pub bridge: &'static str,
    /// OpenBao's name of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Of those behind the first, where it took several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_requests: Vec<String>,
    /// What people signed, on which the decision stands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<StoodOn>,
    /// What has to be heard, where it is no answer to anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// SHA-256 of the key that the answer is sealed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed_to: Option<String>,
    /// What the policy calls the node that signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What it signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Kept>,
    /// Where the Merkle log has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Recorded>,
}

/// An order, as lines name it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct StoodOn {
    /// What for.
    pub act: Act,
    /// Its hash.
    pub order: String,
    /// What the log keeps of it.
    #[serde(skip)]
    pub document: Vec<u8>,
}

/// Evidence that is kept beside the log; written down by its hash.
#[derive(Clone, Debug)]
pub struct Kept {
    /// SHA-256 of the document.
    pub hash: cloudtaser_evidence::Digest,
    /// The document.
    pub document: Arc<[u8]>,
    /// How far it reaches.
    pub assurance: Assurance,
}

impl Serialize for Kept {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Written down by its hash; how far it reaches is in the receipt.
        self.hash.serialize(serializer)
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// OpenBao gave out a secret for which the bridge had not asked.
    Around,
    /// People set demands of the policy aside.
    BreakGlass,
    /// Ciphertexts were decrypted.
    Decrypt,
    /// A workload left.
    Leave,
    /// A workload logged in.
    Login,
    /// A secret was read.
    Read,
    /// A lease was made to live longer.
    Renew,
    /// A path was written to and its answer read.
    Write,
}

impl Receipt {
    /// One of this moment, in which nothing is said yet.
    pub(super) fn blank(event: Event, policy: String) -> Self {
        Self {
            at: unix_seconds(),
            event,
            decision: String::new(),
            client: String::new(),
            identity: None,
            pod: None,
            role: None,
            instance: None,
            path: None,
            path_hmac: None,
            version: None,
            lease_seconds: None,
            rule: None,
            policy,
            facets: None,
            wrapper: None,
            agent: None,
            node: None,
            evidence: None,
            suppressed: None,
            session: String::new(),
            bridge: if heap::state().is_sealed() { "sealed" } else { "wiped" },
            request: None,
            more_requests: Vec::new(),
            orders: Vec::new(),
            words: None,
            sealed_to: None,
            log: None,
        }
    }

    /// A line that is no answer to anybody.
    pub(super) fn aloud(event: Event, words: String, policy: String) -> Self {
        let decision = "noticed".to_owned();
        Self { decision, words: Some(words), ..Self::blank(event, policy) }
    }
}

impl StoodOn {
    /// Names an order.
    pub(super) fn new(believed: &Believed) -> Self {
        let act = match believed.order.is_break_glass() {
            true => Act::BreakGlass,
            false => Act::Approval,
        };
        let order = believed.hash().to_string();
        Self { act, order, document: believed.document.clone() }
    }
}

/// Where receipts go.
///
/// Implementations make all of them durable, in their order, before they return; after an error the
/// bridge releases nothing of what they were for.
pub trait ReceiptSink: Send + Sync + std::fmt::Debug {
    /// Appends receipts, and says where they are: what is released names these and nothing else.
    ///
    /// # Errors
    /// Where it is not certain that all of them will be there after a crash.
    fn append(&self, receipts: Vec<Receipt>) -> io::Result<Vec<Recorded>>;
}

/// A file of JSON lines, each with a number that has no gap.
#[derive(Debug)]
pub struct AuditFile(Mutex<Inner>, Digest);

#[derive(Debug)]
struct Inner {
    file: File,
    len: u64,
    next: u64,
    broken: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    #[serde(flatten)]
    receipt: &'a Receipt,
}

#[derive(serde::Deserialize)]
struct Numbered {
    seq: u64,
}

impl AuditFile {
    /// Opens the file behind its last whole line. What a crash left of another one is cut off: its
    /// answer never left.
    ///
    /// # Errors
    /// What the kernel says, and a last line that is none of this file's.
    pub fn open(path: &Path, digest: Digest) -> io::Result<Self> {
        /// No line is longer.
        const TAIL: u64 = 64 << 10;
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(0o600).open(path)?;
        let size = file.metadata()?.len();
        let from = size.saturating_sub(TAIL);
        file.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines = tail.get(..whole).unwrap_or_default();
        let last = lines.trim_ascii_end().rsplit(|byte| *byte == b'\n').next();
        let next = match last.filter(|line| !line.is_empty()) {
            None if size > TAIL => return Err(io::ErrorKind::InvalidData.into()),
            None => 1,
            Some(line) => {
                let odd = || io::Error::new(io::ErrorKind::InvalidData, "its last line is odd");
                let line: Numbered = serde_json::from_slice(line).ok().ok_or_else(odd)?;
                line.seq + 1
            }
        };
        let len = from + u64::try_from(whole).map_err(io::Error::other)?;
        if len < size {
            file.set_len(len)?;
            file.sync_all()?;
        }
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(Self(Mutex::new(Inner { file, len, next, broken: false }), digest))
    }
}

impl ReceiptSink for AuditFile {
    fn append(&self, receipts: Vec<Receipt>) -> io::Result<Vec<Recorded>> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.broken {
            return Err(io::Error::other("an earlier line could not be taken back"));
        }
        let mut text = Vec::new();
        let mut next = inner.next;
        let mut recorded = Vec::with_capacity(receipts.len());
        for receipt in &receipts {
            let line = serde_json::to_vec(&Line { seq: next, receipt })?;
            recorded
                .push(Recorded { number: next, hash: HEXLOWER.encode(&self.1.sha256(&[&line])) });
            text.extend_from_slice(&line);
            text.push(b'\n');
            next += 1;
        }
        let len = inner.len;
        let written = inner.file.write_all(&text).and_then(|()| inner.file.sync_data());
        if let Err(error) = written {
            // A part of a line may be there: without it the next one would be unreadable.
            let back = inner.file.set_len(len).and_then(|()| inner.file.sync_all());
            inner.broken = back.is_err();
            return Err(error);
        }
        inner.len += u64::try_from(text.len()).map_err(io::Error::other)?;
        inner.next = next;
        Ok(recorded)
    }
}

/// The key of the paths' hashes, made where there is none.
pub(super) fn path_key(path: &Path) -> io::Result<MacKey> {
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "it has not 64 hexadecimal digits");
    match fs::read(path) {
        Ok(text) => {
            let bytes = HEXLOWER.decode(text.trim_ascii()).ok().map(zeroize::Zeroizing::new);
            let key = bytes.as_ref().and_then(|bytes| bytes.as_slice().try_into().ok());
            key.map(MacKey::new).ok_or_else(odd)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut bytes = zeroize::Zeroizing::new([0; MacKey::LEN]);
            cloudtaser_tls::random(&mut *bytes).map_err(io::Error::other)?;
            let text = zeroize::Zeroizing::new(HEXLOWER.encode(&*bytes));
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
            writeln!(file, "{}", *text)?;
            file.sync_all()?;
            Ok(MacKey::new(&bytes))
        }
        Err(error) => Err(error),
    }
}

/// The hash by which the receipts in this folder name a path.
///
/// # Errors
/// Where there is no key yet, or it cannot be read.
pub fn hash_of(state_dir: &Path, path: &str) -> io::Result<String> {
    let key = state_dir.join("audit.key");
    // Not made here: a key of another moment would find nothing.
    fs::metadata(&key)?;
    let digest = Digest::new().map_err(io::Error::other)?;
    Ok(path_hash(digest, &path_key(&key)?, path))
}

/// The hash of a path in its one spelling.
pub(super) fn path_hash(digest: Digest, key: &MacKey, path: &str) -> String {
    let canonical = policy::canonical(path).unwrap_or_else(|| path.to_owned());
    HEXLOWER.encode(&digest.hmac(key, &[PATH_LABEL, canonical.as_bytes()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(decision: &str) -> Receipt {
        let (decision, client) = (decision.to_owned(), "one".to_owned());
        let bridge = "sealed";
        Receipt { at: 1, decision, client, bridge, ..Receipt::blank(Event::Read, String::new()) }
    }

    fn numbers(path: &Path) -> Vec<u64> {
        let text = fs::read_to_string(path).unwrap();
        let number = |line| serde_json::from_str::<Numbered>(line).unwrap().seq;
        text.lines().map(number).collect()
    }

    #[test]
    fn numbers_have_no_gap_over_restarts_and_torn_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let digest = Digest::new().unwrap();
        let append = |receipts| AuditFile::open(&path, digest).unwrap().append(receipts).unwrap();
        let recorded = append(vec![receipt("a"), receipt("b")]);
        let text = fs::read_to_string(&path).unwrap();
        for (line, recorded) in text.lines().zip(&recorded) {
            assert_eq!(recorded.hash, HEXLOWER.encode(&digest.sha256(&[line.as_bytes()])));
        }
        let whole = fs::read(&path).unwrap();
        for torn in 1..whole.len() / 2 {
            fs::write(&path, [&whole[..], &whole[..torn]].concat()).unwrap();
            append(vec![receipt("c")]);
            assert_eq!(numbers(&path), [1, 2, 3], "torn after {torn}");
        }
    }

    #[test]
    fn a_disk_that_is_full_is_an_error_and_leaves_no_half_line() {
        let full = Path::new("/dev/full");
        let Ok(file) = OpenOptions::new().append(true).open(full) else { return };
        let inner = Inner { file, len: 0, next: 1, broken: false };
        let sink = AuditFile(Mutex::new(inner), Digest::new().unwrap());
        assert!(sink.append(vec![receipt("a")]).is_err());
        // A device cannot be cut: nothing is written behind what may be half a line.
        assert!(sink.append(vec![receipt("b")]).unwrap_err().to_string().contains("earlier"));
    }

    #[test]
    fn a_path_has_one_hash_and_each_key_another() {
        let digest = Digest::new().unwrap();
        let [one, two] = [1, 2].map(|byte| MacKey::new(&[byte; 32]));
        let hash = path_hash(digest, &one, "secret/data/app");
        assert_eq!(hash, path_hash(digest, &one, "/secret/app"));
        assert_ne!(hash, path_hash(digest, &two, "secret/app"));
        assert_ne!(hash, path_hash(digest, &one, "secret/apps"));
        assert!(!hash.contains("secret"));
    }

    #[test]
    fn the_key_is_made_once_and_for_its_owner() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.key");
        let first = path_key(&path).unwrap().expose();
        assert_eq!(path_key(&path).unwrap().expose(), first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
