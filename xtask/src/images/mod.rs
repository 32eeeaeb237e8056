//! `cargo xtask images`: the shipped programs as OCI image archives, without a container engine.
//!
//! An image is a program, its SBOM and nothing else: no shell, no package, no user database. The
//! same programs give the same bytes on any machine: times are zero, owners are numbers, entries
//! are sorted, and nothing is compressed, since that differs by library and version.

pub(crate) mod e2e;
mod oci;
mod sbom;
mod tar;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::artifacts::{self, Contained};
use crate::command::{program, read};
use crate::place;
use crate::tools::{self, Need};
use crate::ui;

use oci::Image;

/// Numeric, so that kubelet can tell that it is not root without a user database.
const USER: u32 = 65532;
/// The agent is root of its node, or nothing.
const ROOT: u32 = 0;

/// The verb.
pub(crate) fn run() -> anyhow::Result<()> {
    tools::ensure(Need::Build)?;
    let built = artifacts::build_contained()?;
    artifacts::gate_contained(&built)?;
    let folder = place::target().join("images");
    if folder.exists() {
        // An image of an earlier version must not be shipped with these.
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let mut names = Vec::new();
    for recipe in recipes(&built) {
        let archive = pack(&recipe)?;
        let name = format!("{}.oci.tar", recipe.name);
        fs::write(folder.join(&name), &archive).with_context(|| format!("cannot write {name}"))?;
        names.push(name);
    }
    let sums = read(program("sha256sum").current_dir(&folder).arg("--").args(&names))?;
    fs::write(folder.join("SHA256SUMS"), &sums)?;
    ui::say(&format!("{}:\n{sums}", folder.display()));
    ui::say("push one:  skopeo copy oci-archive:FILE docker://HOST/PATH/NAME:TAG");
    Ok(())
}

/// What goes into one image.
struct Recipe {
    name: &'static str,
    title: &'static str,
    /// The package whose dependencies the SBOM lists.
    packages: &'static [&'static str],
    files: Vec<PathBuf>,
    user: u32,
}

fn recipes(built: &Contained) -> Vec<Recipe> {
    let wrapper = &built.wrapper;
    vec![
        Recipe {
            name: "cloudtaser-agent",
            title: "Denies every road to the memory of guarded processes",
            packages: &["cloudtaser-agent", "cloudtaser-wrapper"],
            // The wrapper beside it is there for its digest.
            files: vec![built.agent.clone(), wrapper.clone()],
            user: ROOT,
        },
        Recipe {
            name: "cloudtaser-beacon",
            title: "Pairs tunnels that it cannot read",
            packages: &["cloudtaser-relay"],
            files: vec![built.relay.beacon.clone()],
            user: USER,
        },
        Recipe {
            name: "cloudtaser-bridge",
            title: "Brings tunnels to an OpenBao without an open port",
            packages: &["cloudtaser-relay"],
            files: vec![built.relay.bridge.clone()],
            user: USER,
        },
        Recipe {
            name: "cloudtaser-broker",
            title: "Carries the cluster's sessions to a bridge, and reads none",
            packages: &["cloudtaser-relay"],
            files: vec![built.relay.broker.clone()],
            user: USER,
        },
        Recipe {
            name: "cloudtaser-wrapper",
            title: "Starts a program with secrets in sealed memory",
            packages: &["cloudtaser-wrapper"],
            files: vec![wrapper.clone()],
            user: USER,
        },
        Recipe {
            name: "cloudtaser-operator",
            title: "Takes opted-in pods in hand as they are created",
            packages: &["cloudtaser-operator"],
            files: vec![built.operator.clone()],
            user: USER,
        },
    ]
}

fn pack(recipe: &Recipe) -> anyhow::Result<Vec<u8>> {
    let mut entries = Vec::new();
    for file in &recipe.files {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.file_name().and_then(|name| name.to_str());
        entries.push(tar::Entry::program(name.context("a program without a name")?, bytes));
    }
    let sbom = sbom::of(recipe.name, recipe.packages)?;
    Image {
        name: recipe.name,
        title: recipe.title,
        version: &version()?,
        architecture: architecture()?,
        user: recipe.user,
        reference: None,
        layers: vec![
            entries,
            vec![
                tar::Entry::folder("usr"),
                tar::Entry::folder("usr/share"),
                tar::Entry::folder("usr/share/sbom"),
                tar::Entry::file(&format!("usr/share/sbom/{}.cdx.json", recipe.name), sbom),
            ],
        ],
    }
    .archive()
}

fn architecture() -> anyhow::Result<&'static str> {
    Ok(match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => bail!("no name for images of {other}"),
    })
}

/// That of the workspace.
fn version() -> anyhow::Result<String> {
    let manifest = fs::read_to_string(place::root().join("Cargo.toml"))?;
    let version = manifest.lines().find_map(|l| l.strip_prefix("version = \"")?.strip_suffix('"'));
    Ok(version.context("the workspace has no version")?.to_owned())
}

#[cfg(test)]
mod tests;
