//! Reading and writing another task's ordinary memory, many places at a time.
//!
//! [`Reader`] keeps whole pages: a caller says which addresses it will want, fetches them in one
//! or two system calls, then reads. A page that cannot be read (not mapped, or secret memory,
//! which the kernel reads for nobody) is remembered as such and is not an error.
//!
//! Two roads lead there. The calls for it are refused by the profile that containerd gives a pod
//! that asks for `RuntimeDefault`, which lets `ptrace` through; `/proc/TID/mem` is then the other,
//! behind the same check of the kernel's. Whether it is needed shows at the first refusal.
//!
//! Invariant: the number of pages is bounded, and what was read is overwritten by the next task.
//! Pages may hold secrets of the app, so they live in this process's own heap, nowhere else.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;

/// The unit in which x86-64 maps memory.
pub(super) const PAGE: u64 = 4096;
/// The same, as a length.
pub(super) const PAGE_LEN: usize = 4096;

/// The kernel takes an environment of a quarter of the stack limit, 2 MiB by default.
const MOST_PAGES: usize = 640;
/// Room for the first fetch. Each page of the sealed heap costs 20 us when it is first written.
const FIRST_PAGES: usize = 4;
/// What stays allocated between two tasks: an ordinary environment takes three to ten pages.
const KEPT_PAGES: usize = 32;
/// Pieces handed to one system call.
const BATCH: usize = 64;
/// What is read at once of a string that is expected to be short, such as a path.
const SHORT_PIECE: usize = 256;
/// The kernel's own limit on one environment string (`MAX_ARG_STRLEN`).
const LONGEST_STRING: usize = 128 << 10;

/// Whether the file has worked where the calls were refused: from then on they are not tried.
static BY_FILE: AtomicBool = AtomicBool::new(false);

/// Why memory could not be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RemoteError {
    /// More than the kernel itself would take for a new program.
    TooLarge,
    /// The kernel refused, for all of the task's memory.
    Refused(Errno),
}

/// What is known of one address.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Peek<'a> {
    /// The bytes from there to the end of the page.
    Bytes(&'a [u8]),
    /// The page was wanted after the last fetch.
    NotFetched,
    /// The page cannot be read.
    Unreadable,
}

/// What became of one string.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Text {
    /// It is in the buffer, without its terminating zero.
    Complete,
    /// It goes on in a page that is now wanted.
    NotFetched,
    /// Part of it cannot be read, or it is longer than the kernel takes.
    Unreadable,
}

#[derive(Clone, Copy, Debug)]
struct Page {
    address: u64,
    readable: bool,
}

/// Pages of one task.
#[derive(Debug, Default)]
pub(super) struct Reader {
    tid: i32,
    /// In the order of `bytes`.
    pages: Vec<Page>,
    /// Positions in `pages`, sorted by address.
    order: Vec<u32>,
    fetched: usize,
    bytes: Vec<u8>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl Reader {
    /// Forgets the last task and turns to another.
    pub(super) fn turn_to(&mut self, tid: i32) {
        self.wipe();
        self.tid = tid;
        if self.bytes.len() > KEPT_PAGES * PAGE_LEN {
            self.bytes = Vec::new();
        }
    }

    /// Overwrites what was read.
    pub(super) fn wipe(&mut self) {
        let used = self.fetched.saturating_mul(PAGE_LEN).min(self.bytes.len());
        let used = self.bytes.get_mut(..used).unwrap_or_default();
        used.fill(0);
        // Not `zeroize`, which writes byte by byte: this happens at each exec.
        std::hint::black_box(used);
        self.pages.clear();
        self.order.clear();
        self.fetched = 0;
    }

    /// Notes that the page of `address` will be read.
    pub(super) fn want(&mut self, address: u64) -> Result<(), RemoteError> {
        let page = address & !(PAGE - 1);
        let Err(position) = self.find(page) else {
            return Ok(());
        };
        if self.pages.len() >= MOST_PAGES {
            return Err(RemoteError::TooLarge);
        }
        let index = u32::try_from(self.pages.len()).or(Err(RemoteError::TooLarge))?;
        self.pages.push(Page { address: page, readable: false });
        self.order.insert(position, index);
        Ok(())
    }

    /// Reads all pages that were wanted since the last time.
    pub(super) fn fetch(&mut self) -> Result<(), RemoteError> {
        let needed = self.pages.len().saturating_mul(PAGE_LEN);
        if self.bytes.len() < needed {
            // By doubling, so that a growing environment is not copied, and left behind, each time.
            let room = needed.max(FIRST_PAGES * PAGE_LEN).next_power_of_two();
            self.bytes.resize(room, 0);
        }
        while self.fetched < self.pages.len() {
            let read = self.read_batch()?;
            let end = self.fetched.saturating_add(read);
            for page in self.pages.get_mut(self.fetched..end).unwrap_or_default() {
                page.readable = true;
            }
            // A batch ends early at a page that cannot be read: it stays marked so.
            self.fetched = if read == 0 { end.saturating_add(1) } else { end };
        }
        Ok(())
    }

    /// What is known of `address`.
    pub(super) fn peek(&self, address: u64) -> Peek<'_> {
        let page = address & !(PAGE - 1);
        let Some(index) = self.find(page).ok().and_then(|position| self.order.get(position)) else {
            return Peek::NotFetched;
        };
        let index = usize::try_from(*index).unwrap_or(usize::MAX);
        if index >= self.fetched {
            return Peek::NotFetched;
        }
        if !self.pages.get(index).is_some_and(|page| page.readable) {
            return Peek::Unreadable;
        }
        let offset = usize::try_from(address & (PAGE - 1)).unwrap_or(0);
        let start = index.saturating_mul(PAGE_LEN);
        let bytes = self.bytes.get(start.saturating_add(offset)..start.saturating_add(PAGE_LEN));
        bytes.map_or(Peek::Unreadable, Peek::Bytes)
    }

