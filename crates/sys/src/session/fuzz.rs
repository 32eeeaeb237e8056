//! The fuzzers' entries to what reads a task's memory, which nobody else may call.
//!
//! The walk over an environment reads this very process, through the system call by which it reads
//! any other.

use std::ffi::CString;

use super::arch::Width;
use super::environment::{Environment, RANGE};
use super::files;
use super::remote::Reader;
use super::slots::{SlotSpace, SlotTable};

const BASE: u64 = 0x3100_0000_0000;
const LONG: &[u8] = b"secret-one";
const SHORT: &[u8] = b"abc";

/// Any bytes as a path, an app that knows the file `db` having asked for it.
pub fn file_path(path: &[u8]) {
    files::fuzz::path(path);
}

/// What a pointer of the environment is made of.
enum Entry {
    /// A string of this process.
    Text(CString),
    /// A number: nowhere, or in the range that belongs to the session.
    Wild(u64),
}

/// Any bytes as an environment, in the form of `/proc/PID/environ`.
///
/// A part that begins with byte 1 is no string but a pointer, relative to the session's range; one
/// that begins with byte 2 is an absolute one.
pub fn environment(bytes: &[u8]) {
    let entries: Vec<Entry> =
        bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty()).map(entry).collect();
    let pointers: Vec<u64> = entries.iter().map(Entry::pointer).collect();
    let array: Vec<u64> = pointers.iter().copied().chain([0]).collect();
    let Some(mut space) = space() else { return };
    let mut reader = Reader::default();
    reader.turn_to(i32::try_from(std::process::id()).unwrap_or(0));
    let place = array.as_ptr().addr() as u64;
    let found = Environment::read(&mut reader, (place, Width::Eight), &mut space, BASE);
    if let Ok(Some(found)) = found {
        judge(&entries, &pointers, &found, &space);
    }
    drop(Environment::read(&mut reader, (place, Width::Four), &mut space, BASE));
    drop(Environment::read(&mut reader, (place | 5, Width::Eight), &mut space, BASE));
}

fn judge(entries: &[Entry], pointers: &[u64], found: &Environment, space: &SlotSpace) {
    let ends = pointers.iter().position(|pointer| *pointer == 0).unwrap_or(pointers.len());
    assert_eq!(found.pointers, pointers.get(..ends).unwrap_or_default());
    let (mut unknown, mut unsure) = (false, false);
    for (index, entry) in entries.iter().enumerate().take(ends) {
        let due = found.due.iter().find(|due| due.index == index);
        let known = due.and_then(|due| space.at(due.string));
        match entry {
            Entry::Text(text) => {
                assert_eq!(due.is_some(), is_secret(text.to_bytes()), "a secret is overlooked");
                // An environment full of secrets makes the oldest forgotten again.
                assert!(known.is_none_or(|known| known.text() == text.to_bytes()));
                assert!(known.is_none_or(|known| !is_secret(known.placeholder())));
            }
            Entry::Wild(pointer) if (BASE..BASE + RANGE).contains(pointer) => {
                unknown |= due.is_none();
                assert!(due.is_none_or(|due| due.string == pointer - BASE));
            }
            // It may point at anything of this process, or at nothing that can be read.
            Entry::Wild(_) => unsure = true,
        }
    }
    assert!(unsure || found.has_unknown == unknown);
    assert!(found.has_unknown || !unknown);
    assert!(found.due.is_sorted_by(|one, next| one.index < next.index));
    assert_eq!(found.is_plain(), found.due.is_empty() && !found.has_unknown);
}

fn entry(part: &[u8]) -> Entry {
    let number = |bytes: &[u8]| {
        bytes.iter().take(8).rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    match part {
        [1, rest @ ..] => Entry::Wild(BASE.wrapping_add(number(rest))),
        [2, rest @ ..] => Entry::Wild(number(rest)),
        text => Entry::Text(CString::new(text).unwrap_or_default()),
    }
}

impl Entry {
    fn pointer(&self) -> u64 {
        match self {
            Self::Text(text) => text.as_ptr().addr() as u64,
            Self::Wild(pointer) => *pointer,
        }
    }
}

fn space() -> Option<SlotSpace> {
    let mut table = SlotTable::new();
    table.add(b"PW", LONG).ok()?;
    table.add(b"PIN", SHORT).ok()?;
    Some(SlotSpace::new(table))
}

/// The rule in its plainest form.
fn is_secret(text: &[u8]) -> bool {
    let value = text.splitn(2, |byte| *byte == b'=').nth(1);
    text.windows(LONG.len()).any(|window| window == LONG) || value == Some(SHORT)
}
