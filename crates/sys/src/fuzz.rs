//! Entries for the fuzzers: what must hold for any bytes in a file or in a task's memory.
//!
//! Each function panics where a promise is broken and says nothing otherwise. None is in a build
//! that is shipped.

use std::io;

use crate::{
    elf::Image,
    session::{StackError, StackView},
};

pub use crate::session::fuzz::{environment, file_path};

/// Any bytes as a program file.
pub fn elf(bytes: &[u8]) {
    let mut asked = 0_usize;
    let image = Image::parse(|offset, buffer| {
        asked = asked.saturating_add(buffer.len());
        let start = usize::try_from(offset).or(Err(io::ErrorKind::UnexpectedEof))?;
        let part = start.checked_add(buffer.len()).and_then(|end| bytes.get(start..end));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    });
    assert!(asked < 65 << 10, "more is read than the kernel would");
    if let Ok(image) = image {
        assert!(bytes.starts_with(b"\x7fELF"));
        let machine = bytes.get(18..20).and_then(<[u8]>::first_chunk::<2>).copied();
        let swapped = u16::from_be_bytes(image.machine.0.to_le_bytes());
        let written = machine.map(u16::from_le_bytes);
        assert!(written == Some(image.machine.0) || written == Some(swapped));
    }
}

/// Any bytes as the stack of a new program, whose first eight say where it is.
pub fn stack(bytes: &[u8]) {
    let Some((pointer, tables)) = bytes.split_first_chunk() else { return };
    let pointer = u64::from_le_bytes(*pointer);
    let longer = [tables, b"\x01\x02\x03\x04\x05\x06\x07\x08"].concat();
    let view = match StackView::parse(pointer, tables) {
        Err(StackError::Truncated) => return,
        outcome => outcome,
    };
    assert_eq!(StackView::parse(pointer, &longer), view, "more bytes change the answer");
    let Ok(view) = view else { return };
    for (index, entry) in view.environment.iter().enumerate() {
        let at = view.entry_address(index).and_then(|address| address.checked_sub(pointer));
        let word = at
            .and_then(|at| usize::try_from(at).ok())
            .and_then(|at| tables.get(at..))
            .and_then(<[u8]>::first_chunk);
        assert_eq!(word.copied().map(u64::from_le_bytes), Some(*entry), "another word is meant");
    }
    assert_eq!(view.entry_address(view.environment.len()), None);
}

#[cfg(test)]
mod tests {
    include!("../../../fuzz/replay.rs");

    #[test]
    fn every_corpus_file_is_replayed() {
        replay("elf", super::elf);
        replay("stack", super::stack);
        replay("environment", super::environment);
        replay("file_path", super::file_path);
    }
}