    /// Copies the string at `address` into `text`, asking for further pages where it needs them.
    pub(super) fn text(&mut self, address: u64, text: &mut Vec<u8>) -> Result<Text, RemoteError> {
        text.clear();
        let mut at = address;
        loop {
            match self.peek(at) {
                Peek::Unreadable => return Ok(Text::Unreadable),
                Peek::NotFetched => {
                    self.want(at)?;
                    return Ok(Text::NotFetched);
                }
                Peek::Bytes(bytes) => {
                    let end = bytes.iter().position(|byte| *byte == 0);
                    text.extend_from_slice(bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(&[]));
                    if end.is_some() {
                        return Ok(Text::Complete);
                    }
                    at = at.saturating_add(bytes.len() as u64);
                }
            }
            if text.len() > LONGEST_STRING {
                return Ok(Text::Unreadable);
            }
        }
    }

    /// Copies `target.len()` bytes from `address`, if all are readable.
    pub(super) fn copy(&mut self, address: u64, target: &mut [u8]) -> Result<bool, RemoteError> {
        let mut at = address;
        let mut rest = target;
        while !rest.is_empty() {
            self.want(at)?;
            self.fetch()?;
            let Peek::Bytes(bytes) = self.peek(at) else {
                return Ok(false);
            };
            let count = bytes.len().min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(bytes.get(..count).unwrap_or_default());
            at = at.saturating_add(count as u64);
            rest = later;
        }
        Ok(true)
    }

    fn find(&self, page: u64) -> Result<usize, usize> {
        self.order.binary_search_by(|index| {
            let index = usize::try_from(*index).unwrap_or(usize::MAX);
            self.pages.get(index).map_or(u64::MAX, |known| known.address).cmp(&page)
        })
    }

