//! Whether a program calls what reads the memory of processes, by its instructions in the kernel.
//!
//! A call of a helper is kept as the distance of its address from `__bpf_call_base`, and
//! `/proc/kallsyms` has both, for who may see addresses.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};

/// Helpers that copy from the process that meets the program, or from another one.
const HELPERS: [&str; 7] = [
    "bpf_copy_from_user",
    "bpf_copy_from_user_task",
    "bpf_probe_read_compat",
    "bpf_probe_read_compat_str",
    "bpf_probe_read_user",
    "bpf_probe_read_user_str",
    "bpf_probe_write_user",
];

/// What distances are measured from.
const BASE: &str = "__bpf_call_base";

/// KERNEL: `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// KERNEL: `src_reg` of a helper's call; others are functions of the program and of the kernel.
const HELPER: u8 = 0;

/// Distances of the helpers; empty where addresses are hidden.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Readers(BTreeSet<i32>);

impl Readers {
    /// Reads the addresses that the kernel shows.
    pub(super) fn of_this_kernel() -> Self {
        let Ok(file) = File::open("/proc/kallsyms") else { return Self::default() };
        Self::parse(BufReader::new(file).lines().map_while(Result::ok))
    }

    fn parse(lines: impl Iterator<Item = String>) -> Self {
        let (mut base, mut helpers) = (None, Vec::new());
        for line in lines {
            let mut words = line.split_ascii_whitespace();
            let (address, name) = (words.next(), words.nth(1));
            let Some(name) = name.filter(|name| *name == BASE || HELPERS.contains(name)) else {
                continue;
            };
            let address = address.and_then(signed);
            match address.filter(|address| *address != 0) {
                Some(address) if name == BASE => base = Some(address),
                Some(address) => helpers.push(address),
                None => return Self::default(),
            }
        }
        let Some(base) = base else { return Self::default() };
        let each = helpers.iter().filter_map(|at| i32::try_from(at.wrapping_sub(base)).ok());
        Self(each.collect())
    }

    /// Whether these instructions call one of them; `None` where that cannot be told.
    pub(super) fn read(&self, instructions: &[u8]) -> Option<bool> {
        if self.0.is_empty() || instructions.is_empty() {
            return None;
        }
        let mut calls = instructions.chunks_exact(8).filter_map(|instruction| {
            let [code, registers, _, _, a, b, c, d] = *instruction.first_chunk()?;
            let distance = i32::from_ne_bytes([a, b, c, d]);
            (code == CALL && registers >> 4 == HELPER).then_some(distance)
        });
        Some(calls.any(|distance| self.0.contains(&distance)))
    }
}

/// Addresses of the kernel have their highest bit set.
fn signed(hex: &str) -> Option<i64> {
    u64::from_str_radix(hex, 16).ok().map(u64::cast_signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYMBOLS: &str = "ffffffff81200000 T __bpf_call_base\n\
                           ffffffff811ff000 T bpf_probe_read_user\n\
                           ffffffff81201000 T bpf_get_current_comm\n";

    fn call(distance: i32) -> [u8; 8] {
        let [a, b, c, d] = distance.to_ne_bytes();
        [CALL, 0, 0, 0, a, b, c, d]
    }

    #[test]
    fn a_call_is_known_by_its_distance() {
        let readers = Readers::parse(SYMBOLS.lines().map(str::to_owned));
        assert_eq!(readers.read(&call(-0x1000)), Some(true));
        assert_eq!(readers.read(&call(0x1000)), Some(false));
        let mut own = call(-0x1000);
        own[1] = 0x10;
        assert_eq!(readers.read(&own), Some(false), "a function of the program's own");
        assert_eq!(readers.read(&[]), None, "instructions that are not shown");
    }

    #[test]
    fn hidden_addresses_are_no_answer() {
        let hidden = SYMBOLS.replace("ffffffff81200000", "0000000000000000");
        let readers = Readers::parse(hidden.lines().map(str::to_owned));
        assert_eq!(readers.read(&call(0)), None);
        assert_eq!(Readers::parse(std::iter::empty()).read(&call(0)), None);
    }
}
