//! `cargo xtask dist`: the shipped programs in one folder, with their sha256.

use std::fs;

use anyhow::Context as _;

use crate::artifacts::{self, Artifacts, Relay};
use crate::command::{program, read};
use crate::place;
use crate::tools::{self, Need};
use crate::ui;

/// The verb.
pub(crate) fn run() -> anyhow::Result<()> {
    tools::ensure(Need::Build)?;
    let artifacts = artifacts::build()?;
    artifacts::gate(&artifacts)?;
    let folder = place::target().join("dist");
    if folder.exists() {
        // A program of an earlier version must not be shipped with these.
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut names = Vec::new();
    let Artifacts { programs, agent, relay: Relay { beacon, bridge, broker }, operator } =
        &artifacts;
    for file in [agent, beacon, bridge, broker, operator, &programs.cli, &programs.wrapper] {
        let name = file.file_name().context("a program without a name")?;
        fs::copy(file, folder.join(name)).with_context(|| format!("cannot copy {name:?}"))?;
        names.push(name);
    }
    let sums = read(program("sha256sum").current_dir(&folder).arg("--").args(names))?;
    fs::write(folder.join("SHA256SUMS"), &sums)?;
    ui::say(&format!("{}:\n{sums}", folder.display()));
    Ok(())
}
