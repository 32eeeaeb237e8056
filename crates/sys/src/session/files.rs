//! Secret files that are on no file system: who opens one of their paths gets a descriptor from here.
//!
//! The filter of the tree makes every call that names a file wait. Its path is read; where it names
//! none of our files the kernel carries the call out, which costs the caller a few microseconds.
//! Where it does, the call is answered here: `open` with a descriptor of a sealed memfd, `stat` and
//! its like with what that descriptor would say.
//!
//! What this is not: secret memory. A file can only be read from ordinary pages; they hold the value
//! while a process has the file open, and root can read them then (`shown`).
//!
//! Invariants: nothing here waits for the task; a call that the kernel carries out after all is one
//! that it may carry out, for nothing is guarded here; only a process of the tree is ever answered.

mod call;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod lookup;
mod path;
mod shown;

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use zeroize::Zeroizing;

pub(super) use self::call::FileCall;
use self::call::Wish;
use self::path::{Folder, Meaning};
use self::shown::{Shown, State};
use super::arch::{self, STAT_LEN, STATX_LEN};
use super::listener::{Listener, Notification};
use super::remote;

/// Longest value of a file. A file of one value is a key, a certificate, a small document.
const LONGEST_VALUE: usize = 1 << 20;

/// The kernel's limit on a path (`PATH_MAX`), the terminating zero included.
const LONGEST_PATH: usize = 4096;

/// What `openat2` may be told, in the order of the kernel's structure.
const HOW_LEN: usize = 24;

/// Why a secret cannot be a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The folder is no absolute path without detours.
    #[error("the folder of secret files is not an absolute path without detours")]
    Folder,
    /// The name is empty, `.`, `..`, or holds a slash or a zero byte.
    #[error("not a name that a file can have")]
    Name,
    /// The value is too long.
    #[error("the value has {len} bytes, a secret file may have {}", LONGEST_VALUE)]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// No such file.
    #[error("no such file")]
    Unknown,
}

/// Names one file of a [`FileTable`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FileId(usize);

/// The secret files of a launch, by name.
///
/// The values are copied into the heap of this process, which the caller is expected to have made
/// of sealed memory.
#[derive(Default)]
pub struct FileTable {
    folder: Option<Folder>,
    entries: Vec<Entry>,
}

struct Entry {
    name: Vec<u8>,
    value: Zeroizing<Vec<u8>>,
    shown: Option<Shown>,
}

impl FileTable {
    /// An empty table; its files will appear in this folder, which need not exist.
    ///
    /// # Errors
    /// [`FileError::Folder`] where it is no absolute path without `.`, `..` and empty components.
    pub fn new(folder: &[u8]) -> Result<Self, FileError> {
        let folder = Folder::parse(folder).ok_or(FileError::Folder)?;
        Ok(Self { folder: Some(folder), entries: Vec::new() })
    }

    /// Adds a file; a second one of the same name takes its place.
    ///
    /// # Errors
    /// [`FileError`] for a name or a value that no file can have.
    pub fn add(&mut self, name: &[u8], value: &[u8]) -> Result<FileId, FileError> {
        if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0) {
            return Err(FileError::Name);
        }
        check_value(value)?;
        let value = Zeroizing::new(value.to_vec());
        let entry = Entry { name: name.to_vec(), value, shown: None };
        let known = self.entries.iter().position(|entry| entry.name == name);
        match known.and_then(|index| self.entries.get_mut(index)) {
            Some(place) => *place = entry,
            None => self.entries.push(entry),
        }
        Ok(FileId(known.unwrap_or(self.entries.len() - 1)))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl fmt::Debug for FileTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileTable").field("len", &self.entries.len()).finish_non_exhaustive()
    }
}

fn check_value(value: &[u8]) -> Result<(), FileError> {
    if value.len() > LONGEST_VALUE { Err(FileError::TooLong { len: value.len() }) } else { Ok(()) }
}

/// What became of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    /// The kernel carries it out.
    Elsewhere,
    /// It was answered here.
    Given,
    /// The kernel carries it out, since the task's memory could not be read.
    Unreadable(Errno),
}

/// The files of a session, and the openings that are still about.
#[derive(Debug, Default)]
pub(super) struct Files {
    table: FileTable,
    /// Files whose value has been replaced, while someone has them open.
    retired: Vec<Shown>,
    path: Vec<u8>,
}

