//! The bytes that a probe looks for, and a streaming search for them.
//!
//! The needle never comes from argv and is never shown. A search keeps at most one needle's length
//! of what it has read, so memory stays bounded whatever is scanned, and every buffer that held
//! another process's memory is wiped.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use zeroize::{Zeroize, Zeroizing};

/// Shorter needles are met by chance in megabytes of memory.
pub(crate) const SHORTEST: usize = 8;

/// Longest needle; far above any password, far below what would slow the search.
const LONGEST: usize = 4096;

/// Bytes read at once: large enough that system calls do not dominate, small enough to wipe.
pub(crate) const CHUNK: usize = 256 * 1024;

/// A page; chunks without a single byte set are skipped page by page.
const PAGE: usize = 4096;

/// A needle that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NeedleError {
    /// Its length says that a search would mean nothing.
    #[error("the canary has {len} bytes; it must have {SHORTEST} to {LONGEST}")]
    Length {
        /// How long it was.
        len: usize,
    },
    /// Where it should come from cannot be read.
    #[error("cannot read the canary from {place}")]
    Read {
        /// The file or descriptor.
        place: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The caller's environment has no such variable.
    #[error("this shell's environment has no variable {name}; export it or use --canary-file")]
    Unset {
        /// The name.
        name: String,
    },
}

/// The bytes looked for, with the skip table of the search.
pub(crate) struct Needle {
    bytes: Zeroizing<Vec<u8>>,
    skip: Zeroizing<Vec<usize>>,
}

impl Needle {
    /// Takes the bytes as they are.
    pub(crate) fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, NeedleError> {
        let len = bytes.len();
        if !(SHORTEST..=LONGEST).contains(&len) {
            return Err(NeedleError::Length { len });
        }
        let mut skip = Zeroizing::new(vec![len; 256]);
        for (at, byte) in bytes.iter().enumerate().take(len.saturating_sub(1)) {
            if let Some(slot) = skip.get_mut(usize::from(*byte)) {
                *slot = len - 1 - at;
            }
        }
        Ok(Self { bytes, skip })
    }

    /// Reads it from a file; `-` is standard input. One newline at the end is not part of it.
    pub(crate) fn from_file(path: &Path) -> Result<Self, NeedleError> {
        let place = path.display().to_string();
        let fail = |source| NeedleError::Read { place: place.clone(), source };
        let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 2));
        let limit = u64::try_from(LONGEST + 2).unwrap_or(u64::MAX);
        if path == Path::new("-") {
            io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(fail)?;
        } else {
            File::open(path).and_then(|f| f.take(limit).read_to_end(&mut bytes)).map_err(fail)?;
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        Self::new(bytes)
    }

    /// Reads it from a descriptor that the caller has opened.
    pub(crate) fn from_fd(fd: u32) -> Result<Self, NeedleError> {
        Self::from_file(Path::new(&format!("/proc/self/fd/{fd}")))
    }

    /// Takes it from a variable of the prober's own environment.
    pub(crate) fn from_env(name: &str) -> Result<Self, NeedleError> {
        let value =
            std::env::var_os(name).ok_or_else(|| NeedleError::Unset { name: name.to_owned() })?;
        Self::new(Zeroizing::new(std::os::unix::ffi::OsStringExt::into_vec(value)))
    }

    /// The bytes, for a child prober that gets them over a descriptor.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Counts occurrences that do not overlap (Horspool: mostly steps of a needle's length).
    fn count(&self, text: &[u8]) -> u64 {
        let len = self.bytes.len();
        let mut found = 0;
        let mut at = 0_usize;
        while let Some(window) = text.get(at..at.saturating_add(len)) {
            if window == self.bytes.as_slice() {
                found += 1;
                at += len;
                continue;
            }
            let last = window.last().map_or(0, |byte| usize::from(*byte));
            at += self.skip.get(last).copied().unwrap_or(1).max(1);
        }
        found
    }
}

