//! Just enough of an ELF file to know what starting it means: its class, machine, linkage and entry.
//!
//! Pure: bytes come through a closure, so a file, a slice and a fuzzer look the same. No offset in
//! the file is trusted: each read goes through the closure's own bounds, each sum is checked, and
//! the work is limited as the kernel limits it, to 64 KiB of program headers.

use std::io;

/// KERNEL: `load_elf_phdrs` refuses more than this.
const MOST_HEADER_BYTES: usize = 64 << 10;

const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;

/// Why a file is not an ELF program that the kernel would load.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// It does not start with the magic bytes.
    #[error("not an ELF file")]
    Magic,
    /// Class or byte order is none that exists, or the file is an object, a core or the like.
    #[error("an ELF file, but not of a program")]
    NotProgram,
    /// The program headers have a size or place that the kernel refuses.
    #[error("an ELF file with unusable program headers")]
    ProgramHeaders,
    /// The file ends too early, or could not be read.
    #[error("cannot read the ELF file as far as its headers")]
    Read(#[source] io::Error),
}

/// The width of addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// 32 bits.
    Bits32,
    /// 64 bits.
    Bits64,
}

/// The byte order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// Most significant byte first.
    Big,
    /// Least significant byte first.
    Little,
}

/// How the program finds its libraries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Linkage {
    /// By an interpreter that the file names.
    Dynamic,
    /// It has none, or brings them itself.
    Static,
}

/// The instruction set, as the number that the file carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Machine(pub u16);

impl Machine {
    /// 64-bit Arm.
    pub const AARCH64: Self = Self(183);
    /// 32-bit x86.
    pub const I386: Self = Self(3);
    /// 64-bit x86.
    pub const X86_64: Self = Self(62);

    /// The one that this program was built for.
    pub const OWN: Self = if cfg!(target_arch = "aarch64") { Self::AARCH64 } else { Self::X86_64 };
}

/// What a program file is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Image {
    /// The width of addresses.
    pub class: Class,
    /// The byte order.
    pub order: Order,
    /// The instruction set.
    pub machine: Machine,
    /// How it finds its libraries.
    pub linkage: Linkage,
    /// Where in the file the first instruction is.
    pub entry_offset: Option<u64>,
}

impl Image {
    /// Reads the headers; `read_at(offset, buffer)` fills the buffer or fails.
    ///
    /// # Errors
    /// If the kernel would not load it, or it cannot be read.
    pub fn parse(
        mut read_at: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> Result<Self, ElfError> {
        let mut ident = [0; 20];
        read_at(0, &mut ident).map_err(ElfError::Read)?;
        let layout = Layout::of(&ident)?;
        let mut header = vec![0; layout.header_len];
        read_at(0, &mut header).map_err(ElfError::Read)?;
        let header = Fields { bytes: &header, layout };
        let (table_offset, table_len) = header.table().ok_or(ElfError::ProgramHeaders)?;
        if table_len == 0 || table_len > MOST_HEADER_BYTES {
            return Err(ElfError::ProgramHeaders);
        }
        let mut table = vec![0; table_len];
        read_at(table_offset, &mut table).map_err(ElfError::Read)?;
        let mut image = Self {
            class: layout.class,
            order: layout.order,
            machine: Machine(header.half(18).ok_or(ElfError::NotProgram)?),
            linkage: Linkage::Static,
            entry_offset: None,
        };
        let entry = header.word(24).ok_or(ElfError::ProgramHeaders)?;
        for bytes in table.chunks_exact(layout.entry_len) {
            let segment = Fields { bytes, layout };
            match segment.long(0) {
                Some(PT_INTERP) => image.linkage = Linkage::Dynamic,
                Some(PT_LOAD) => {
                    image.entry_offset = image.entry_offset.or_else(|| segment.file_offset(entry))
                }
                _ => {}
            }
        }
        Ok(image)
    }

    /// Whether this machine runs it in the mode that pages can be placed in.
    #[must_use]
    pub fn is_native(&self) -> bool {
        (self.class, self.order, self.machine) == (Class::Bits64, Order::Little, Machine::OWN)
    }
}

/// Sizes and places that follow from class and order.
#[derive(Clone, Copy)]
struct Layout {
    class: Class,
    order: Order,
    header_len: usize,
    entry_len: usize,
}

impl Layout {
    fn of(ident: &[u8; 20]) -> Result<Self, ElfError> {
        let [0x7f, b'E', b'L', b'F', class, order, ..] = ident else { return Err(ElfError::Magic) };
        let order = match order {
            1 => Order::Little,
            2 => Order::Big,
            _ => return Err(ElfError::NotProgram),
        };
        let layout = match class {
            1 => Self { class: Class::Bits32, order, header_len: 52, entry_len: 32 },
            2 => Self { class: Class::Bits64, order, header_len: 64, entry_len: 56 },
            _ => return Err(ElfError::NotProgram),
        };
        match (Fields { bytes: ident, layout }).half(16) {
            // ET_EXEC and ET_DYN, the latter for position-independent programs.
            Some(2 | 3) => Ok(layout),
            _ => Err(ElfError::NotProgram),
        }
    }
}

/// Bytes with the layout that says how to read them.
#[derive(Clone, Copy)]
struct Fields<'a> {
    bytes: &'a [u8],
    layout: Layout,
}

