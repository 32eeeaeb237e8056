//! One secret file as the app sees it: an inode that stays while it is of use, and bytes that are
//! there while someone has it open.
//!
//! `stat` and `open` must agree on device and inode, or programs such as `cp` believe that the file
//! was replaced between the two. So the file is made at the first question about it, empty of
//! content but of the right length; the value is written when it is first opened, and the whole is
//! dropped when the last one that had it open, or mapped, has let go. A lease that the kernel
//! grants only while nobody else has the file open is what tells.
//!
//! The pages are not overwritten at the end: `sendfile` and `splice` put the very pages into a pipe
//! that may be read long after the file was closed. What is freed lies in free memory until it is
//! used again (`init_on_free=1` makes the kernel clear it).

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};
use nix::sys::uio::pwrite;
use zeroize::Zeroizing;

/// The name under which `/proc/PID/maps` and `/proc/PID/fd` show it.
const NAME: &CStr = c"cloudtaser-file";

/// Which signal tells of a broken lease (`fcntl(2)`).
const F_SETSIG: i32 = 10;

/// First look after an opening: a program that reads a key has closed it by then.
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// Longest time between two looks at a file that a program keeps open.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// A secret file.
#[derive(Debug)]
pub(super) struct Shown {
    file: OwnedFd,
    /// Opened for reading, as the app's are: the kernel counts only such openings.
    reader: OwnedFd,
    look: Option<Look>,
}

/// When to look again whether somebody has it open.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    pause: Duration,
}

/// What has become of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// Asked about, never opened.
    Empty,
    /// Somebody has it open, or had a moment ago.
    Open {
        /// When to look again.
        look: Instant,
    },
    /// Nobody has it open any more.
    Left,
}

impl Shown {
    /// Makes a file of this length without content.
    pub(super) fn create(len: usize) -> Result<Self, Errno> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = memfd_create(NAME, flags)?;
        fchmod(&file, Mode::S_IRUSR)?;
        nix::unistd::ftruncate(&file, libc::off_t::try_from(len).or(Err(Errno::EFBIG))?)?;
        let reader = reopened(&file)?;
        // Root that opens it while the lease is asked for has this signal sent to us; the usual one
        // would be passed on to the app, and end it.
        // SAFETY: this command takes an integer by value.
        unsafe { libc::fcntl(reader.as_raw_fd(), F_SETSIG, libc::SIGURG) };
        Ok(Self { file, reader, look: None })
    }

    /// An opening of its own, the value being there.
    pub(super) fn open(
        &mut self,
        value: &Zeroizing<Vec<u8>>,
        now: Instant,
    ) -> Result<OwnedFd, Errno> {
        if self.look.is_none() {
            self.fill(value)?;
        }
        self.look = Some(Look { at: now + FIRST_LOOK, pause: FIRST_LOOK });
        reopened(&self.reader)
    }

    /// What `stat` is answered from.
    pub(super) const fn reader(&self) -> &OwnedFd {
        &self.reader
    }

    /// Looks whether somebody has it open, if that is due.
    pub(super) fn look(&mut self, now: Instant) -> State {
        let Some(Look { at, pause }) = self.look else { return State::Empty };
        if at > now {
            return State::Open { look: at };
        }
        if !self.is_open_elsewhere() {
            return State::Left;
        }
        let pause = (pause * 2).min(LAST_LOOK);
        let at = now + pause;
        self.look = Some(Look { at, pause });
        State::Open { look: at }
    }

    fn fill(&self, value: &[u8]) -> Result<(), Errno> {
        let mut written = 0;
        while let Some(rest) = value.get(written..).filter(|rest| !rest.is_empty()) {
            let offset = libc::off_t::try_from(written).or(Err(Errno::EFBIG))?;
            written += pwrite(&self.file, rest, offset)?;
        }
        // SECURITY: its owner could open it for writing and change what others of the tree read.
        let seals = SealFlag::F_SEAL_SHRINK
            | SealFlag::F_SEAL_GROW
            | SealFlag::F_SEAL_WRITE
            | SealFlag::F_SEAL_SEAL;
        fcntl(&self.file, FcntlArg::F_ADD_SEALS(seals)).map(drop)
    }

    /// Whether the kernel refuses a lease, which it grants to the only one that has a file open.
    ///
    /// KERNEL: so since 5.3; before, it also counted names of the file.
    fn is_open_elsewhere(&self) -> bool {
        // SAFETY: these commands take integers by value.
        let lease =
            |kind: i32| unsafe { libc::fcntl(self.reader.as_raw_fd(), libc::F_SETLEASE, kind) };
        let is_alone = lease(libc::F_WRLCK) == 0;
        if is_alone {
            lease(libc::F_UNLCK);
        }
        !is_alone
    }
}