    /// Reads pages in a row until one cannot be read; says how many it got.
    fn read_batch(&mut self) -> Result<usize, RemoteError> {
        let mut remote = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        let wanted = self.pages.get(self.fetched..).unwrap_or_default();
        let wanted = wanted.get(..BATCH).unwrap_or(wanted);
        let mut count = 0;
        for (piece, page) in remote.iter_mut().zip(wanted) {
            let address = usize::try_from(page.address).or(Err(RemoteError::TooLarge))?;
            piece.iov_base = std::ptr::without_provenance_mut(address);
            piece.iov_len = PAGE_LEN;
            count += 1;
        }
        let start = self.fetched.saturating_mul(PAGE_LEN);
        let end = start.saturating_add(PAGE_LEN.saturating_mul(count));
        let Some(target) = self.bytes.get_mut(start..end) else {
            return Err(RemoteError::TooLarge);
        };
        if BY_FILE.load(Ordering::Relaxed) {
            let read = File::open(memory_of(self.tid)).map_err(|error| errno_of(&error));
            let read = read.map(|memory| pages_of(&memory, wanted, target));
            return read.map_err(RemoteError::Refused);
        }
        let local = libc::iovec { iov_base: target.as_mut_ptr().cast(), iov_len: target.len() };
        let pieces = libc::c_ulong::try_from(count).or(Err(RemoteError::TooLarge))?;
        // SAFETY: `local` covers `target`, which is borrowed until the call returns; `remote` has
        // at least `count` pieces, which name memory of another task that the kernel checks.
        let read = unsafe {
            libc::process_vm_readv(self.tid, &raw const local, 1, remote.as_ptr(), pieces, 0)
        };
        match usize::try_from(read) {
            Ok(read) => Ok(read / PAGE_LEN),
            Err(_) => match Errno::last() {
                Errno::EFAULT => Ok(0),
                refused if may_be_a_filter(refused) => match File::open(memory_of(self.tid)) {
                    Ok(memory) => {
                        BY_FILE.store(true, Ordering::Relaxed);
                        Ok(pages_of(&memory, wanted, target))
                    }
                    Err(_) => Err(RemoteError::Refused(refused)),
                },
                refused => Err(RemoteError::Refused(refused)),
            },
        }
    }
}

/// What a filter answers with; the kernel's own check says the first of them as well.
fn may_be_a_filter(refused: Errno) -> bool {
    matches!(refused, Errno::EPERM | Errno::ENOSYS)
}

fn memory_of(tid: i32) -> String {
    format!("/proc/{tid}/mem")
}

/// As the calls would say it.
fn errno_of(error: &io::Error) -> Errno {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => Errno::ESRCH,
        Some(Errno::EIO) => Errno::EFAULT,
        Some(errno) => errno,
        None => Errno::EFAULT,
    }
}

/// Reads pages in a row until one cannot be read; says how many it got.
fn pages_of(memory: &File, pages: &[Page], target: &mut [u8]) -> usize {
    let whole = |(page, target): &mut (&Page, &mut [u8])| {
        memory.read_exact_at(target, page.address).is_ok()
    };
    pages
        .iter()
        .zip(target.chunks_exact_mut(PAGE_LEN))
        .map_while(|mut p| whole(&mut p).then_some(()))
        .count()
}

/// Overwrites places in a task's memory, all of the same length.
pub(super) fn write_all(tid: i32, places: &[(u64, Vec<u8>)]) -> Result<(), Errno> {
    if BY_FILE.load(Ordering::Relaxed) {
        return write_by_file(tid, places);
    }
    match write_by_call(tid, places) {
        Err(refused) if may_be_a_filter(refused) => {
            write_by_file(tid, places).map_err(|_also| refused)?;
            BY_FILE.store(true, Ordering::Relaxed);
            Ok(())
        }
        done => done,
    }
}

fn write_by_file(tid: i32, places: &[(u64, Vec<u8>)]) -> Result<(), Errno> {
    let memory = open_memory(tid).map_err(|error| errno_of(&error))?;
    places.iter().try_for_each(|(address, bytes)| {
        write_to(&memory, *address, bytes).map_err(|error| errno_of(&error))
    })
}

fn write_by_call(tid: i32, places: &[(u64, Vec<u8>)]) -> Result<(), Errno> {
    for batch in places.chunks(BATCH) {
        let mut local = Vec::with_capacity(batch.len());
        let mut remote = Vec::with_capacity(batch.len());
        let mut total = 0_usize;
        for (address, bytes) in batch {
            let base = usize::try_from(*address).or(Err(Errno::EFAULT))?;
            local.push(IoSlice::new(bytes));
            remote.push(RemoteIoVec { base, len: bytes.len() });
            total = total.saturating_add(bytes.len());
        }
        if process_vm_writev(Pid::from_raw(tid), &local, &remote)? != total {
            return Err(Errno::EFAULT);
        }
    }
    Ok(())
}

