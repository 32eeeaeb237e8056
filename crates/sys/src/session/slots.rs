//! The secrets of a session and the address at which each one lives in every image.
//!
//! A secret is an environment string `NAME=value` at an address that is the same in every program
//! of the session, chosen once and never given to another string. So a pointer into that range
//! says which string is meant, though no one can read the page that it points to. A string of the
//! app's own making that holds a secret (`URL=postgres://u:SECRET@host`) gets an address of its
//! own when it is first seen.
//!
//! Invariant: an address means one string for the life of the session, or nothing at all.

use std::fmt;

use zeroize::Zeroizing;

use super::needles::Needles;

/// Strings start at multiples of a cache line, so that two never share one.
const ALIGNMENT: u64 = 64;
const PAGE: u64 = super::remote::PAGE;

/// Derived strings remembered at a time; the one unused for longest is forgotten.
const MOST_DERIVED: usize = 256;
const MOST_DERIVED_BYTES: usize = 512 << 10;

/// Longest value taken: what one string of an environment may measure on Linux.
const LONGEST_VALUE: usize = 128 << 10;

/// Why a secret cannot be an environment variable.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SlotError {
    /// The name is empty or holds `=` or a zero byte.
    #[error("not a name that an environment variable can have")]
    Name,
    /// The value holds a zero byte, which ends a string.
    #[error(
        "the value holds a zero byte, so it cannot be an environment variable: deliver it as a file"
    )]
    ZeroByte,
    /// The value is longer than the kernel takes.
    #[error("the value has {len} bytes, more than an environment variable may have")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// No such slot.
    #[error("no such slot")]
    Unknown,
}

/// Names one secret of a [`SlotTable`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SlotId(pub(super) usize);

struct Slot {
    name: Vec<u8>,
    value: Zeroizing<Vec<u8>>,
}

/// The secrets of a launch, by environment variable.
///
/// The values are copied into the heap of this process, which the caller is expected to have made
/// of sealed memory.
#[derive(Default)]
pub struct SlotTable {
    slots: Vec<Slot>,
}

impl SlotTable {
    /// An empty table.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: Vec::new() }
    }

    /// Adds a secret.
    ///
    /// # Errors
    /// [`SlotError`] where no environment variable could hold it.
    pub fn add(&mut self, name: &[u8], value: &[u8]) -> Result<SlotId, SlotError> {
        if name.is_empty() || name.contains(&b'=') || name.contains(&0) {
            return Err(SlotError::Name);
        }
        check_value(value)?;
        self.slots.push(Slot { name: name.to_vec(), value: Zeroizing::new(value.to_vec()) });
        Ok(SlotId(self.slots.len() - 1))
    }

    /// How many secrets there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl fmt::Debug for SlotTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotTable").field("len", &self.len()).finish_non_exhaustive()
    }
}

pub(super) fn check_value(value: &[u8]) -> Result<(), SlotError> {
    if value.contains(&0) {
        return Err(SlotError::ZeroByte);
    }
    if value.len() > LONGEST_VALUE {
        return Err(SlotError::TooLong { len: value.len() });
    }
    Ok(())
}

/// One string and its place.
pub(super) struct Entry {
    /// Distance from the base address; also the entry's name.
    pub(super) offset: u64,
    /// Bytes set aside, the terminating zero included.
    pub(super) capacity: usize,
    /// `NAME=value`.
    text: Zeroizing<Vec<u8>>,
    /// How much of it is shown to everyone: `NAME=`, or nothing where the app put the secret there.
    shown: usize,
    origin: Origin,
    last_used: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Origin {
    /// A slot's string, now or before its value outgrew the place.
    Slot,
    /// Made by the app.
    Derived,
}

impl Entry {
    /// `NAME=value`, without a terminating zero.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// `NAME=`, which the kernel copies in its stead.
    pub(super) fn placeholder(&self) -> &[u8] {
        self.text.get(..self.shown).unwrap_or_default()
    }
}

/// What became of a new value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Placement {
    /// It is at the old address.
    Same(u64),
    /// It outgrew the place; programs started from now on have it elsewhere.
    Moved,
}

/// All strings of a session.
pub(super) struct SlotSpace {
    /// Sorted by offset.
    entries: Vec<Entry>,
    /// The entry of each slot's present value.
    current: Vec<u64>,
    needles: Needles,
    /// Where the next string goes.
    next: u64,
    uses: u64,
}