/// Opens a file again for reading, so that the new descriptor has a position of its own.
fn reopened(file: &impl AsFd) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::uio::pread;

    fn value() -> Zeroizing<Vec<u8>> {
        Zeroizing::new(b"the-value".to_vec())
    }

    fn bytes(file: &impl AsFd) -> Vec<u8> {
        let mut copy = vec![9; 32];
        let read = pread(file.as_fd(), &mut copy, 0).unwrap();
        copy.truncate(read);
        copy
    }

    #[test]
    fn the_value_is_there_from_the_first_opening_to_the_last_close() {
        let mut shown = Shown::create(9).unwrap();
        assert_eq!(bytes(&shown.reader), [0; 9]);
        let start = Instant::now();
        assert_eq!(shown.look(start), State::Empty);
        let first = shown.open(&value(), start).unwrap();
        let second = shown.open(&value(), start).unwrap();
        assert_eq!(bytes(&first), b"the-value");
        let later = start + LAST_LOOK;
        assert!(matches!(shown.look(later), State::Open { .. }));
        drop(first);
        assert!(matches!(shown.look(later + LAST_LOOK), State::Open { .. }));
        assert_eq!(bytes(&second), b"the-value");
        drop(second);
        assert_eq!(shown.look(later + LAST_LOOK * 2), State::Left);
    }

    #[test]
    fn looks_grow_rarer_and_never_stop_while_it_is_open() {
        let mut shown = Shown::create(9).unwrap();
        let mut now = Instant::now();
        let _open = shown.open(&value(), now).unwrap();
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            let State::Open { look } = shown.look(now) else { panic!("it is open") };
            let pause = look - now;
            assert!(pause >= last.min(LAST_LOOK) && pause <= LAST_LOOK, "{pause:?} after {last:?}");
            (now, last) = (look, if pause > FIRST_LOOK { pause } else { last });
        }
        assert_eq!(last, LAST_LOOK);
    }

    #[test]
    fn a_mapping_counts_as_open() {
        let mut shown = Shown::create(9).unwrap();
        let now = Instant::now();
        let file = shown.open(&value(), now).unwrap();
        let len = std::num::NonZeroUsize::new(9).unwrap();
        let protection = nix::sys::mman::ProtFlags::PROT_READ;
        let flags = nix::sys::mman::MapFlags::MAP_SHARED;
        // SAFETY: asks for a new mapping at an address of the kernel's choice.
        let view = unsafe { nix::sys::mman::mmap(None, len, protection, flags, &file, 0) }.unwrap();
        drop(file);
        assert!(matches!(shown.look(now + LAST_LOOK), State::Open { .. }));
        // SAFETY: the mapping that was just made, which nothing refers to.
        unsafe { nix::sys::mman::munmap(view, 9) }.unwrap();
        assert_eq!(shown.look(now + LAST_LOOK * 3), State::Left);
    }

    #[test]
    fn the_owner_that_makes_it_writable_cannot_write() {
        let mut shown = Shown::create(9).unwrap();
        let file = shown.open(&value(), Instant::now()).unwrap();
        fchmod(&file, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let writer = open(path.as_str(), OFlag::O_RDWR, Mode::empty()).unwrap();
        assert_eq!(nix::unistd::write(&writer, b"x"), Err(Errno::EPERM));
        assert_eq!(nix::unistd::ftruncate(&writer, 1), Err(Errno::EPERM));
    }

    #[test]
    fn what_was_spliced_into_a_pipe_outlives_the_file() {
        let mut shown = Shown::create(9).unwrap();
        let now = Instant::now();
        let file = shown.open(&value(), now).unwrap();
        let (out, into) = nix::unistd::pipe().unwrap();
        let (to, from) = (into.as_raw_fd(), file.as_raw_fd());
        // SAFETY: two live descriptors by value, and no position to be filled in.
        let sent = unsafe { libc::sendfile(to, from, std::ptr::null_mut(), 9) };
        assert_eq!(sent, 9);
        drop(file);
        assert_eq!(shown.look(now + LAST_LOOK), State::Left);
        drop(shown);
        let mut copy = [0; 9];
        assert_eq!(nix::unistd::read(&out, &mut copy), Ok(9));
        assert_eq!(&copy, b"the-value");
    }
}
