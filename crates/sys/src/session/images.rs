//! The secret pages of one image, and the ones kept mapped here for rotation.
//!
//! [`Image::compose`] lays the strings that an image is due out in a fresh secret file, one page of
//! the file for each page of the session's address range that is needed, so that an image takes no
//! more locked memory than its own secrets measure, and holds no secret that it is not due.
//!
//! Invariant: our view of an image's pages is left, never wiped: the app still reads them.

use super::remote::PAGE;
use super::report::PlaceError;
use super::slots::SlotSpace;
use crate::secretmem::{SecretFile, SecretMapping};

/// Pages that are neighbours in the address range and in the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Run {
    /// Distance from the session's base address.
    pub(super) offset: u64,
    /// Where in the file.
    pub(super) file_offset: u64,
    /// How many bytes.
    pub(super) len: u64,
}

/// The secret pages of one image.
#[derive(Debug)]
pub(super) struct Image {
    /// The process that runs it.
    pub(super) process: i32,
    mapping: Option<SecretMapping>,
    runs: Vec<Run>,
    strings: Vec<u64>,
}

impl Image {
    /// Writes the strings at `due` into fresh secret pages.
    pub(super) fn compose(
        process: i32,
        space: &SlotSpace,
        due: impl Iterator<Item = u64>,
    ) -> Result<(Self, SecretFile), PlaceError> {
        let mut strings: Vec<u64> = due.collect();
        strings.sort_unstable();
        strings.dedup();
        let runs = runs(space, &strings)?;
        let len = runs.iter().map(|run| run.len).sum::<u64>();
        let len = usize::try_from(len).or(Err(PlaceError::Forgotten))?;
        let file = SecretFile::create(len).map_err(PlaceError::SecretMemory)?;
        let mapping = file.map().map_err(PlaceError::SecretMemory)?;
        let mut image = Self { process, mapping: Some(mapping), runs, strings };
        for index in 0..image.strings.len() {
            let offset = image.strings.get(index).copied().unwrap_or(u64::MAX);
            let text = space.at(offset).ok_or(PlaceError::Forgotten)?.text();
            if !image.write(offset, text, 0) {
                return Err(PlaceError::Forgotten);
            }
        }
        Ok((image, file))
    }

    /// Where the pages go.
    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Replaces a string that the image has; `false` where it has none at this offset.
    ///
    /// The rest of the place, up to `capacity`, is zeroed: nothing of a longer value stays.
    pub(super) fn update(&mut self, offset: u64, text: &[u8], capacity: usize) -> bool {
        self.strings.binary_search(&offset).is_ok() && self.write(offset, text, capacity)
    }

    fn write(&mut self, offset: u64, text: &[u8], capacity: usize) -> bool {
        let run =
            self.runs.iter().find(|run| run.offset <= offset && offset - run.offset < run.len);
        let (Some(run), Some(mapping)) = (run, self.mapping.as_mut()) else {
            return false;
        };
        let Ok(at) = usize::try_from(run.file_offset + (offset - run.offset)) else {
            return false;
        };
        let tail = vec![0; capacity.saturating_sub(text.len()).max(1)];
        mapping.write(at, text) && mapping.write(at.saturating_add(text.len()), &tail)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if let Some(mapping) = self.mapping.take() {
            mapping.leave();
        }
    }
}

/// Groups the pages that the strings touch.
fn runs(space: &SlotSpace, strings: &[u64]) -> Result<Vec<Run>, PlaceError> {
    let mut runs: Vec<Run> = Vec::new();
    for offset in strings {
        let entry = space.at(*offset).ok_or(PlaceError::Forgotten)?;
        let start = offset & !(PAGE - 1);
        let end = offset.saturating_add(entry.capacity as u64).next_multiple_of(PAGE);
        match runs.last_mut() {
            Some(last) if start <= last.offset + last.len => {
                last.len = last.len.max(end.saturating_sub(last.offset));
            }
            last => {
                let file_offset = last.map_or(0, |last| last.file_offset + last.len);
                runs.push(Run { offset: start, file_offset, len: end.saturating_sub(start) });
            }
        }
    }
    Ok(runs)
}

/// The images whose pages stay mapped here, so that a new value reaches them.
#[derive(Debug, Default)]
pub(super) struct Images {
    kept: Vec<Image>,
    limit: usize,
}

impl Images {
    pub(super) const fn new(limit: usize) -> Self {
        Self { kept: Vec::new(), limit }
    }

    /// Keeps an image, in the place of what its process ran before.
    pub(super) fn keep(&mut self, image: Image) {
        self.forget(image.process);
        if self.kept.len() >= self.limit {
            self.kept.retain(|image| is_there(image.process));
        }
        if self.kept.len() < self.limit {
            self.kept.push(image);
        }
    }

    /// Lets go of what a process ran.
    pub(super) fn forget(&mut self, process: i32) {
        self.kept.retain(|image| image.process != process);
    }

    /// Writes a new value into every image that has the string; says how many.
    pub(super) fn update(&mut self, offset: u64, text: &[u8], capacity: usize) -> usize {
        self.kept.retain(|image| is_there(image.process));
        self.kept
            .iter_mut()
            .filter_map(|image| image.update(offset, text, capacity).then_some(()))
            .count()
    }
}

/// Whether a process of this number lives. A number that was reused only keeps a page too long.
fn is_there(process: i32) -> bool {
    let outcome = nix::sys::signal::kill(nix::unistd::Pid::from_raw(process), None);
    outcome != Err(nix::errno::Errno::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::slots::SlotTable;

    #[test]
    fn an_image_holds_its_own_secrets_and_no_others() {
        if let Err(error) = SecretFile::create(1) {
            println!("SKIP: {error}");
            return;
        }
        let mut table = SlotTable::new();
        let first = table.add(b"A", b"secret-one").unwrap();
        table.add(b"B", b"secret-two").unwrap();
        let mut space = SlotSpace::new(table);
        let url = space.classify(b"URL=secret-one@host").unwrap();
        let due = [url, space.slot(first).unwrap()];
        let (mut image, file) = Image::compose(1, &space, due.into_iter()).unwrap();
        let view = file.map().unwrap();
        let bytes = view.as_slice();
        let found = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(found(b"A=secret-one\0") && found(b"URL=secret-one@host\0"));
        assert!(!found(b"secret-two"));
        assert_eq!(image.runs().len(), 1);
        assert!(image.update(0, b"A=x", 64));
        assert_eq!(&bytes[..16], b"A=x\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert!(!image.update(64, b"B=y", 64));
        drop(image);
        assert_eq!(&bytes[..4], b"A=x\0");
    }
}