impl Files {
    pub(super) fn new(table: FileTable) -> Self {
        Self { table, retired: Vec::new(), path: Vec::with_capacity(LONGEST_PATH) }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Gives a file a new value, for whoever opens it from now on.
    pub(super) fn replace(&mut self, file: FileId, value: &[u8]) -> Result<(), FileError> {
        check_value(value)?;
        let entry = self.table.entries.get_mut(file.0).ok_or(FileError::Unknown)?;
        entry.value = Zeroizing::new(value.to_vec());
        self.retired.extend(entry.shown.take());
        Ok(())
    }

    /// Drops what nobody has open any more; says when to come again.
    pub(super) fn tidy(&mut self, now: Instant) -> Option<Instant> {
        let mut next = None;
        let mut look = |shown: &mut Shown| {
            let state = shown.look(now);
            if let State::Open { look } = state {
                next = Some(next.map_or(look, |next: Instant| next.min(look)));
            }
            state
        };
        for entry in &mut self.table.entries {
            drop(entry.shown.take_if(|shown| look(shown) == State::Left));
        }
        self.retired.retain_mut(|shown| matches!(look(shown), State::Open { .. }));
        next
    }

    /// Answers a call, or has the kernel carry it out.
    pub(super) fn answer(
        &mut self,
        listener: &Listener,
        request: &Notification,
        call: FileCall,
    ) -> Answer {
        let outcome = self.entry(request.tid, call);
        let answered = match outcome {
            Ok(Some(entry)) => carry_out(listener, request, call.wish, entry),
            Ok(None) => Ok(false),
            Err(errno) => {
                let _ = listener.go_on(request.id);
                return Answer::Unreadable(errno);
            }
        };
        // A failure to answer means that the task waits no more.
        match answered {
            Ok(true) => Answer::Given,
            Ok(false) => {
                let _ = listener.go_on(request.id);
                Answer::Elsewhere
            }
            Err(errno) => {
                let _ = listener.refuse(request.id, errno);
                Answer::Given
            }
        }
    }

    /// The file that a call is about.
    fn entry(&mut self, tid: i32, call: FileCall) -> Result<Option<&mut Entry>, Errno> {
        match remote::read_text(tid, call.path, LONGEST_PATH, &mut self.path) {
            Ok(true) => {}
            // The kernel will find the path at fault, too.
            Ok(false) | Err(Errno::EFAULT | Errno::ESRCH) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        let FileTable { folder: Some(folder), entries } = &mut self.table else {
            return Ok(None);
        };
        let is_known = |name: &[u8]| entries.iter().any(|entry| entry.name == name);
        let name = match folder.meaning(&self.path, is_known) {
            Meaning::Here(name) => name,
            Meaning::If(name, directory)
                if lookup::is_meant(tid, call.start, directory, folder) =>
            {
                name
            }
            Meaning::If(..) | Meaning::Elsewhere => return Ok(None),
        };
        Ok(entries.iter_mut().find(|entry| entry.name == name))
    }
}

/// Does what the call asks; `false` where the kernel shall.
fn carry_out(
    listener: &Listener,
    request: &Notification,
    wish: Wish,
    entry: &mut Entry,
) -> Result<bool, Errno> {
    let shown = match &mut entry.shown {
        Some(shown) => shown,
        none => none.insert(Shown::create(entry.value.len())?),
    };
    let flags = match wish {
        Wish::Open { flags } => arch::int(flags),
        Wish::OpenHow { how, size } => match open_how(request.tid, how, size) {
            Some(flags) => flags,
            None => return Ok(false),
        },
        Wish::Access { mode } => {
            let denied = arch::int(mode) & (libc::W_OK | libc::X_OK) != 0;
            return if denied { Err(Errno::EACCES) } else { done(listener, request) };
        }
        Wish::ReadLink => return Err(Errno::EINVAL),
        Wish::Stat { answer } => {
            let facts = arch::stat(shown.reader().as_raw_fd())?;
            return reply::<STAT_LEN>(listener, request, answer, &facts);
        }
        Wish::Statx { mask, answer } => {
            let facts = arch::statx(shown.reader().as_raw_fd(), mask)?;
            return reply::<STATX_LEN>(listener, request, answer, &facts);
        }
    };
    check_flags(flags)?;
    let file = shown.open(&entry.value, Instant::now())?;
    hand_over(listener, request, file, flags)
}

/// What `open` says to a regular file of mode 0400 that cannot be written.
fn check_flags(flags: i32) -> Result<(), Errno> {
    let has = |flag| flags & flag == flag;
    if has(libc::O_PATH) {
        // Served with a descriptor that reads as well: what is opened again through
        // `/proc/self/fd` must not be found empty.
        return if has(libc::O_DIRECTORY) { Err(Errno::ENOTDIR) } else { Ok(()) };
    }
    if has(libc::O_CREAT | libc::O_EXCL) {
        return Err(Errno::EEXIST);
    }
    if has(libc::O_DIRECTORY) {
        return Err(Errno::ENOTDIR);
    }
    if flags & libc::O_ACCMODE != libc::O_RDONLY || has(libc::O_TRUNC) {
        return Err(Errno::EACCES);
    }
    Ok(())
}

/// The flags of `openat2`, unless its rules on resolution need the kernel to say no.
fn open_how(tid: i32, how: u64, size: u64) -> Option<i32> {
    let mut bytes = [0; HOW_LEN];
    if size < HOW_LEN as u64 || !remote::read_exactly(tid, how, &mut bytes) {
        return None;
    }
    let word =
        |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk).copied().map(u64::from_ne_bytes);
    let resolve = word(16)?;
    let confined = libc::RESOLVE_BENEATH | libc::RESOLVE_IN_ROOT;
    if resolve & confined != 0 { None } else { word(0).map(arch::int) }
}

fn hand_over(
    listener: &Listener,
    request: &Notification,
    file: OwnedFd,
    flags: i32,
) -> Result<bool, Errno> {
    match listener.answer_with(request.id, file.as_fd(), flags & libc::O_CLOEXEC) {
        // The task is gone; its opening is closed here.
        Ok(()) | Err(Errno::ENOENT) => Ok(true),
        Err(errno) => Err(errno),
    }
}

fn done(listener: &Listener, request: &Notification) -> Result<bool, Errno> {
    // A failure means that the task waits no more.
    let _ = listener.finish(request.id);
    Ok(true)
}

/// Writes an answer into the task's memory.
fn reply<const LEN: usize>(
    listener: &Listener,
    request: &Notification,
    address: u64,
    answer: &[u8; LEN],
) -> Result<bool, Errno> {
    // SECURITY: the memory is opened first, then the wait is proved to last: a number that was
    // reused in between names another memory, which is not written to.
    let memory = remote::open_memory(request.tid).or(Err(Errno::EFAULT))?;
    if !listener.still_waits(request.id) {
        return Ok(true);
    }
    remote::write_to(&memory, address, answer).or(Err(Errno::EFAULT))?;
    done(listener, request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_file_is_refused() {
        assert_eq!(FileTable::new(b"run").err(), Some(FileError::Folder));
        let mut table = FileTable::new(b"/run/cloudtaser").unwrap();
        for name in ["", ".", "..", "a/b", "a\0b"] {
            assert_eq!(table.add(name.as_bytes(), b"v"), Err(FileError::Name), "{name:?}");
        }
        let long = vec![0; LONGEST_VALUE + 1];
        assert_eq!(table.add(b"a", &long), Err(FileError::TooLong { len: LONGEST_VALUE + 1 }));
        assert!(table.is_empty());
        assert_eq!(table.add(b"a", &long[1..]), Ok(FileId(0)));
        assert_eq!(table.add(b"b", b"v"), Ok(FileId(1)));
        assert_eq!(table.add(b"a", b"w"), Ok(FileId(0)));
        assert_eq!(table.entries.len(), 2);
    }

    #[test]
    fn only_reading_is_allowed() {
        for (flags, verdict) in [
            (libc::O_RDONLY, Ok(())),
            (libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK, Ok(())),
            (libc::O_RDONLY | libc::O_CREAT, Ok(())),
            (libc::O_PATH, Ok(())),
            (libc::O_WRONLY, Err(Errno::EACCES)),
            (libc::O_RDWR, Err(Errno::EACCES)),
            (libc::O_RDONLY | libc::O_TRUNC, Err(Errno::EACCES)),
            (libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL, Err(Errno::EEXIST)),
            (libc::O_RDONLY | libc::O_DIRECTORY, Err(Errno::ENOTDIR)),
            (libc::O_PATH | libc::O_DIRECTORY, Err(Errno::ENOTDIR)),
            (libc::O_RDWR | libc::O_TMPFILE, Err(Errno::ENOTDIR)),
        ] {
            assert_eq!(check_flags(flags), verdict, "{flags:o}");
        }
    }

    #[test]
    fn a_replaced_file_is_dropped_when_its_last_reader_is_gone() {
        let mut table = FileTable::new(b"/run/cloudtaser").unwrap();
        let id = table.add(b"a", b"old").unwrap();
        let mut files = Files::new(table);
        let now = Instant::now();
        let entry = &mut files.table.entries[0];
        let mut shown = Shown::create(3).unwrap();
        let file = shown.open(&entry.value, now).unwrap();
        entry.shown = Some(shown);
        files.replace(id, b"newer").unwrap();
        assert!(files.table.entries[0].shown.is_none());
        let hour = std::time::Duration::from_secs(3600);
        assert!(files.tidy(now + hour).is_some());
        let mut copy = [0; 3];
        assert_eq!(nix::sys::uio::pread(&file, &mut copy, 0), Ok(3));
        assert_eq!(&copy, b"old");
        drop(file);
        assert_eq!(files.tidy(now + hour * 2), None);
        assert!(files.retired.is_empty());
        assert_eq!(files.replace(FileId(7), b"x"), Err(FileError::Unknown));
    }
}
