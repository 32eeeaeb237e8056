//! What a shipped program's ELF headers must promise: position independence, no executable stack,
//! read-only relocations, no page both writable and executable, and for the wrapper no
//! interpreter and no library.
//!
//! Reads little-endian 64-bit files only, and only what the gates ask; it is not an ELF library.
//! Malformed input is an error, never a pass.

use anyhow::{Context as _, bail, ensure};

const ET_DYN: u16 = 3;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_GNU_STACK: u32 = 0x6474_e551;
const PT_GNU_RELRO: u32 = 0x6474_e552;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
const DT_NEEDED: u64 = 1;
const DT_BIND_NOW: u64 = 24;
const DT_FLAGS: u64 = 30;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_BIND_NOW: u64 = 8;
const DF_1_NOW: u64 = 1;
/// `struct Elf64_Phdr`, as the ABI fixes it.
const PROGRAM_HEADER_LEN: usize = 56;

/// How a program may be linked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Linkage {
    /// The system's loader and libraries are used.
    Dynamic,
    /// Nothing outside the file is needed to start it.
    Static,
}

/// What the headers of one file say.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Headers {
    position_independent: bool,
    interpreter: bool,
    libraries: bool,
    bind_now: bool,
    relro: bool,
    stack: Option<u32>,
    writable_code: bool,
}

impl Headers {
    /// Reads the headers of a whole file.
    pub(crate) fn parse(file: &[u8]) -> anyhow::Result<Self> {
        ensure!(file.starts_with(b"\x7fELF\x02\x01"), "not a little-endian 64-bit ELF file");
        let kind = u16_at(file, 16)?;
        let table = usize::try_from(u64_at(file, 32)?)?;
        ensure!(usize::from(u16_at(file, 54)?) == PROGRAM_HEADER_LEN, "odd program headers");
        let mut headers = Self { position_independent: kind == ET_DYN, ..Self::default() };
        for index in 0..usize::from(u16_at(file, 56)?) {
            let at = table.checked_add(index * PROGRAM_HEADER_LEN).context("headers overflow")?;
            headers.segment(file, at)?;
        }
        Ok(headers)
    }

    /// Whether it starts without anything beside it.
    pub(crate) const fn is_alone(&self) -> bool {
        !self.interpreter && !self.libraries
    }

    /// Each promise that the file breaks, in words; empty when it keeps them all.
    pub(crate) fn broken_promises(&self, linkage: Linkage) -> Vec<&'static str> {
        let own = linkage == Linkage::Static;
        let checks = [
            (!self.position_independent, "it is not position independent"),
            (self.stack.is_none(), "it does not say that the stack is not executable"),
            (self.stack.is_some_and(|flags| flags & PF_X != 0), "its stack is executable"),
            (!self.relro, "its relocations stay writable (no RELRO)"),
            (!self.bind_now && !own, "it binds lazily, so RELRO is partial"),
            (self.writable_code, "it has a segment that is writable and executable"),
            (own && self.interpreter, "it needs an interpreter"),
            (own && self.libraries, "it needs shared libraries"),
        ];
        checks.iter().filter(|(broken, _)| *broken).map(|(_, words)| *words).collect()
    }

    fn segment(&mut self, file: &[u8], at: usize) -> anyhow::Result<()> {
        let flags = u32_at(file, at + 4)?;
        match u32_at(file, at)? {
            PT_LOAD => self.writable_code |= flags & PF_W != 0 && flags & PF_X != 0,
            PT_DYNAMIC => {
                let start = usize::try_from(u64_at(file, at + 8)?)?;
                let len = usize::try_from(u64_at(file, at + 32)?)?;
                let end = start.checked_add(len).context("dynamic section overflows")?;
                let section = file.get(start..end).context("dynamic section is cut off")?;
                self.dynamic(section)?;
            }
            PT_INTERP => self.interpreter = true,
            PT_GNU_STACK => self.stack = Some(flags),
            PT_GNU_RELRO => self.relro = true,
            _ => {}
        }
        Ok(())
    }

    fn dynamic(&mut self, section: &[u8]) -> anyhow::Result<()> {
        for entry in section.chunks_exact(16) {
            let value = u64_at(entry, 8)?;
            match u64_at(entry, 0)? {
                0 => return Ok(()),
                DT_NEEDED => self.libraries = true,
                DT_BIND_NOW => self.bind_now = true,
                DT_FLAGS => self.bind_now |= value & DF_BIND_NOW != 0,
                DT_FLAGS_1 => self.bind_now |= value & DF_1_NOW != 0,
                _ => {}
            }
        }
        bail!("dynamic section has no end")
    }
}