impl std::fmt::Debug for Needle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Needle({} bytes)", self.len())
    }
}

/// A search over bytes that come in pieces.
pub(crate) struct Search<'n> {
    needle: &'n Needle,
    tail: Zeroizing<Vec<u8>>,
    found: u64,
}

impl<'n> Search<'n> {
    /// Starts with nothing read.
    pub(crate) fn new(needle: &'n Needle) -> Self {
        Self { needle, tail: Zeroizing::new(Vec::with_capacity(2 * needle.len())), found: 0 }
    }

    /// Looks at the next piece, which follows the one before without a gap.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        let overlap = self.needle.len() - 1;
        let head = piece.get(..overlap).unwrap_or(piece);
        let seam = self.tail.len();
        self.tail.extend_from_slice(head);
        // A match inside the seam uses bytes of both sides: each side alone is too short for one.
        self.found += if seam == 0 { 0 } else { self.needle.count(&self.tail) };
        self.found += self.count_unless_empty(piece);
        if piece.len() >= overlap {
            self.tail.zeroize();
            self.tail.extend_from_slice(piece.get(piece.len() - overlap..).unwrap_or_default());
        } else {
            let surplus = self.tail.len().saturating_sub(overlap);
            self.tail.drain(..surplus);
        }
    }

    /// Forgets what came before: the next piece does not follow it.
    pub(crate) fn gap(&mut self) {
        self.tail.zeroize();
    }

    /// How often the needle was seen.
    pub(crate) const fn found(&self) -> u64 {
        self.found
    }

    /// Memory that was never touched reads as zeros; comparing is much cheaper than searching.
    fn count_unless_empty(&self, piece: &[u8]) -> u64 {
        const ZEROS: [u8; PAGE] = [0; PAGE];
        let empty = piece.chunks(PAGE).all(|page| ZEROS.get(..page.len()) == Some(page));
        if empty { 0 } else { self.needle.count(piece) }
    }

    /// Reads a stream to its end, at most `limit` bytes, and tells how many were read.
    pub(crate) fn drain(&mut self, mut from: impl Read, limit: u64) -> io::Result<u64> {
        let mut buffer = Zeroizing::new(vec![0; CHUNK]);
        let mut read = 0_u64;
        while read < limit {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => {
                    self.feed(buffer.get(..len).unwrap_or_default());
                    read += u64::try_from(len).unwrap_or(u64::MAX);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needle(text: &str) -> Needle {
        Needle::new(Zeroizing::new(text.as_bytes().to_vec())).unwrap()
    }

    #[test]
    fn a_match_is_found_wherever_the_stream_is_cut() {
        let needle = needle("canary-0123456789");
        let text = b"aacanary-0123456789bbcanary-0123456789canary-0123456789c".as_slice();
        for size in 1..=text.len() {
            let mut search = Search::new(&needle);
            text.chunks(size).for_each(|piece| search.feed(piece));
            assert_eq!(search.found(), 3, "pieces of {size}");
        }
    }

    #[test]
    fn a_gap_joins_nothing() {
        let needle = needle("canary-0123456789");
        let mut search = Search::new(&needle);
        search.feed(b"xx canary-0123");
        search.gap();
        search.feed(b"456789 xx");
        assert_eq!(search.found(), 0);
    }

    #[test]
    fn repeated_letters_are_not_skipped_over() {
        let needle = needle("aaaaaaab");
        let mut search = Search::new(&needle);
        search.feed(b"aaaaaaaaaaaaaaaabaaaaaaab");
        assert_eq!(search.found(), 2);
    }

    #[test]
    fn a_short_needle_is_refused_without_being_shown() {
        let error = Needle::new(Zeroizing::new(b"hunter2".to_vec())).unwrap_err();
        assert_eq!(error.to_string(), "the canary has 7 bytes; it must have 8 to 4096");
        assert_eq!(format!("{:?}", needle("hunter2hunter2")), "Needle(14 bytes)");
    }
}
