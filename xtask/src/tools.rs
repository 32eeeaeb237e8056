//! Gets what the other verbs need and the machine lacks, one line for each thing.
//!
//! Only two things are required: Rust's musl target (or static glibc instead) and the pinned
//! OpenBao. The rest are runtimes and debuggers that tests run against; where they cannot be had,
//! those tests print why they skip, and the count at the end shows it.

pub(crate) mod apt;
mod openbao;
pub(crate) mod rust;

use crate::ui;

/// How much a verb needs; each includes those before it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Need {
    /// The targets of the shipped programs.
    Build,
    /// OpenBao, and what the demo's apps are written in.
    Demo,
    /// All runtimes and debuggers of the test matrix.
    Tests,
}

/// Installs what is missing, or says in one line that nothing is.
pub(crate) fn ensure(need: Need) -> anyhow::Result<()> {
    let mut changed = rust::ensure();
    if need >= Need::Demo {
        changed |= apt::ensure(need);
        changed |= openbao::ensure()?;
    }
    if !changed {
        ui::say("tools: all there");
    }
    Ok(())
}