fn u16_at(bytes: &[u8], at: usize) -> anyhow::Result<u16> {
    Ok(u16::from_le_bytes(array_at(bytes, at)?))
}

fn u32_at(bytes: &[u8], at: usize) -> anyhow::Result<u32> {
    Ok(u32::from_le_bytes(array_at(bytes, at)?))
}

fn u64_at(bytes: &[u8], at: usize) -> anyhow::Result<u64> {
    Ok(u64::from_le_bytes(array_at(bytes, at)?))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> anyhow::Result<[u8; N]> {
    let array = bytes.get(at..).and_then(<[u8]>::first_chunk::<N>);
    array.copied().with_context(|| format!("file ends before byte {at}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with these program headers `(type, flags)` and one dynamic section.
    fn file(kind: u16, segments: &[(u32, u32)], dynamic: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(64, 0);
        bytes[16..18].copy_from_slice(&kind.to_le_bytes());
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&u16::try_from(segments.len()).unwrap().to_le_bytes());
        let section = 64 + segments.len() * PROGRAM_HEADER_LEN;
        for (name, flags) in segments {
            let mut header = vec![0; PROGRAM_HEADER_LEN];
            header[0..4].copy_from_slice(&name.to_le_bytes());
            header[4..8].copy_from_slice(&flags.to_le_bytes());
            header[8..16].copy_from_slice(&u64::try_from(section).unwrap().to_le_bytes());
            let len = u64::try_from(dynamic.len() * 16).unwrap();
            header[32..40].copy_from_slice(&len.to_le_bytes());
            bytes.extend(header);
        }
        for (tag, value) in dynamic {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        bytes
    }

    const HARDENED: &[(u32, u32)] =
        &[(PT_LOAD, 5), (PT_LOAD, 6), (PT_DYNAMIC, 6), (PT_GNU_STACK, 6), (PT_GNU_RELRO, 4)];

    fn broken(bytes: &[u8], linkage: Linkage) -> Vec<&'static str> {
        Headers::parse(bytes).unwrap().broken_promises(linkage)
    }

    #[test]
    fn hardened_static_program_passes() {
        let bytes = file(ET_DYN, HARDENED, &[(DT_FLAGS_1, DF_1_NOW), (0, 0)]);
        assert_eq!(broken(&bytes, Linkage::Static), [""; 0]);
        assert_eq!(broken(&bytes, Linkage::Dynamic), [""; 0]);
    }

    #[test]
    fn each_broken_promise_is_named() {
        let bytes = file(2, &[(PT_LOAD, 7), (PT_INTERP, 4), (PT_GNU_STACK, 7)], &[]);
        let words = broken(&bytes, Linkage::Static).join("; ");
        for part in ["position", "stack is exec", "no RELRO", "writable and exec", "interpreter"] {
            assert!(words.contains(part), "{part} is not in {words}");
        }
    }

    #[test]
    fn lazy_binding_and_libraries_are_seen_in_the_dynamic_section() {
        let bytes = file(ET_DYN, HARDENED, &[(DT_NEEDED, 1), (0, 0)]);
        assert_eq!(broken(&bytes, Linkage::Static), ["it needs shared libraries"]);
        assert_eq!(broken(&bytes, Linkage::Dynamic), ["it binds lazily, so RELRO is partial"]);
    }

    #[test]
    fn missing_stack_header_is_no_pass() {
        let bytes = file(ET_DYN, &[(PT_LOAD, 5), (PT_GNU_RELRO, 4)], &[]);
        assert_eq!(
            broken(&bytes, Linkage::Static),
            ["it does not say that the stack is not executable"]
        );
    }

    #[test]
    fn every_cut_file_is_an_error() {
        let bytes = file(ET_DYN, HARDENED, &[(DT_FLAGS, DF_BIND_NOW), (0, 0)]);
        for len in 0..bytes.len() {
            assert!(Headers::parse(&bytes[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn this_very_program_can_be_read() {
        let bytes = std::fs::read("/proc/self/exe").unwrap();
        assert!(Headers::parse(&bytes).unwrap().position_independent);
    }
}
