//! A program whose heap is a `SealedHeap` and holds a known pattern, to be scanned from outside.
//!
//! Prints one line after each stage and waits for a line on its input before the next:
//! `held ADDRESS LEN SEALED ORDINARY REFUSED`, then `freed …`. With the argument `refused` it first
//! installs a seccomp filter that refuses `memfd_secret` and starts itself anew under it.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

use cloudtaser_sys::heap::{self, SealedHeap};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

#[global_allocator]
static HEAP: SealedHeap = SealedHeap::new();

const PATTERN_BYTES: u32 = 600;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("refused") {
        return start_anew_refused();
    }
    let mut noise = Vec::new();
    let mut pattern = Vec::new();
    for index in 1..=PATTERN_BYTES {
        pattern.push(pattern_byte(index));
        // Another allocation right behind makes the next growth move.
        noise.push(vec![0_u8; 40]);
    }
    stage("held", &pattern)?;
    drop(pattern);
    stage("freed", &[])?;
    Ok(())
}

/// The pattern is computed, so that it is not in the program's file or data.
fn pattern_byte(index: u32) -> u8 {
    let [.., byte] = index.wrapping_mul(2_654_435_761).to_le_bytes();
    byte
}

fn stage(name: &str, pattern: &[u8]) -> Result<(), Box<dyn Error>> {
    let state = heap::state();
    let refused = state.refused.map_or(0, |reason| reason as i32);
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{name} {:x} {} {} {} {refused}",
        pattern.as_ptr().addr(),
        pattern.len(),
        state.sealed_bytes,
        state.ordinary_bytes
    )?;
    out.flush()?;
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}

fn start_anew_refused() -> Result<(), Box<dyn Error>> {
    let rules = BTreeMap::from([(libc::SYS_memfd_secret, Vec::new())]);
    let deny = SeccompAction::Errno(u32::try_from(libc::EPERM)?);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, deny, TargetArch::x86_64)?;
    seccompiler::apply_filter(&BpfProgram::try_from(filter)?)?;
    Err(Command::new(std::env::current_exe()?).exec().into())
}
