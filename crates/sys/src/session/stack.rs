//! Reading what the kernel put on the stack of a new program: `argc`, `argv`, `envp`, `auxv`.
//!
//! Pure: bytes in, positions out. The bytes come from a task that may be hostile or half dead, so
//! no count and no pointer in them is believed: counts only say how far to look inside the bytes
//! that were given, and pointers are handed back as numbers.

/// Where the vDSO's ELF header is (`AT_SYSINFO_EHDR`).
const AT_SYSINFO_EHDR: u64 = 33;
const WORD: usize = 8;

/// The kernel takes fewer than this many arguments and environment entries each.
const MOST_ENTRIES: usize = 1 << 18;

/// Why the bytes are no stack of a new program.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// The tables go on behind the given bytes: read more.
    #[error("the tables on the stack go on behind what was read")]
    Truncated,
    /// The counts cannot be those of a 64-bit program.
    #[error("the stack does not look like that of a new 64-bit program")]
    Shape,
}

/// The tables of a new program's stack.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StackView {
    /// Address of the first environment pointer.
    pub envp: u64,
    /// The environment pointers, without the final zero.
    pub environment: Vec<u64>,
    /// Address of the vDSO, where the kernel gave one.
    pub vdso: Option<u64>,
}

impl StackView {
    /// Reads the tables that begin at `stack_pointer` with `bytes`.
    ///
    /// # Errors
    /// [`StackError::Truncated`] when more bytes may help, [`StackError::Shape`] when none can.
    pub fn parse(stack_pointer: u64, bytes: &[u8]) -> Result<Self, StackError> {
        let mut words = Words { bytes, taken: 0 };
        let arguments = usize::try_from(words.next()?).or(Err(StackError::Shape))?;
        if arguments >= MOST_ENTRIES {
            return Err(StackError::Shape);
        }
        for _ in 0..arguments {
            if words.next()? == 0 {
                return Err(StackError::Shape);
            }
        }
        if words.next()? != 0 {
            return Err(StackError::Shape);
        }
        let offset = u64::try_from(words.taken).or(Err(StackError::Shape))?;
        let envp = stack_pointer.checked_add(offset).ok_or(StackError::Shape)?;
        let mut environment = Vec::new();
        loop {
            match words.next()? {
                0 => break,
                _ if environment.len() >= MOST_ENTRIES => return Err(StackError::Shape),
                pointer => environment.push(pointer),
            }
        }
        Ok(Self { envp, environment, vdso: words.vdso()? })
    }

    /// The address that holds environment pointer `index`.
    #[must_use]
    pub fn entry_address(&self, index: usize) -> Option<u64> {
        let offset = u64::try_from(index.checked_mul(WORD)?).ok()?;
        (index < self.environment.len()).then(|| self.envp.checked_add(offset)).flatten()
    }
}

struct Words<'a> {
    bytes: &'a [u8],
    taken: usize,
}

impl Words<'_> {
    fn next(&mut self) -> Result<u64, StackError> {
        let rest = self.bytes.get(self.taken..).ok_or(StackError::Truncated)?;
        let word = rest.first_chunk::<WORD>().ok_or(StackError::Truncated)?;
        self.taken += WORD;
        Ok(u64::from_le_bytes(*word))
    }

    /// Walks the auxiliary vector, which ends with a key of zero.
    fn vdso(&mut self) -> Result<Option<u64>, StackError> {
        loop {
            let key = self.next()?;
            let value = self.next()?;
            match key {
                0 => return Ok(None),
                AT_SYSINFO_EHDR => return Ok((value != 0).then_some(value)),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn a_real_layout_is_read() {
        let bytes = block(&[2, 0xa, 0xb, 0, 0xe0, 0xe1, 0, 6, 4096, 33, 0x7000, 0, 0]);
        let view = StackView::parse(0x1000, &bytes).unwrap();
        assert_eq!(view.envp, 0x1000 + 4 * 8);
        assert_eq!(view.environment, [0xe0, 0xe1]);
        assert_eq!(view.vdso, Some(0x7000));
        assert_eq!(view.entry_address(1), Some(0x1000 + 5 * 8));
        assert_eq!(view.entry_address(2), None);
    }

    #[test]
    fn no_arguments_no_environment_no_vdso() {
        let view = StackView::parse(0, &block(&[0, 0, 0, 0, 0])).unwrap();
        assert_eq!((view.environment.len(), view.vdso), (0, None));
    }

    #[test]
    fn every_shorter_read_asks_for_more() {
        let bytes = block(&[1, 0xa, 0, 0xe0, 0, 6, 4096, 0, 0]);
        for len in 0..bytes.len() {
            assert_eq!(StackView::parse(0, &bytes[..len]), Err(StackError::Truncated), "{len}");
        }
    }

    #[test]
    fn a_narrow_stack_is_not_taken_for_a_wide_one() {
        // Two 32-bit words read as one: argc 1 and the low half of argv[0] above it.
        let bytes = block(&[0xffd0_1234_0000_0001, 0xffd0_2345_0000_0000, 0, 0, 0]);
        assert_eq!(StackView::parse(0, &bytes), Err(StackError::Shape));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(pointer: u64, bytes: Vec<u8>) {
            let outcome = StackView::parse(pointer, &bytes);
            prop_assert!(outcome.is_err() || bytes.len() >= 40);
        }

        #[test]
        fn any_words_are_survived(pointer: u64, words in proptest::collection::vec(0_u64..40, 0..64)) {
            if let Ok(view) = StackView::parse(pointer, &block(&words)) {
                prop_assert!(view.environment.len() < words.len());
            }
        }
    }
}
