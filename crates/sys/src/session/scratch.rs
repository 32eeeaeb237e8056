//! Where a task finds the environment that it is told to hand to the kernel instead of its own.
//!
//! A [`Published`] file, mapped read-only at one address in every image that was given secrets, and
//! writable only here. It holds pointer arrays and strings `NAME=`, never a value.
//! It exists because a task that asks for a new program often shares its stack's memory with a
//! parent that still runs (`vfork`), so nothing may be written there.
//!
//! Invariant: whether it is mapped in a task is proved by reading random bytes that only a task
//! of this session can have.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;

use super::published::Published;

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
    file: Published,
    base: u64,
    proof: [u8; PROOF],
    used: [bool; SEGMENTS],
}

impl Scratch {
    /// Makes the file; images will have it at `base`.
    pub(super) fn create(base: u64, proof: [u8; PROOF]) -> Result<Self, Errno> {
        let file = Published::create(c"cloudtaser-exec", LENGTH)?;
        if !file.write(0, &proof) {
            return Err(Errno::EFBIG);
        }
        Ok(Self { file, base, proof, used: [false; SEGMENTS] })
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
        let strings_offset = offset.checked_add(table.len())?;
        if !self.file.write(offset, &table) || !self.file.write(strings_offset, &strings) {
            return None;
        }
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
}

impl AsFd for Scratch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(scratch: &Scratch, address: u64, len: usize) -> Vec<u8> {
        let mut copy = vec![0; len];
        let offset = i64::try_from(address - scratch.base).unwrap();
        nix::sys::uio::pread(&scratch.file, &mut copy, offset).unwrap();
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
}
