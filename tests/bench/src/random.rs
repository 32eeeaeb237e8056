//! Random text from the kernel: secrets of a run, so that a scan cannot find them by accident.

use std::fs::File;
use std::io::Read as _;

use anyhow::Context as _;

/// So many random bytes, as hexadecimal text of twice the length.
pub(crate) fn hex(bytes: usize) -> anyhow::Result<String> {
    let mut buffer = vec![0; bytes];
    let mut source = File::open("/dev/urandom").context("cannot open /dev/urandom")?;
    source.read_exact(&mut buffer).context("cannot read /dev/urandom")?;
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}
