//! The environment that a task is about to hand to a new program, read from its own memory.
//!
//! Reads the pointer array and then the strings, whole pages at a time, and says of each entry
//! whether it is a secret. Strings in the session's address range are known by their address,
//! since nobody can read them there. What was read is not kept.

use super::arch::Width;
use super::remote::{Peek, Reader, RemoteError, Text};
use super::slots::SlotSpace;

/// The kernel takes fewer entries than this.
const MOST_ENTRIES: usize = 1 << 16;
/// How much of the address space belongs to the session: more than any can use up.
pub(super) const RANGE: u64 = 1 << 34;

/// An entry that is a secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Due {
    /// Its position in the environment.
    pub(super) index: usize,
    /// The offset of its string in the session's address range.
    pub(super) string: u64,
}

/// What an environment is.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// The array as the task has it.
    pub(super) pointers: Vec<u64>,
    /// The entries that are secrets, in order.
    pub(super) due: Vec<Due>,
    /// Whether an entry may be a secret without being recognised: a pointer into the session's
    /// range that means no known string, or a string that cannot be read, as those in the pages of
    /// another supervisor.
    pub(super) has_unknown: bool,
}

impl Environment {
    /// Whether a new program with this environment needs the session at all.
    pub(super) const fn is_plain(&self) -> bool {
        self.due.is_empty() && !self.has_unknown
    }

    /// Reads the environment at `array`; `None` where the array itself cannot be read.
    pub(super) fn read(
        reader: &mut Reader,
        (array, width): (u64, Width),
        space: &mut SlotSpace,
        base: u64,
    ) -> Result<Option<Self>, RemoteError> {
        let Some(pointers) = read_array(reader, array, width)? else {
            return Ok(None);
        };
        let mut found = Self { pointers, ..Self::default() };
        for pointer in &found.pointers {
            if !is_ours(base, *pointer) {
                reader.want(*pointer)?;
            }
        }
        reader.fetch()?;
        let mut text = zeroize::Zeroizing::new(Vec::with_capacity(1024));
        for (index, pointer) in found.pointers.iter().enumerate() {
            let string = if is_ours(base, *pointer) {
                let known = space.at(pointer - base).map(|entry| entry.offset);
                found.has_unknown |= known.is_none();
                known
            } else if read_text(reader, *pointer, &mut text)? {
                space.classify(&text)
            } else {
                found.has_unknown = true;
                None
            };
            found.due.extend(string.map(|string| Due { index, string }));
        }
        Ok(Some(found))
    }
}

/// Reads one string; `false` where it cannot be read.
pub(super) fn read_text(
    reader: &mut Reader,
    address: u64,
    text: &mut Vec<u8>,
) -> Result<bool, RemoteError> {
    loop {
        match reader.text(address, text)? {
            Text::Complete => return Ok(true),
            Text::Unreadable => return Ok(false),
            Text::NotFetched => reader.fetch()?,
        }
    }
}

const fn is_ours(base: u64, pointer: u64) -> bool {
    pointer >= base && pointer - base < RANGE
}

fn read_array(
    reader: &mut Reader,
    array: u64,
    width: Width,
) -> Result<Option<Vec<u64>>, RemoteError> {
    let mut pointers = Vec::with_capacity(128);
    let mut at = array;
    loop {
        let Some((pointer, next)) = read_pointer(reader, at, width)? else {
            return Ok(None);
        };
        if pointer == 0 {
            return Ok(Some(pointers));
        }
        if pointers.len() >= MOST_ENTRIES {
            return Err(RemoteError::TooLarge);
        }
        pointers.push(pointer);
        at = next;
    }
}

/// Reads one pointer, and says where the next one is.
fn read_pointer(
    reader: &mut Reader,
    address: u64,
    width: Width,
) -> Result<Option<(u64, u64)>, RemoteError> {
    Ok(match width {
        Width::Four => {
            read_bytes(reader, address)?.map(|bytes| (u32::from_le_bytes(bytes).into(), 4))
        }
        Width::Eight => read_bytes(reader, address)?.map(|bytes| (u64::from_le_bytes(bytes), 8)),
    }
    .map(|(pointer, len)| (pointer, address.saturating_add(len))))
}

fn read_bytes<const N: usize>(
    reader: &mut Reader,
    address: u64,
) -> Result<Option<[u8; N]>, RemoteError> {
    if let Peek::NotFetched = reader.peek(address) {
        reader.want(address)?;
        reader.fetch()?;
    }
    if let Peek::Bytes(bytes) = reader.peek(address)
        && let Some(found) = bytes.first_chunk()
    {
        return Ok(Some(*found));
    }
    // Unreadable, or an odd address whose word lies across two pages.
    let mut bytes = [0; N];
    Ok(reader.copy(address, &mut bytes)?.then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::slots::SlotTable;

    const BASE: u64 = 0x3100_0000_0000;

    fn read(strings: &[&std::ffi::CStr], extra: &[u64]) -> Environment {
        let mut table = SlotTable::new();
        table.add(b"PW", b"secret-one").unwrap();
        let mut space = SlotSpace::new(table);
        let mut array: Vec<u64> = strings.iter().map(|text| text.as_ptr() as u64).collect();
        array.extend_from_slice(extra);
        array.push(0);
        let mut reader = Reader::default();
        reader.turn_to(i32::try_from(std::process::id()).unwrap());
        let array = (array.as_ptr() as u64, Width::Eight);
        Environment::read(&mut reader, array, &mut space, BASE).unwrap().unwrap()
    }

    #[test]
    fn secrets_are_found_by_content_and_by_address() {
        let plain = read(&[c"A=b", c"", c"NOT_A_PAIR"], &[]);
        assert!(plain.is_plain());
        assert_eq!(plain.pointers.len(), 3);
        let found = read(&[c"A=b", c"URL=x:secret-one@h", c"PW=secret-one"], &[BASE]);
        let indexes: Vec<usize> = found.due.iter().map(|due| due.index).collect();
        assert_eq!(indexes, [1, 2, 3]);
        assert_eq!((found.due[1].string, found.due[2].string), (0, 0));
        assert!(!found.has_unknown);
    }

    #[test]
    fn an_address_that_means_nothing_is_said_so() {
        let found = read(&[c"A=b"], &[BASE + 1, BASE + RANGE - 1, BASE - 1]);
        assert!(found.due.is_empty() && found.has_unknown && !found.is_plain());
    }

    #[test]
    fn a_string_that_cannot_be_read_may_be_a_secret() {
        let found = read(&[c"A=b"], &[8]);
        assert!(found.due.is_empty() && found.has_unknown && !found.is_plain());
    }

    #[test]
    fn an_array_that_cannot_be_read_is_a_value() {
        let mut space = SlotSpace::new(SlotTable::new());
        let mut reader = Reader::default();
        reader.turn_to(i32::try_from(std::process::id()).unwrap());
        assert!(
            Environment::read(&mut reader, (8, Width::Eight), &mut space, BASE).unwrap().is_none()
        );
    }
}
