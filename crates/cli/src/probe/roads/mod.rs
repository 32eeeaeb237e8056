//! One function per road; each tries it for real, as the caller, and tells what came of it.
//!
//! A road never fails the probe: a refusal is its result. Each is bounded in time and memory, puts
//! the target back as it was, and wipes what it read.

pub(super) mod core;
pub(super) mod descriptors;
pub(super) mod gdb;
pub(super) mod memory;
pub(super) mod observers;
pub(super) mod physical;
pub(super) mod procfs;
pub(super) mod trace;

use std::time::{Duration, Instant};

use super::{needle::Needle, target::Target};

/// Longest time for one road on one process. Programs of ordinary size need far less.
const PATIENCE: Duration = Duration::from_secs(20);

/// What every road is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// The process.
    pub(crate) target: Target,
    /// What is looked for.
    pub(crate) needle: &'a Needle,
    /// The environment variable that a debugger asks for, if it is known.
    pub(crate) variable: Option<&'a str>,
}

/// The moment after which a road gives up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// Starts now.
    pub(super) fn start() -> Self {
        Self(Instant::now() + PATIENCE)
    }

    /// Whether the time is over.
    pub(super) fn is_over(self) -> bool {
        Instant::now() >= self.0
    }
}

/// "1 mapping", "3 mappings".
pub(super) fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
