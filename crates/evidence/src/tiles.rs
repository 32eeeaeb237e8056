//! The files of a log (C2SP tlog-tiles): where they are, and what is in them.
//!
//! A folder of them can be served by any web server and read by any monitor. [`Tiles`] reads one.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
};

use crate::{hash::Digest, tree::Nodes};

/// Hashes, or entries, in a full tile.
pub const WIDTH: u64 = 256;
/// Bytes of a hash.
const HASH_LEN: usize = 32;
/// Tiles that are kept in memory while proofs are made.
const CACHED: usize = 1024;

/// What a file holds.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// Entries, each after its length.
    Entries,
    /// Hashes at this level: each is over 256 of the level below.
    Hashes(u32),
}

/// Why a tile cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TileError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{} is no tile of {width}", path.display())]
    Form {
        /// Which file.
        path: PathBuf,
        /// How wide it should be.
        width: u64,
    },
    /// The log does not reach so far.
    #[error("the log has no such position")]
    Beyond,
}

/// The path of a tile inside its log: `tile/0/x001/234`, with `.p/W` where it is not full.
#[must_use]
pub fn path(kind: Kind, index: u64, width: u64) -> PathBuf {
    let mut name = match kind {
        Kind::Entries => "tile/entries".to_owned(),
        Kind::Hashes(level) => format!("tile/{level}"),
    };
    let digits = format!("{index:03}");
    let digits = format!("{:0>1$}", digits, digits.len().div_ceil(3) * 3);
    let groups = digits.len() / 3;
    for (at, group) in digits.as_bytes().chunks(3).enumerate() {
        name.push('/');
        if at + 1 < groups {
            name.push('x');
        }
        name.extend(group.iter().copied().map(char::from));
    }
    if width < WIDTH {
        name.push_str(&format!(".p/{width}"));
    }
    name.into()
}

/// How many nodes a level of a log of this size has.
#[must_use]
pub fn nodes_at(level: u32, size: u64) -> u64 {
    size.checked_shr(level.saturating_mul(8)).unwrap_or(0)
}

/// Entries as a bundle has them.
#[must_use]
pub fn encode_entries<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bundle = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).unwrap_or(u16::MAX);
        bundle.extend_from_slice(&length.to_be_bytes());
        bundle.extend_from_slice(entry);
    }
    bundle
}

/// Reads a bundle of exactly `width` entries.
#[must_use]
pub fn decode_entries(mut bundle: &[u8], width: u64) -> Option<Vec<Vec<u8>>> {
    let mut entries = Vec::new();
    for _ in 0..width {
        let (length, rest) = bundle.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        entries.push(entry.to_vec());
        bundle = rest;
    }
    bundle.is_empty().then_some(entries)
}

/// Reads a tile of exactly `width` hashes.
#[must_use]
pub fn decode_hashes(tile: &[u8], width: u64) -> Option<Vec<Digest>> {
    let hashes: Option<Vec<_>> = tile.chunks(HASH_LEN).map(Digest::from_slice).collect();
    hashes.filter(|hashes| u64::try_from(hashes.len()) == Ok(width))
}

/// Tiles of hashes by level and index.
type Cache = BTreeMap<(u32, u64), Rc<[Digest]>>;

/// The tiles of a log of a certain size, in a folder.
#[derive(Debug)]
pub struct Tiles {
    folder: PathBuf,
    size: u64,
    cache: RefCell<Cache>,
}

impl Tiles {
    /// Looks at a folder as a log with so many entries.
    #[must_use]
    pub fn new(folder: &Path, size: u64) -> Self {
        Self { folder: folder.to_owned(), size, cache: RefCell::default() }
    }

    /// How many bundles of entries there are.
    #[must_use]
    pub const fn bundles(&self) -> u64 {
        self.size.div_ceil(WIDTH)
    }

    /// The entries of a bundle.
    ///
    /// # Errors
    /// [`TileError`].
    pub fn entries(&self, bundle: u64) -> Result<Vec<Vec<u8>>, TileError> {
        let (bytes, path, width) = self.read(Kind::Entries, bundle)?;
        // A full bundle may stand where a narrower one was asked for.
        let full = decode_entries(&bytes, width).or_else(|| decode_entries(&bytes, WIDTH));
        let mut entries = full.ok_or(TileError::Form { path, width })?;
        entries.truncate(usize::try_from(width).unwrap_or(usize::MAX));
        Ok(entries)
    }