impl SlotSpace {
    pub(super) fn new(table: SlotTable) -> Self {
        let mut space = Self {
            entries: Vec::new(),
            current: Vec::new(),
            needles: Needles::default(),
            next: 0,
            uses: 0,
        };
        for (index, slot) in table.slots.into_iter().enumerate() {
            space.needles.add(index, &slot.value);
            let text = join(&slot.name, &slot.value);
            // Room for a value twice as long, so that most rotations happen in place.
            let capacity = text.len().saturating_add(1).saturating_mul(2);
            let offset = space.append(text, slot.name.len() + 1, capacity, Origin::Slot);
            space.current.push(offset);
        }
        space.next = space.next.next_multiple_of(PAGE);
        space
    }

    /// The entry of a slot's present value.
    pub(super) fn slot(&self, slot: SlotId) -> Option<u64> {
        self.current.get(slot.0).copied()
    }

    /// The string at exactly this offset.
    pub(super) fn at(&self, offset: u64) -> Option<&Entry> {
        self.find(offset).ok().and_then(|index| self.entries.get(index))
    }

    /// Whether the string holds a secret.
    pub(super) fn is_secret(&self, text: &[u8]) -> bool {
        self.needles.occur_in(text)
    }

    /// The entry for an environment string, if it holds a secret: a slot's, a known derived one,
    /// or a new one.
    pub(super) fn classify(&mut self, text: &[u8]) -> Option<u64> {
        if !self.is_secret(text) {
            return None;
        }
        self.uses += 1;
        let uses = self.uses;
        if let Some(known) = self.entries.iter_mut().find(|entry| entry.text() == text) {
            known.last_used = uses;
            return Some(known.offset);
        }
        self.forget_some(text.len());
        let head = text.iter().position(|byte| *byte == b'=').map_or(0, |equals| equals + 1);
        let shown = text.get(..head).filter(|head| !self.is_secret(head)).map_or(0, <[u8]>::len);
        let text = Zeroizing::new(text.to_vec());
        let capacity = text.len().saturating_add(1);
        Some(self.append(text, shown, capacity, Origin::Derived))
    }

    /// Takes a new value for a slot.
    pub(super) fn rotate(&mut self, slot: SlotId, value: &[u8]) -> Result<Placement, SlotError> {
        check_value(value)?;
        let offset = self.slot(slot).ok_or(SlotError::Unknown)?;
        let index = self.find(offset).or(Err(SlotError::Unknown))?;
        let entry = self.entries.get_mut(index).ok_or(SlotError::Unknown)?;
        let mut text = Zeroizing::new(Vec::with_capacity(entry.shown + value.len()));
        text.extend_from_slice(entry.placeholder());
        text.extend_from_slice(value);
        let shown = entry.shown;
        self.needles.add(slot.0, value);
        if text.len() < entry.capacity {
            entry.text = text;
            return Ok(Placement::Same(offset));
        }
        let capacity = text.len().saturating_add(1).saturating_mul(2);
        let moved = self.append(text, shown, capacity, Origin::Slot);
        if let Some(current) = self.current.get_mut(slot.0) {
            *current = moved;
        }
        Ok(Placement::Moved)
    }

    fn append(
        &mut self,
        text: Zeroizing<Vec<u8>>,
        shown: usize,
        capacity: usize,
        origin: Origin,
    ) -> u64 {
        let offset = self.next;
        let capacity = capacity.next_multiple_of(usize::try_from(ALIGNMENT).unwrap_or(64));
        self.next = self.next.saturating_add(capacity as u64).next_multiple_of(ALIGNMENT);
        let last_used = self.uses;
        self.entries.push(Entry { offset, capacity, text, shown, origin, last_used });
        offset
    }

    /// Makes room for one more derived string. Its address is never given to another one.
    fn forget_some(&mut self, room: usize) {
        loop {
            let derived = self.entries.iter().filter(|entry| entry.origin == Origin::Derived);
            let (count, bytes) = derived.fold((0, 0_usize), |(count, bytes), entry| {
                (count + 1, bytes.saturating_add(entry.text.len()))
            });
            let fits = count < MOST_DERIVED && bytes.saturating_add(room) <= MOST_DERIVED_BYTES;
            if fits || count == 0 {
                return;
            }
            let oldest = self
                .entries
                .iter()
                .enumerate()
                .filter(|(_, entry)| entry.origin == Origin::Derived)
                .min_by_key(|(_, entry)| entry.last_used)
                .map(|(index, _)| index);
            match oldest {
                Some(index) => drop(self.entries.remove(index)),
                None => return,
            }
        }
    }

