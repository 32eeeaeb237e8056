//! One secret file as the app sees it: an inode that stays, and bytes that are there while someone
//! has it open.
//!
//! `stat` and `open` must agree on device and inode, or programs such as `cp` believe that the file
//! was replaced between the two. So the file is made once, empty of content but of the right
//! length; a value is written into it when it is first opened and overwritten when the last one
//! that had it open, or mapped, has let go. A lease that the kernel grants only while nobody else
//! has the file open is what tells.
//!
//! Invariant: while nobody has it open, its pages are zero, or will be at the next look.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use zeroize::Zeroizing;

use super::super::published::Published;

/// The name under which `/proc/PID/maps` and `/proc/PID/fd` show it.
const NAME: &CStr = c"cloudtaser-file";

/// First look after an opening: a program that reads a key has closed it by then.
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// Longest time between two looks at a file that a program keeps open.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// A secret file.
#[derive(Debug)]
pub(super) struct Shown {
    content: Published,
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

impl Shown {
    /// Makes a file of this length, its pages taken and zero.
    pub(super) fn create(len: usize) -> Result<Self, Errno> {
        let content = Published::create(NAME, len)?;
        content.populate()?;
        let reader = reopened(&content, OFlag::O_RDONLY)?;
        Ok(Self { content, reader, look: None })
    }

    /// An opening of its own, the value being there.
    pub(super) fn open(
        &mut self,
        value: &Zeroizing<Vec<u8>>,
        now: Instant,
    ) -> Result<OwnedFd, Errno> {
        if self.look.is_none() && !self.content.write(0, value) {
            return Err(Errno::EIO);
        }
        self.look = Some(Look { at: now + FIRST_LOOK, pause: FIRST_LOOK });
        reopened(&self.reader, OFlag::O_RDONLY)
    }

    /// What `stat` is answered from.
    pub(super) const fn reader(&self) -> &OwnedFd {
        &self.reader
    }

    /// Overwrites the value if nobody has it open any more; says when to look again.
    pub(super) fn tidy(&mut self, now: Instant) -> Option<Instant> {
        let look = self.look?;
        if look.at > now {
            return Some(look.at);
        }
        if self.is_open_elsewhere() {
            let pause = (look.pause * 2).min(LAST_LOOK);
            let at = now + pause;
            self.look = Some(Look { at, pause });
            return Some(at);
        }
        self.content.wipe();
        self.look = None;
        None
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

impl Drop for Shown {
    fn drop(&mut self) {
        if self.look.is_some() && !self.is_open_elsewhere() {
            self.content.wipe();
        }
    }
}

/// Opens a file again, so that the new descriptor has a position of its own.
fn reopened(file: &impl AsFd, how: OFlag) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    open(path.as_str(), how | OFlag::O_CLOEXEC, Mode::empty())
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
    fn the_value_is_there_while_someone_has_it_open() {
        let mut shown = Shown::create(9).unwrap();
        assert_eq!(bytes(&shown.reader), [0; 9]);
        let start = Instant::now();
        let first = shown.open(&value(), start).unwrap();
        let second = shown.open(&value(), start).unwrap();
        assert_eq!(bytes(&first), b"the-value");
        let later = start + LAST_LOOK;
        assert!(shown.tidy(later).is_some());
        drop(first);
        assert!(shown.tidy(later + LAST_LOOK).is_some());
        assert_eq!(bytes(&second), b"the-value");
        drop(second);
        assert_eq!(shown.tidy(later + LAST_LOOK * 2), None);
        assert_eq!(bytes(&shown.reader), [0; 9]);
        let again = shown.open(&value(), start).unwrap();
        assert_eq!(bytes(&again), b"the-value");
    }

    #[test]
    fn looks_grow_rarer_and_never_stop_while_it_is_open() {
        let mut shown = Shown::create(9).unwrap();
        let mut now = Instant::now();
        let _open = shown.open(&value(), now).unwrap();
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            let next = shown.tidy(now).unwrap();
            let pause = next - now;
            assert!(pause >= last.min(LAST_LOOK) && pause <= LAST_LOOK, "{pause:?} after {last:?}");
            (now, last) = (next, if pause > FIRST_LOOK { pause } else { last });
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
        assert!(shown.tidy(now + LAST_LOOK).is_some());
        // SAFETY: the mapping that was just made, which nothing refers to.
        unsafe { nix::sys::mman::munmap(view, 9) }.unwrap();
        assert_eq!(shown.tidy(now + LAST_LOOK * 3), None);
        assert_eq!(bytes(&shown.reader), [0; 9]);
    }

    #[test]
    fn the_owner_that_makes_it_writable_cannot_write() {
        let mut shown = Shown::create(9).unwrap();
        let file = shown.open(&value(), Instant::now()).unwrap();
        nix::sys::stat::fchmod(&file, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let writer = reopened(&file, OFlag::O_RDWR).unwrap();
        assert_eq!(nix::unistd::write(&writer, b"x"), Err(Errno::EPERM));
    }
}
