//! Who may depend on whom.
//!
//! Cargo cannot say "the wrapper never links an async runtime", and a review forgets it. This asks
//! `cargo tree -p`, which resolves one package with its own features only; `cargo metadata` would
//! mix in features that other members turn on. Development dependencies are free.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, ensure};

use crate::command::{cargo, read};
use crate::house;
use crate::place;
use crate::supply;
use crate::ui;

/// What one package may and may not reach through normal dependencies.
struct Rule {
    package: &'static str,
    /// Packages of this workspace that it may reach; all others are out.
    ours: &'static [&'static str],
    /// Crates of others that it must not reach.
    never: &'static [&'static str],
}

/// The second crypto provider, or TLS by C code, must not come in by the back door.
const OTHER_CRYPTO: &[&str] = &["ring", "aws-lc-rs", "openssl", "openssl-sys", "native-tls"];

/// A rule for a package that does not exist yet waits for it.
const RULES: &[Rule] = &[
    Rule {
        package: "cloudtaser-core",
        ours: &[],
        never: &["tokio", "rustls", "kube", "k8s-openapi", "libc"],
    },
    Rule { package: "cloudtaser-tls", ours: &["core"], never: &["tokio"] },
    Rule { package: "cloudtaser-sys", ours: &["core"], never: &["tokio", "rustls"] },
    Rule {
        package: "cloudtaser-bao",
        ours: &["core", "tls"],
        never: &["tokio", "reqwest", "hyper"],
    },
    Rule { package: "cloudtaser-evidence", ours: &["core"], never: &["tokio", "rustls", "kube"] },
    Rule { package: "cloudtaser-compose", ours: &["core"], never: &["tokio", "kube"] },
    Rule { package: "cloudtaser-k8s", ours: &["core", "compose"], never: &["tokio", "hyper"] },
    Rule { package: "cloudtaser-road", ours: &["core", "tls"], never: &["tokio", "ureq"] },
    Rule {
        package: "cloudtaser-relay",
        // bao, sys: the bridge reads from OpenBao, and its heap is sealed (docs/adr/0024).
        ours: &["core", "sys", "tls", "bao", "road", "evidence"],
        never: &["kube", "hyper"],
    },
    Rule {
        package: "cloudtaser-wrapper",
        ours: &["core", "sys", "bao", "tls", "road", "evidence"],
        never: &["tokio", "hyper", "kube", "clap", "regex", "tracing-subscriber"],
    },
    Rule {
        package: "cloudtaser-agent",
        ours: &["core", "sys", "evidence"],
        never: &["kube", "hyper"],
    },
    Rule {
        package: "cloudtaser-operator",
        // relay: the broker, without what reads from OpenBao or seals a heap (docs/adr/0047).
        ours: &["core", "tls", "k8s", "compose", "relay", "road"],
        never: &["libbpf-rs"],
    },
    Rule {
        package: "cloudtaser",
        // sys: `probe` attacks processes, and the calls for that are unsafe (docs/adr/0005).
        // road: an invitation is read before it is brought to a cluster.
        ours: &["core", "sys", "tls", "k8s", "compose", "bao", "evidence", "road"],
        never: &["libbpf-rs"],
    },
];

/// The verb: dependencies, supply chain and house rules; tells of all that is broken at once.
pub(crate) fn report() -> anyhow::Result<()> {
    let results = [check(), supply::check(), house::check()];
    let broken: Vec<String> =
        results.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    ensure!(broken.is_empty(), "rules are broken\n{}", broken.join("\n"));
    Ok(())
}

fn check() -> anyhow::Result<()> {
    let members = members()?;
    let mut broken = Vec::new();
    for rule in RULES.iter().filter(|rule| members.iter().any(|name| name == rule.package)) {
        let tree = normal_tree(rule.package)?;
        broken.extend(rule.broken_by(&tree));
    }
    let unruled = members.iter().filter(|name| !RULES.iter().any(|rule| rule.package == **name));
    broken.extend(unruled.map(|name| format!("{name} has no rule in xtask/src/boundaries.rs")));
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    ui::say(&format!("boundaries: {} crates keep their rules", members.len()));
    Ok(())
}

