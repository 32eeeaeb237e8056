//! Where a task finds the environment that it is told to hand to the kernel instead of its own.
//!
//! An ordinary sealed memfd, mapped read-only at one address in every image that was given
//! secrets, and writable only here. It holds pointer arrays and strings `NAME=`, never a value.
//! It exists because a task that asks for a new program often shares its stack's memory with a
//! parent that still runs (`vfork`), so nothing may be written there.
//!
//! Invariant: whether it is mapped in a task is proved by reading random bytes that only a task
//! of this session can have.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// The proof sits in the first page.
const HEADER: usize = 4096;
/// Room for an array of 1,500 entries and the placeholders of 60 secrets.
const SEGMENT: usize = 16 << 10;
/// Execs in flight at a time that find room; the next ones take the slower road.
const SEGMENTS: usize = 64;
const LENGTH: usize = HEADER + SEGMENT * SEGMENTS;

const WORD: usize = 8;

/// Bytes that prove that a task has this file mapped.
pub(super) const PROOF: usize = 16;

/// One entry of an environment to be built.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pointer<'a> {
    /// Where the task has the string already.
    Own(u64),
    /// A string to be written.
    Placeholder(&'a [u8]),
}

/// A part of the file in use by one exec.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Segment(usize);

/// The file and our view of it.
#[derive(Debug)]
pub(super) struct Scratch {
    fd: OwnedFd,
    start: NonNull<u8>,
    base: u64,
    proof: [u8; PROOF],
    used: [bool; SEGMENTS],
}

impl Scratch {
    /// Makes the file; images will have it at `base`.
    pub(super) fn create(base: u64, proof: [u8; PROOF]) -> Result<Self, Errno> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let fd = memfd_create(c"cloudtaser-exec", flags)?;
        let size = libc::off_t::try_from(LENGTH).or(Err(Errno::EFBIG))?;
        nix::unistd::ftruncate(&fd, size)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing of ours.
        let address = unsafe {
            libc::mmap(ptr::null_mut(), LENGTH, protection, libc::MAP_SHARED, fd.as_raw_fd(), 0)
        };
        if address == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let start = NonNull::new(address.cast()).ok_or(Errno::ENOMEM)?;
        let scratch = Self { fd, start, base, proof, used: [false; SEGMENTS] };
        // SECURITY: from here on nobody maps it writable or changes its size, though its
        // descriptor passes through every image.
        let seals = SealFlag::F_SEAL_SHRINK
            | SealFlag::F_SEAL_GROW
            | SealFlag::F_SEAL_FUTURE_WRITE
            | SealFlag::F_SEAL_SEAL;
        fcntl(&scratch.fd, FcntlArg::F_ADD_SEALS(seals))?;
        scratch.write(0, &proof);
        Ok(scratch)
    }

    /// Where images have it.
    pub(super) const fn base(&self) -> u64 {
        self.base
    }

    /// How much images map.
    #[expect(clippy::unused_self, reason = "the length belongs to the file")]
    pub(super) const fn len(&self) -> u64 {
        LENGTH as u64
    }

    /// Whether these bytes, read at the base address in a task, are ours.
    pub(super) fn is_proof(&self, bytes: &[u8; PROOF]) -> bool {
        self.proof == *bytes
    }

    /// Writes an environment and says where a task finds it; `None` where there is no room.
    pub(super) fn write_environment(&mut self, entries: &[Pointer<'_>]) -> Option<(Segment, u64)> {
        let mut table = Vec::with_capacity((entries.len() + 1) * WORD);
        let mut strings = Vec::new();
        let index = self.used.iter().position(|used| !used)?;
        let offset = HEADER.checked_add(SEGMENT.checked_mul(index)?)?;
        let address = self.base.checked_add(u64::try_from(offset).ok()?)?;
        let strings_at = address.checked_add(u64::try_from((entries.len() + 1) * WORD).ok()?)?;
        for entry in entries {
            let pointer = match entry {
                Pointer::Own(pointer) => *pointer,
                Pointer::Placeholder(text) => {
                    let at = strings_at.checked_add(u64::try_from(strings.len()).ok()?)?;
                    strings.extend_from_slice(text);
                    strings.push(0);
                    at
                }
            };
            table.extend_from_slice(&pointer.to_le_bytes());
        }
        table.extend_from_slice(&[0; WORD]);
        if table.len().checked_add(strings.len())? > SEGMENT {
            return None;
        }
        self.write(offset, &table);
        self.write(offset.checked_add(table.len())?, &strings);
        *self.used.get_mut(index)? = true;
        Some((Segment(index), address))
    }

    /// Gives a part back; the exec that used it is over.
    pub(super) fn release(&mut self, segment: Segment) {
        let Segment(index) = segment;
        if let Some(used) = self.used.get_mut(index) {
            *used = false;
        }
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        if offset.checked_add(bytes.len()).is_none_or(|end| end > LENGTH) {
            return;
        }
        // SAFETY: `offset` is at most LENGTH, so the result is inside or one past the mapping.
        let target = unsafe { self.start.add(offset) };
        // SAFETY: `target` is writable for `bytes.len()` bytes by the check above, until Drop; the
        // mapping is no allocation of ours, so it does not overlap `bytes`.
        unsafe { target.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }
}

impl AsFd for Scratch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `create`; no reference into it is ever handed out.
        unsafe { libc::munmap(self.start.as_ptr().cast(), LENGTH) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(scratch: &Scratch, address: u64, len: usize) -> Vec<u8> {
        let mut copy = vec![0; len];
        let offset = i64::try_from(address - scratch.base).unwrap();
        nix::sys::uio::pread(&scratch.fd, &mut copy, offset).unwrap();
        copy
    }

    #[test]
    fn an_environment_is_an_array_that_ends_and_strings_that_end() {
        let mut scratch = Scratch::create(0x33_0000, [9; PROOF]).unwrap();
        let entries = [Pointer::Own(0xabc), Pointer::Placeholder(b"PW="), Pointer::Own(0xdef)];
        let (segment, address) = scratch.write_environment(&entries).unwrap();
        let mut expected = Vec::new();
        for word in [0xabc, address + 32, 0xdef, 0] {
            expected.extend_from_slice(&u64::to_le_bytes(word));
        }
        expected.extend_from_slice(b"PW=\0");
        assert_eq!(read(&scratch, address, expected.len()), expected);
        assert_eq!(read(&scratch, scratch.base, PROOF), [9; PROOF]);
        scratch.release(segment);
        assert_eq!(scratch.write_environment(&[]).unwrap().1, address);
    }

    #[test]
    fn no_room_is_a_value() {
        let mut scratch = Scratch::create(0, [0; PROOF]).unwrap();
        assert!(scratch.write_environment(&[Pointer::Own(1); SEGMENT / WORD]).is_none());
        let segments: Vec<_> =
            std::iter::from_fn(|| scratch.write_environment(&[Pointer::Own(1)])).collect();
        assert_eq!(segments.len(), SEGMENTS);
    }

    #[test]
    fn nobody_else_can_write_to_it() {
        let scratch = Scratch::create(0, [0; PROOF]).unwrap();
        assert_eq!(nix::unistd::write(&scratch.fd, b"x"), Err(Errno::EPERM));
        // SAFETY: asks for a new mapping at an address of the kernel's choice.
        let mapped = unsafe {
            libc::mmap(
                ptr::null_mut(),
                HEADER,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                scratch.fd.as_raw_fd(),
                0,
            )
        };
        assert_eq!(mapped, libc::MAP_FAILED);
    }
}
