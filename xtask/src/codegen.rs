//! `cargo xtask codegen`: manual pages, shell completions, the Helm chart, and pages about rules and needs, made from what the programs say of
//! themselves, and the check that the tree has them as they would be made now.
//!
//! `cloudtaser` writes its own; those of beacon, bridge and broker are written by an example beside
//! them. The wrapper has no library for that, being copied into every pod,
//! so its files are made here from the text of its `--help`.

mod wrapper;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::command::{self, cargo};
use crate::place;
use crate::ui;

/// Folders that hold nothing but what is made here.
const FOLDERS: [&str; 7] = [
    "completions/bash",
    "completions/fish",
    "completions/zsh",
    "deploy/helm/cloudtaser",
    "deploy/helm/cloudtaser/templates",
    "docs/man",
    "docs/rules",
];

/// Files that are made here, in folders of which the rest is not.
const FILES: [&str; 1] = ["docs/syscalls.md"];

/// Shells, with what they want before and after a program's name to find its completions.
const SHELLS: [(&str, &str, &str); 3] = [("bash", "", ""), ("fish", "", ".fish"), ("zsh", "_", "")];

type Files = BTreeMap<PathBuf, String>;

/// The verb: writes the files, and removes those that are made no more.
pub(crate) fn run() -> anyhow::Result<()> {
    let made = make()?;
    for old in found()?.keys().filter(|old| !made.contains_key(*old)) {
        fs::remove_file(place::root().join(old))?;
    }
    for (path, text) in &made {
        let path = place::root().join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    ui::say(&format!("codegen: {} files in {}", made.len(), FOLDERS.join(", ")));
    Ok(())
}

/// Fails with each file that is not as it would be made now.
pub(crate) fn check() -> anyhow::Result<()> {
    let (made, found) = (make()?, found()?);
    let stale = differing(&made, &found);
    ensure!(stale.is_empty(), "run cargo xtask codegen: {}", stale.join("; "));
    ui::say(&format!("generated files: {} are up to date", made.len()));
    Ok(())
}

fn differing(made: &Files, found: &Files) -> Vec<String> {
    let missing = made.iter().filter_map(|(path, text)| match found.get(path) {
        None => Some(format!("{} is missing", path.display())),
        Some(old) if old != text => Some(format!("{} is out of date", path.display())),
        Some(_) => None,
    });
    let extra = found.keys().filter(|path| !made.contains_key(*path));
    missing.chain(extra.map(|path| format!("{} is made no more", path.display()))).collect()
}

fn make() -> anyhow::Result<Files> {
    let mut made = Files::new();
    let pages = place::target().join("man");
    if pages.is_dir() {
        fs::remove_dir_all(&pages)?;
    }
    fs::create_dir_all(&pages)?;
    let folder = pages.to_str().context("the path of the target folder is not UTF-8")?;
    said_by("cloudtaser", &["man", "--dir", folder])?;
    for (name, text) in files_in(&pages)? {
        made.insert(Path::new("docs/man").join(name), text);
    }
    made.extend(road()?);
    made.extend(chart()?);
    let rules = place::target().join("rules");
    if rules.is_dir() {
        fs::remove_dir_all(&rules)?;
    }
    fs::create_dir_all(&rules)?;
    let folder = rules.to_str().context("the path of the target folder is not UTF-8")?;
    said_by("cloudtaser", &["compose", "explain", "--dir", folder])?;
    for (name, text) in files_in(&rules)? {
        made.insert(Path::new("docs/rules").join(name), text);
    }
    let needs = said_by("cloudtaser", &["compose", "export", "markdown"])?;
    made.insert("docs/syscalls.md".into(), needs);
    let help = said_by("cloudtaser-wrapper", &["--help"])?;
    let version = said_by("cloudtaser-wrapper", &["--version"])?;
    let wrapper = wrapper::Help::parse(&help)?;
    made.insert("docs/man/cloudtaser-wrapper.1".into(), wrapper.page(version.trim()));
    for (shell, before, after) in SHELLS {
        let folder = Path::new("completions").join(shell);
        let file = |program| format!("{before}{program}{after}");
        let own = said_by("cloudtaser", &["completions", shell])?;
        made.insert(folder.join(file("cloudtaser")), own);
        made.insert(folder.join(file("cloudtaser-wrapper")), wrapper.completions(shell));
    }
    Ok(made)
}

/// Pages and completions of beacon, bridge and broker. Their pages take the place of those that
/// `cloudtaser` has for the verbs that start them.
fn road() -> anyhow::Result<Files> {
    let scratch = place::target().join("road");
    if scratch.is_dir() {
        fs::remove_dir_all(&scratch)?;
    }
    let mut run = cargo(["run", "--quiet", "--locked", "--package", "cloudtaser-relay"]);
    command::run(run.args(["--example", "manual", "--"]).arg(&scratch).env("COLUMNS", "100"))?;
    let mut made = Files::new();
    let folders = SHELLS.iter().map(|(shell, ..)| (*shell, Path::new("completions").join(shell)));
    for (from, to) in folders.chain([("man", PathBuf::from("docs/man"))]) {
        let files = files_in(&scratch.join(from))?.into_iter();
        made.extend(files.map(|(name, text)| (to.join(name), text)));
    }
    Ok(made)
}

/// The Helm chart, as `cloudtaser install` writes it.
fn chart() -> anyhow::Result<Files> {
    let scratch = place::target().join("chart");
    if scratch.is_dir() {
        fs::remove_dir_all(&scratch)?;
    }
    let folder = scratch.to_str().context("the path of the target folder is not UTF-8")?;
    said_by("cloudtaser", &["install", "--chart", folder])?;
    let mut made = Files::new();
    for inner in ["", "templates"] {
        let to = Path::new("deploy/helm/cloudtaser").join(inner);
        let files = files_in(&scratch.join(inner))?;
        made.extend(files.into_iter().map(|(name, text)| (to.join(name), text)));
    }
    Ok(made)
}

/// What one of our programs prints.
fn said_by(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut run = cargo(["run", "--quiet", "--locked", "--package", program, "--bin", program]);
    run.arg("--").args(arguments);
    // Help is as wide as the terminal otherwise.
    run.env("COLUMNS", "100");
    command::read(&mut run)
}

fn found() -> anyhow::Result<Files> {
    let mut found = Files::new();
    for folder in FOLDERS {
        let full = place::root().join(folder);
        if full.is_dir() {
            let files = files_in(&full)?.into_iter();
            found.extend(files.map(|(name, text)| (Path::new(folder).join(name), text)));
        }
    }
    for path in FILES {
        if let Ok(text) = fs::read_to_string(place::root().join(path)) {
            found.insert(path.into(), text);
        }
    }
    Ok(found)
}

fn files_in(folder: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if path.is_dir() {
            continue;
        }
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        files.push((entry.file_name().into(), text));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_drift_is_named() {
        let files = |each: &[(&str, &str)]| {
            each.iter().map(|(path, text)| (path.into(), (*text).to_owned())).collect::<Files>()
        };
        let made = files(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let found = files(&[("a", "1"), ("b", "2"), ("d", "1")]);
        assert_eq!(
            differing(&made, &found),
            ["b is out of date", "c is missing", "d is made no more"]
        );
        assert_eq!(differing(&made, &made), [""; 0]);
    }
}
