//! The program's path, arguments and environment, laid out as `execve` wants them.
//!
//! The heap may be secret memory, which the kernel reads for nobody: a supervisor outside of ours,
//! whose listener hears of our child's exec as well, could not see what is about to start, and
//! would have to refuse it. So what holds no secret is laid out in ordinary pages. They live
//! from the fork to the exec, whose program has the same bytes on its ordinary stack.
//!
//! Invariant: what may hold a secret stays in the heap, and is wiped when it is freed.

use std::ffi::{CStr, CString, c_char};
use std::ptr::{self, NonNull};

use nix::errno::Errno;

/// What the words are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Placeholders, and what anybody may see.
    Open,
    /// Values are among them.
    Secret,
}

/// Two arrays of pointers, each with a null at its end, and the strings behind them.
#[derive(Debug)]
pub(super) struct Words {
    block: Block,
    /// Where the environment's array begins, in pointers.
    environment: usize,
    /// Where the path begins, in bytes.
    program: usize,
}

impl Words {
    /// Copies everything to where it will be read.
    pub(super) fn lay_out(
        kind: Kind,
        program: &CStr,
        arguments: &[CString],
        environment: &[CString],
    ) -> Result<Self, Errno> {
        let pointers = arguments.len() + environment.len() + 2;
        let strings = || arguments.iter().chain(environment).map(CString::as_c_str);
        let texts: usize = strings().chain([program]).map(|text| text.count_bytes() + 1).sum();
        let table = pointers.checked_mul(size_of::<usize>()).ok_or(Errno::E2BIG)?;
        let block = Block::new(kind, table.checked_add(texts).ok_or(Errno::E2BIG)?)?;
        let mut words = Self { block, environment: arguments.len() + 1, program: table };
        let mut at = table;
        words.copy(&mut at, program);
        for (index, text) in strings().enumerate() {
            // One place is left free after the arguments, another at the end: their nulls.
            let place = index + usize::from(index >= arguments.len());
            let address = words.block.start().as_ptr().addr() + at;
            words.write(place * size_of::<usize>(), &address.to_ne_bytes());
            words.copy(&mut at, text);
        }
        Ok(words)
    }

    /// The path.
    pub(super) const fn program(&self) -> *const c_char {
        self.block.start().as_ptr().wrapping_add(self.program).cast_const().cast()
    }

    /// The arguments' array.
    pub(super) const fn arguments(&self) -> *const *const c_char {
        self.block.start().as_ptr().cast_const().cast()
    }

    /// The environment's array.
    pub(super) const fn environment(&self) -> *const *const c_char {
        self.arguments().wrapping_add(self.environment)
    }

    fn copy(&mut self, at: &mut usize, text: &CStr) {
        let bytes = text.to_bytes_with_nul();
        self.write(*at, bytes);
        *at += bytes.len();
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if offset.checked_add(bytes.len()).is_none_or(|end| end > self.block.len()) {
            return;
        }
        let target = self.block.start().as_ptr().wrapping_add(offset);
        // SAFETY: `target` is writable for `bytes.len()` bytes by the check above; the block is
        // nobody else's, so it does not overlap `bytes`.
        unsafe { target.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }
}

/// Zeroed memory.
#[derive(Debug)]
enum Block {
    Heap(Vec<usize>),
    Pages { start: NonNull<u8>, len: usize },
}

impl Block {
    fn new(kind: Kind, len: usize) -> Result<Self, Errno> {
        if kind == Kind::Secret {
            return Ok(Self::Heap(vec![0; len.div_ceil(size_of::<usize>())]));
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing of ours.
        let address = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
        if address == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let start = NonNull::new(address.cast()).ok_or(Errno::ENOMEM)?;
        Ok(Self::Pages { start, len })
    }

    const fn start(&self) -> NonNull<u8> {
        match self {
            Self::Heap(words) => {
                // A vector's pointer is never null, and nothing reads through another one here.
                match NonNull::new(words.as_ptr().cast_mut().cast()) {
                    Some(start) => start,
                    None => NonNull::dangling(),
                }
            }
            Self::Pages { start, .. } => *start,
        }
    }

    const fn len(&self) -> usize {
        match self {
            Self::Heap(words) => size_of::<usize>().saturating_mul(words.len()),
            Self::Pages { len, .. } => *len,
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Self::Pages { start, len } = self {
            // SAFETY: this is the mapping made in `new`; no reference into it is ever handed out.
            unsafe { libc::munmap(start.as_ptr().cast(), *len) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(array: *const *const c_char) -> Vec<String> {
        let mut found = Vec::new();
        for index in 0.. {
            // SAFETY: the array ends with a null, at which the loop ends.
            let text = unsafe { *array.wrapping_add(index) };
            if text.is_null() {
                break;
            }
            // SAFETY: `lay_out` ends each string with a zero.
            found.push(unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned());
        }
        found
    }

    #[test]
    fn the_kernel_finds_path_arguments_and_environment() {
        let long = CString::new("L=".to_owned() + &"x".repeat(9000)).unwrap();
        let (arguments, environment) =
            ([c"app".to_owned(), c"".to_owned()], [c"A=".to_owned(), long.clone()]);
        for kind in [Kind::Open, Kind::Secret] {
            let words = Words::lay_out(kind, c"/bin/app", &arguments, &environment).unwrap();
            // SAFETY: `lay_out` ends the path with a zero.
            assert_eq!(unsafe { CStr::from_ptr(words.program()) }, c"/bin/app");
            assert_eq!(strings(words.arguments()), ["app", ""]);
            assert_eq!(strings(words.environment()), ["A=", long.to_str().unwrap()]);
        }
        let empty = Words::lay_out(Kind::Open, c"a", &[], &[]).unwrap();
        assert!(strings(empty.arguments()).is_empty() && strings(empty.environment()).is_empty());
    }
}
