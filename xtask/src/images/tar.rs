//! Archives in the form `ustar`, which every runtime reads, with nothing of this machine in them.

use std::fmt::Write as _;

use anyhow::ensure;

const BLOCK: usize = 512;

/// A member of an archive.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    path: String,
    mode: u32,
    kind: u8,
    bytes: Vec<u8>,
}

impl Entry {
    /// A program in the root, which anybody may execute and nobody may change.
    pub(super) fn program(name: &str, bytes: Vec<u8>) -> Self {
        Self { path: name.to_owned(), mode: 0o555, kind: b'0', bytes }
    }

    /// A file to read.
    pub(super) fn file(path: &str, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), mode: 0o444, kind: b'0', bytes }
    }

    /// A folder.
    pub(super) fn folder(path: &str) -> Self {
        Self { path: format!("{path}/"), mode: 0o755, kind: b'5', bytes: Vec::new() }
    }
}

/// All members in the order given, and the end.
pub(super) fn archive(entries: &[Entry]) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    for entry in entries {
        out.extend_from_slice(&header(entry)?);
        out.extend_from_slice(&entry.bytes);
        pad(&mut out);
    }
    out.extend_from_slice(&[0; 2 * BLOCK]);
    Ok(out)
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

/// Fields of a header in their order: owner root, time zero.
fn header(entry: &Entry) -> anyhow::Result<[u8; BLOCK]> {
    ensure!(entry.path.len() <= 100, "{} is too long for an archive", entry.path);
    ensure!(entry.bytes.len() < 0o7_777_777_777, "{} is too large for an archive", entry.path);
    let before = [
        text(&entry.path, 100),
        octal(u64::from(entry.mode), 8),
        octal(0, 8),
        octal(0, 8),
        octal(u64::try_from(entry.bytes.len())?, 12),
        octal(0, 12),
    ]
    .concat();
    let after = [
        vec![entry.kind],
        text("", 100),
        b"ustar\x0000".to_vec(),
        text("", 32),
        text("", 32),
        octal(0, 8),
        octal(0, 8),
    ]
    .concat();
    // The sum counts its own eight bytes as spaces.
    let sum: u64 = before.iter().chain(&after).map(|byte| u64::from(*byte)).sum::<u64>() + 8 * 32;
    let mut sum_field = String::new();
    write!(sum_field, "{sum:06o}\0 ")?;
    let mut bytes = [before, sum_field.into_bytes(), after].concat();
    bytes.resize(BLOCK, 0);
    bytes.try_into().map_err(|_long| anyhow::anyhow!("a header is too long"))
}

fn text(text: &str, len: usize) -> Vec<u8> {
    let mut field = text.as_bytes().to_vec();
    field.resize(len, 0);
    field
}

fn octal(number: u64, len: usize) -> Vec<u8> {
    text(&format!("{number:0width$o}", width = len - 1), len)
}
