//! Gets what the other verbs need and the machine lacks, one line for each thing.
//!
//! Required are Rust's musl target (or static glibc instead), the pinned OpenBao, and for the agent
//! clang, libelf, zlib and make. The rest are runtimes and debuggers that tests run against; where they cannot be had,
//! those tests print why they skip, and the count at the end shows it.

pub(crate) mod apt;
mod openbao;
pub(crate) mod rust;

use crate::ui;

/// How much a verb needs; each includes those before it, but for the last.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Need {
    /// The targets of the shipped programs, and what compiles the agent's kernel side.
    Build,
    /// OpenBao, and what the demo's apps are written in.
    Demo,
    /// All runtimes and debuggers of the test matrix.
    Tests,
    /// Emulated machines, on top of [`Need::Build`] alone.
    Vm,
}

impl Need {
    /// Whether what `other` needs is needed here too.
    pub(crate) fn includes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Vm, _) => matches!(other, Self::Build | Self::Vm),
            (_, Self::Vm) => false,
            _ => other <= self,
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