/// Reads a string of at most `most` bytes, its terminating zero included, into `text`.
///
/// `false` where it is longer; nothing is kept of it. For callers that want one short string of a
/// task that they may never look at again: a whole page would cost more than the string.
pub(super) fn read_text(
    tid: i32,
    address: u64,
    most: usize,
    text: &mut Vec<u8>,
) -> Result<bool, Errno> {
    text.clear();
    while text.len() < most {
        let at = address.saturating_add(text.len() as u64);
        let to_page_end = PAGE_LEN - usize::try_from(at & (PAGE - 1)).unwrap_or(0);
        let mut piece = [0_u8; SHORT_PIECE];
        let len = to_page_end.min(SHORT_PIECE).min(most - text.len());
        let piece = piece.get_mut(..len).unwrap_or_default();
        let read = read_some(tid, at, piece)?;
        let piece = piece.get(..read).unwrap_or_default();
        let end = piece.iter().position(|byte| *byte == 0);
        text.extend_from_slice(piece.get(..end.unwrap_or(read)).unwrap_or_default());
        if end.is_some() {
            return Ok(true);
        }
        if read == 0 {
            return Err(Errno::EFAULT);
        }
    }
    text.clear();
    Ok(false)
}

/// Fills `target`; `false` where that cannot be read.
pub(super) fn read_exactly(tid: i32, address: u64, target: &mut [u8]) -> bool {
    let len = target.len();
    read_some(tid, address, target) == Ok(len)
}

fn read_some(tid: i32, address: u64, target: &mut [u8]) -> Result<usize, Errno> {
    if BY_FILE.load(Ordering::Relaxed) {
        return read_by_file(tid, address, target);
    }
    let len = target.len();
    let base = usize::try_from(address).or(Err(Errno::EFAULT))?;
    let remote = [RemoteIoVec { base, len }];
    match process_vm_readv(Pid::from_raw(tid), &mut [IoSliceMut::new(target)], &remote) {
        Err(refused) if may_be_a_filter(refused) => {
            let read = read_by_file(tid, address, target).map_err(|_also| refused)?;
            BY_FILE.store(true, Ordering::Relaxed);
            Ok(read)
        }
        done => done,
    }
}

fn read_by_file(tid: i32, address: u64, target: &mut [u8]) -> Result<usize, Errno> {
    let memory = File::open(memory_of(tid)).map_err(|error| errno_of(&error))?;
    memory.read_at(target, address).map_err(|error| errno_of(&error))
}

/// Opens a task's memory, so that a later write reaches this task or none.
pub(super) fn open_memory(tid: i32) -> io::Result<File> {
    File::options().write(true).open(memory_of(tid))
}