impl Rule {
    fn broken_by(&self, tree: &str) -> Vec<String> {
        let banned = self.never.iter().chain(OTHER_CRYPTO).filter(|name| mentions(tree, name));
        let mut broken: Vec<String> =
            banned.map(|name| format!("{} must not reach {name}", self.package)).collect();
        let reached: BTreeSet<&str> = names(tree).filter(|name| *name != self.package).collect();
        for name in reached {
            // A program's name leaves nothing, or a word that no list has.
            let ours = name.strip_prefix("cloudtaser").map(|rest| rest.trim_start_matches('-'));
            if ours.is_some_and(|short| !self.ours.contains(&short)) {
                broken.push(format!("{} must not depend on {name}", self.package));
            }
        }
        broken
    }
}

/// The packages under `crates/`, by the name in their manifest.
fn members() -> anyhow::Result<Vec<String>> {
    let mut members = Vec::new();
    for entry in fs::read_dir(place::root().join("crates"))? {
        let manifest = entry?.path().join("Cargo.toml");
        let Ok(text) = fs::read_to_string(&manifest) else { continue };
        let name = text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        let name = name.with_context(|| format!("{} has no name", manifest.display()))?;
        members.push(name.to_owned());
    }
    members.sort();
    Ok(members)
}

fn normal_tree(package: &str) -> anyhow::Result<String> {
    read(&mut cargo(["tree", "--locked", "--edges=normal", "--prefix=none", "--package", package]))
}

/// Whether a line of the tree is about this crate: "name v1.2.3 …".
fn mentions(tree: &str, name: &str) -> bool {
    names(tree).any(|found| found == name)
}

fn names(tree: &str) -> impl Iterator<Item = &str> {
    tree.lines().filter_map(|line| line.split(' ').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "\
cloudtaser-wrapper v0.1.0 (/src/crates/wrapper)
cloudtaser-bao v0.1.0 (/src/crates/bao)
tokio-rustls v0.26.6
rustls v0.23.46
cloudtaser-bao v0.1.0 (/src/crates/bao) (*)
";

    fn rule(package: &str) -> &'static Rule {
        RULES.iter().find(|rule| rule.package == package).unwrap()
    }

    #[test]
    fn a_name_is_matched_whole() {
        assert!(mentions(TREE, "rustls"));
        assert!(!mentions(TREE, "tokio"), "tokio-rustls is another crate");
        assert!(!mentions(TREE, "v0.23.46"));
    }

    #[test]
    fn banned_crates_and_other_providers_are_named() {
        let with_two = format!("{TREE}tokio v1.54.1\nring v0.17.14\n");
        assert_eq!(rule("cloudtaser-wrapper").broken_by(TREE), [""; 0]);
        assert_eq!(
            rule("cloudtaser-wrapper").broken_by(&with_two),
            ["cloudtaser-wrapper must not reach tokio", "cloudtaser-wrapper must not reach ring"]
        );
    }

    #[test]
    fn programs_never_depend_on_programs() {
        let tree = "cloudtaser v0.1.0\ncloudtaser-core v0.1.0\ncloudtaser-wrapper v0.1.0\n";
        assert_eq!(
            rule("cloudtaser").broken_by(tree),
            ["cloudtaser must not depend on cloudtaser-wrapper"]
        );
        let library = "cloudtaser-bao v0.1.0\ncloudtaser v0.1.0\n";
        assert_eq!(
            rule("cloudtaser-bao").broken_by(library),
            ["cloudtaser-bao must not depend on cloudtaser"]
        );
    }

    #[test]
    fn core_really_reaches_none_of_ours() {
        let tree = normal_tree("cloudtaser-core").unwrap();
        assert!(mentions(&tree, "serde"), "the tree is real: {tree}");
        assert_eq!(rule("cloudtaser-core").broken_by(&tree), [""; 0]);
    }
}