    fn hashes(&self, level: u32, index: u64) -> Result<Rc<[Digest]>, TileError> {
        if let Some(tile) = self.cache.borrow().get(&(level, index)) {
            return Ok(Rc::clone(tile));
        }
        let (bytes, path, width) = self.read(Kind::Hashes(level), index)?;
        let full = decode_hashes(&bytes, width).or_else(|| decode_hashes(&bytes, WIDTH));
        let tile: Rc<[Digest]> = full.ok_or(TileError::Form { path, width })?.into();
        let mut cache = self.cache.borrow_mut();
        if cache.len() >= CACHED {
            cache.clear();
        }
        cache.insert((level, index), Rc::clone(&tile));
        Ok(tile)
    }

    fn read(&self, kind: Kind, index: u64) -> Result<(Vec<u8>, PathBuf, u64), TileError> {
        let level = match kind {
            Kind::Entries => 0,
            Kind::Hashes(level) => level,
        };
        let after = nodes_at(level, self.size).checked_sub(index.saturating_mul(WIDTH));
        let width = after.filter(|after| *after > 0).ok_or(TileError::Beyond)?.min(WIDTH);
        let partial = self.folder.join(path(kind, index, width));
        let full = self.folder.join(path(kind, index, WIDTH));
        // Narrow tiles may be gone once the full one is there.
        let bytes = fs::read(&partial).or_else(|error| fs::read(&full).map_err(|_no| error));
        let bytes = bytes.map_err(|source| TileError::Read { path: partial.clone(), source })?;
        Ok((bytes, partial, width))
    }
}

impl Nodes for Tiles {
    type Error = TileError;

    fn node(&self, height: u32, index: u64) -> Result<Digest, TileError> {
        let (level, within) = (height / 8, height % 8);
        let first = index << within;
        let tile = self.hashes(level, first / WIDTH)?;
        let from = usize::try_from(first % WIDTH).unwrap_or(usize::MAX);
        let below = tile.get(from..from + (1 << within)).ok_or(TileError::Beyond)?;
        fold(below).ok_or(TileError::Beyond)
    }
}

/// The node over neighbours, whose number is a power of two.
pub(crate) fn fold(below: &[Digest]) -> Option<Digest> {
    let mut row = below.to_vec();
    while row.len() > 1 {
        row = pairs(&row);
    }
    row.first().copied()
}

/// The nodes over each two neighbours.
pub(crate) fn pairs(row: &[Digest]) -> Vec<Digest> {
    let pair = |pair: &[Digest]| match *pair {
        [left, right] => Some(Digest::node(left, right)),
        _ => None,
    };
    row.chunks_exact(2).filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let shown = |kind, index, width| path(kind, index, width).display().to_string();
        assert_eq!(shown(Kind::Hashes(0), 1_234_067, WIDTH), "tile/0/x001/x234/067");
        assert_eq!(shown(Kind::Hashes(2), 0, 1), "tile/2/000.p/1");
        assert_eq!(shown(Kind::Entries, 273, 112), "tile/entries/273.p/112");
        assert_eq!(shown(Kind::Entries, 1000, 256), "tile/entries/x001/000");
    }

    #[test]
    fn levels_are_as_wide_as_the_specification_says() {
        let widths: Vec<u64> = (0..4).map(|level| nodes_at(level, 70_000)).collect();
        assert_eq!(widths, [70_000, 273, 1, 0]);
        assert_eq!(nodes_at(63, u64::MAX), 0);
    }

    #[test]
    fn a_bundle_is_read_whole_or_not_at_all() {
        let entries = [b"one".as_slice(), b"", b"three"];
        let bundle = encode_entries(entries);
        assert_eq!(decode_entries(&bundle, 3).unwrap(), entries);
        assert_eq!(decode_entries(&bundle, 2), None);
        assert_eq!(decode_entries(&bundle, 4), None);
        assert_eq!(decode_entries(&bundle[..bundle.len() - 1], 3), None);
        assert_eq!(decode_hashes(&[0; 64], 2).map(|hashes| hashes.len()), Some(2));
        assert_eq!(decode_hashes(&[0; 65], 2), None);
    }
}