    fn find(&self, offset: u64) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&offset, |entry| entry.offset)
    }
}

impl fmt::Debug for SlotSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotSpace").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

fn join(name: &[u8], value: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(name.len() + value.len() + 1));
    text.extend_from_slice(name);
    text.push(b'=');
    text.extend_from_slice(value);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(slots: &[(&str, &str)]) -> SlotSpace {
        let mut table = SlotTable::new();
        for (name, value) in slots {
            table.add(name.as_bytes(), value.as_bytes()).unwrap();
        }
        SlotSpace::new(table)
    }

    #[test]
    fn what_cannot_be_a_variable_is_refused() {
        let mut table = SlotTable::new();
        assert_eq!(table.add(b"", b"v"), Err(SlotError::Name));
        assert_eq!(table.add(b"A=B", b"v"), Err(SlotError::Name));
        assert_eq!(table.add(b"A", b"v\0w"), Err(SlotError::ZeroByte));
        let long = vec![b'x'; LONGEST_VALUE + 1];
        assert!(matches!(table.add(b"A", &long), Err(SlotError::TooLong { .. })));
    }

    #[test]
    fn a_string_has_one_address_and_room_to_grow() {
        let mut space = space(&[("A", "secret-one"), ("B", "secret-two")]);
        let first = space.classify(b"A=secret-one").unwrap();
        let second = space.classify(b"B=secret-two").unwrap();
        assert_eq!((first, space.slot(SlotId(0))), (0, Some(0)));
        assert_eq!(second % ALIGNMENT, 0);
        assert_eq!(space.at(second).unwrap().placeholder(), b"B=");
        assert!(space.at(second + 1).is_none());
        assert_eq!(space.rotate(SlotId(0), b"a-longer-secret"), Ok(Placement::Same(0)));
        assert_eq!(space.at(0).unwrap().text(), b"A=a-longer-secret");
    }

    #[test]
    fn derived_strings_are_kept_once() {
        let mut space = space(&[("PW", "secret-one")]);
        let url = space.classify(b"URL=http://u:secret-one@h").unwrap();
        assert_eq!(space.classify(b"URL=http://u:secret-one@h"), Some(url));
        assert_ne!(space.classify(b"URL2=http://u:secret-one@h"), Some(url));
        assert_eq!(space.classify(b"PATH=/bin"), None);
        assert!(url >= PAGE, "derived strings share no page with the slots");
    }

    #[test]
    fn a_secret_in_the_name_is_not_shown() {
        let mut space = space(&[("PW", "secret-one")]);
        for text in ["secret-one=x", "secret-one", "X-secret-one=secret-one"] {
            let offset = space.classify(text.as_bytes()).unwrap();
            assert_eq!(space.at(offset).unwrap().placeholder(), b"", "{text}");
        }
    }

    #[test]
    fn a_forgotten_address_is_never_given_again() {
        let mut space = space(&[("PW", "secret-one")]);
        let mut seen = std::collections::BTreeSet::new();
        for round in 0..MOST_DERIVED * 2 {
            let text = format!("U{round}=secret-one");
            assert!(seen.insert(space.classify(text.as_bytes()).unwrap()));
        }
        assert!(space.entries.len() <= MOST_DERIVED + 1);
        assert!(space.at(*seen.first().unwrap()).is_none());
        assert!(space.at(*seen.last().unwrap()).is_some());
    }

    #[test]
    fn the_old_value_is_still_known_after_a_rotation() {
        let mut space = space(&[("PW", "secret-one")]);
        let old = space.slot(SlotId(0)).unwrap();
        let long = "n".repeat(500);
        assert_eq!(space.rotate(SlotId(0), long.as_bytes()), Ok(Placement::Moved));
        assert_eq!(space.classify(b"PW=secret-one"), Some(old));
        assert_ne!(space.slot(SlotId(0)), Some(old));
        assert_eq!(space.rotate(SlotId(9), b"x"), Err(SlotError::Unknown));
    }
}