/// Writes into a task's memory.
pub(super) fn write_to(memory: &File, address: u64, bytes: &[u8]) -> io::Result<()> {
    memory.write_all_at(bytes, address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_pid() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn a_string_across_pages_is_read_whole() {
        let mut block = vec![0_u8; 4 * PAGE_LEN];
        let base = block.as_ptr() as u64;
        let skip = usize::try_from(base.next_multiple_of(PAGE) - base).unwrap() + PAGE_LEN - 5;
        block[skip..skip + PAGE_LEN].fill(b'x');
        let mut reader = Reader::default();
        reader.turn_to(own_pid());
        let mut text = Vec::new();
        let address = base + skip as u64;
        for _ in 0..3 {
            match reader.text(address, &mut text).unwrap() {
                Text::Complete => break,
                Text::NotFetched => reader.fetch().unwrap(),
                Text::Unreadable => panic!("own memory is readable"),
            }
        }
        assert_eq!(text, vec![b'x'; PAGE_LEN]);
    }

    #[test]
    fn a_hole_does_not_hide_what_lies_around_it() {
        let block = vec![7_u8; 3 * PAGE_LEN];
        let good = (block.as_ptr() as u64).next_multiple_of(PAGE);
        let mut reader = Reader::default();
        reader.turn_to(own_pid());
        for address in [good, 0x10, good + PAGE, 0x2000] {
            reader.want(address).unwrap();
        }
        reader.fetch().unwrap();
        assert_eq!(reader.peek(0x10), Peek::Unreadable);
        assert_eq!(reader.peek(0x2000), Peek::Unreadable);
        assert!(matches!(reader.peek(good + 1), Peek::Bytes(bytes) if bytes.len() == PAGE_LEN - 1));
        assert!(matches!(reader.peek(good + PAGE), Peek::Bytes(bytes) if bytes[0] == 7));
        assert_eq!(reader.peek(good + 7 * PAGE), Peek::NotFetched);
    }

    #[test]
    fn a_short_string_is_read_across_pages_and_no_further_than_asked() {
        let mut block = vec![b'x'; 3 * PAGE_LEN];
        let base = block.as_ptr() as u64;
        let skip = usize::try_from(base.next_multiple_of(PAGE) - base).unwrap() + PAGE_LEN - 3;
        block[skip + 700] = 0;
        let mut text = Vec::new();
        let address = base + skip as u64;
        assert_eq!(read_text(own_pid(), address, 4096, &mut text), Ok(true));
        assert_eq!(text, vec![b'x'; 700]);
        assert_eq!(read_text(own_pid(), address, 701, &mut text), Ok(true));
        assert_eq!(read_text(own_pid(), address, 700, &mut text), Ok(false));
        assert!(text.is_empty());
        assert_eq!(read_text(own_pid(), 0x10, 700, &mut text), Err(Errno::EFAULT));
        assert_eq!(read_text(i32::MAX, address, 700, &mut text), Err(Errno::ESRCH));
        let mut word = [0; 4];
        assert!(read_exactly(own_pid(), address, &mut word) && word == *b"xxxx");
        assert!(!read_exactly(own_pid(), 0x10, &mut word));
    }

    /// The road that is left under a filter gives the same bytes, holes and refusals.
    #[test]
    fn the_file_reads_and_writes_what_the_calls_do() {
        let mut block = vec![7_u8; 4 * PAGE_LEN];
        let first = (block.as_ptr() as u64).next_multiple_of(PAGE);
        let page = |address| Page { address, readable: false };
        let memory = File::open(memory_of(own_pid())).unwrap();
        let mut target = vec![0_u8; 3 * PAGE_LEN];
        let pages = [page(first), page(first + PAGE), page(0x2000)];
        assert_eq!(pages_of(&memory, &pages, &mut target), 2);
        assert!(target[..2 * PAGE_LEN].iter().all(|byte| *byte == 7));
        assert_eq!(pages_of(&memory, &pages[2..], &mut target), 0);
        write_by_file(own_pid(), &[(first + 5, b"abc".to_vec()), (first + 9, b"d".to_vec())])
            .unwrap();
        let at = usize::try_from(first - block.as_ptr() as u64).unwrap();
        assert_eq!(&std::hint::black_box(&mut block)[at + 4..at + 11], b"\x07abc\x07d\x07");
        let mut word = [0; 3];
        assert_eq!(read_by_file(own_pid(), first + 5, &mut word), Ok(3));
        assert_eq!((&word, read_some(own_pid(), first + 5, &mut [0; 3])), (b"abc", Ok(3)));
        assert_eq!(read_by_file(own_pid(), 0x10, &mut word), Err(Errno::EFAULT));
        assert_eq!(read_by_file(i32::MAX, first, &mut word), Err(Errno::ESRCH));
        assert_eq!(write_by_file(i32::MAX, &[(first, vec![1])]), Err(Errno::ESRCH));
    }

    #[test]
    fn a_task_that_is_gone_is_refused() {
        let mut reader = Reader::default();
        reader.turn_to(i32::MAX);
        reader.want(4096).unwrap();
        assert_eq!(reader.fetch(), Err(RemoteError::Refused(Errno::ESRCH)));
    }

    #[test]
    fn room_grows_with_what_is_wanted_and_what_was_read_survives_it() {
        let block = (0..10_u8).flat_map(|page| [page; PAGE_LEN]).collect::<Vec<_>>();
        let first = (block.as_ptr() as u64).next_multiple_of(PAGE);
        let mut reader = Reader::default();
        reader.turn_to(own_pid());
        let mut rooms = Vec::new();
        for page in 0..9 {
            reader.want(first + page * PAGE).unwrap();
            reader.fetch().unwrap();
            rooms.push(reader.bytes.len() / PAGE_LEN);
        }
        assert_eq!(rooms, [4, 4, 4, 4, 8, 8, 8, 8, 16]);
        for page in 0..9 {
            let at = usize::try_from(first + page * PAGE - block.as_ptr() as u64).unwrap();
            let Peek::Bytes(bytes) = reader.peek(first + page * PAGE) else { panic!("fetched") };
            assert_eq!(bytes, &block[at..at + PAGE_LEN]);
        }
    }

    #[test]
    fn no_caller_makes_the_reader_grow_without_end() {
        let mut reader = Reader::default();
        let outcome = (0..10_000).try_for_each(|page| reader.want(page * PAGE));
        assert_eq!(outcome, Err(RemoteError::TooLarge));
    }
}