impl Fields<'_> {
    fn array<const LEN: usize>(&self, at: usize) -> Option<[u8; LEN]> {
        let mut array: [u8; LEN] = self.bytes.get(at..at.checked_add(LEN)?)?.try_into().ok()?;
        if self.layout.order == Order::Big {
            array.reverse();
        }
        Some(array)
    }

    fn half(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn long(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    /// A number as wide as an address.
    fn word(&self, at: usize) -> Option<u64> {
        match self.layout.class {
            Class::Bits32 => self.long(at).map(u64::from),
            Class::Bits64 => self.array(at).map(u64::from_le_bytes),
        }
    }

    /// Place and length of the program headers.
    fn table(&self) -> Option<(u64, usize)> {
        let (offset_at, size_at, count_at) = match self.layout.class {
            Class::Bits32 => (28, 42, 44),
            Class::Bits64 => (32, 54, 56),
        };
        let entry_len = usize::from(self.half(size_at)?);
        if entry_len != self.layout.entry_len {
            return None;
        }
        let count = usize::from(self.half(count_at)?);
        Some((self.word(offset_at)?, entry_len.checked_mul(count)?))
    }

    /// Where in the file the byte at this address is, if this segment holds it.
    fn file_offset(&self, address: u64) -> Option<u64> {
        let (offset_at, address_at, size_at) = match self.layout.class {
            Class::Bits32 => (4, 8, 16),
            Class::Bits64 => (8, 16, 32),
        };
        let inside = address.checked_sub(self.word(address_at)?)?;
        (inside < self.word(size_at)?).then_some(self.word(offset_at)?.checked_add(inside)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use proptest::prelude::*;

    use super::*;

    fn parse(bytes: &[u8]) -> Result<Image, ElfError> {
        Image::parse(|offset, buffer| {
            let start = usize::try_from(offset).unwrap();
            let end = start.checked_add(buffer.len());
            let slice = end.and_then(|end| bytes.get(start..end));
            buffer.copy_from_slice(slice.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    /// A program of one segment, at address 0x1000 from the file's start.
    fn program(class: Class, order: Order, machine: u16, interpreter: bool) -> Vec<u8> {
        let big = order == Order::Big;
        let mut bytes = vec![0x7f, b'E', b'L', b'F', 0, if big { 2 } else { 1 }, 1];
        bytes.resize(16, 0);
        bytes[4] = if class == Class::Bits64 { 2 } else { 1 };
        let mut put = |value: u64, len: usize| {
            let all = value.to_le_bytes();
            let mut part = all[..len].to_vec();
            if big {
                part.reverse();
            }
            bytes.extend(part);
        };
        let wide = if class == Class::Bits64 { 8 } else { 4 };
        let (header_len, entry_len) = if wide == 8 { (64, 56) } else { (52, 32) };
        let count = 1 + u64::from(interpreter);
        for (value, len) in [(2, 2), (u64::from(machine), 2), (1, 4), (0x1040, wide)] {
            put(value, len);
        }
        for (value, len) in [(header_len, wide), (0, wide), (0, 4), (header_len, 2)] {
            put(value, len);
        }
        for (value, len) in [(entry_len, 2), (count, 2), (0, 2), (0, 2), (0, 2)] {
            put(value, len);
        }
        let kinds = if interpreter { vec![PT_INTERP, PT_LOAD] } else { vec![PT_LOAD] };
        for kind in kinds {
            put(u64::from(kind), 4);
            if wide == 8 {
                put(5, 4);
            }
            for value in [0, 0x1000, 0x1000, 0x2000, 0x2000] {
                put(value, wide);
            }
            if wide == 4 {
                put(5, 4);
            }
            put(0x1000, wide);
        }
        bytes
    }

    #[test]
    fn every_class_and_order_is_read() {
        for class in [Class::Bits32, Class::Bits64] {
            for order in [Order::Big, Order::Little] {
                for (interpreter, linkage) in [(false, Linkage::Static), (true, Linkage::Dynamic)] {
                    let image = parse(&program(class, order, 40, interpreter)).unwrap();
                    let expected = Image {
                        class,
                        order,
                        machine: Machine(40),
                        linkage,
                        entry_offset: Some(0x40),
                    };
                    assert_eq!(image, expected);
                    assert!(!image.is_native());
                }
            }
        }
    }

    #[test]
    fn this_very_program_is_native() {
        let file = File::open("/proc/self/exe").unwrap();
        let image = Image::parse(|offset, buffer| file.read_exact_at(buffer, offset)).unwrap();
        assert!(image.is_native());
        assert!(image.entry_offset.is_some());
    }

    #[test]
    fn a_cut_off_file_is_an_error_at_every_length() {
        let whole = program(Class::Bits64, Order::Little, 62, true);
        assert!(parse(&whole).unwrap().is_native());
        for len in 0..whole.len() {
            assert!(parse(&whole[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn an_object_file_is_no_program() {
        let mut bytes = program(Class::Bits64, Order::Little, 62, false);
        bytes[16] = 1;
        assert!(matches!(parse(&bytes), Err(ElfError::NotProgram)));
        assert!(matches!(parse(b"#!/bin/sh\necho a long enough script\n"), Err(ElfError::Magic)));
    }

    proptest! {
        #[test]
        fn damaged_headers_never_panic(
            at in 0_usize..176,
            value in any::<u8>(),
            class in prop_oneof![Just(Class::Bits32), Just(Class::Bits64)],
            noise in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = program(class, Order::Little, 62, true);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            drop(parse(&bytes));
            drop(parse(&noise));
            bytes.truncate(20);
            bytes.extend(noise);
            drop(parse(&bytes));
        }
    }
}
