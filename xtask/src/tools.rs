//! Gets what the other verbs need and the machine lacks, one line for each thing.
//!
//! Required are Rust's musl target (or static glibc instead), the pinned OpenBao, and for the agent
//! clang, libelf, zlib and make. The rest are runtimes and debuggers that tests run against; where
//! they cannot be had, those tests print why they skip, and the count at the end shows it.

pub(crate) mod apt;
mod openbao;
pub(crate) mod rust;

use crate::ui;

/// How much a verb needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Need {
    /// What the beacon is measured beside.
    Bench,
    /// What all shipped programs are built with, the agent's kernel side included.
    Build,
    /// OpenBao, and what the demo's apps are written in.
    Demo,
    /// Both, and all runtimes and debuggers of the test matrix.
    Tests,
    /// What is built, and machines to run it in.
    Vm,
}

impl Need {
    /// Whether what `other` needs is needed here too.
    pub(crate) fn includes(self, other: Self) -> bool {
        match self {
            Self::Bench | Self::Build | Self::Demo => other == self,
            Self::Tests => !matches!(other, Self::Bench | Self::Vm),
            Self::Vm => matches!(other, Self::Build | Self::Vm),
        }
    }
}

/// Installs what is missing, or says in one line that nothing is.
pub(crate) fn ensure(need: Need) -> anyhow::Result<()> {
    let mut changed = rust::ensure();
    changed |= apt::ensure(need);
    if need.includes(Need::Demo) {
        changed |= openbao::ensure()?;
    }
    if !changed {
        ui::say("tools: all there");
    }
    Ok(())
}
