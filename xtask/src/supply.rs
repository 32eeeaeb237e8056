//! The supply chain: banned crates, licences and sources, as `deny.toml` says.
//!
//! cargo-deny judges where it is installed. It takes longer to build than the whole workspace, so
//! elsewhere this module reads the same `deny.toml` and judges by cargo's own tree. It knows fewer
//! rules (no wildcards, no licence texts) and says which of the two was at work.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, ensure};

use crate::command::{self, cargo, read, succeeds};
use crate::place;
use crate::spdx;
use crate::ui;

/// Where every crate that is not ours comes from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Fails with each crate that `deny.toml` does not allow.
pub(crate) fn check() -> anyhow::Result<()> {
    if succeeds(&mut cargo(["deny", "--version"])) {
        ui::say("supply chain: by cargo-deny");
        let mut deny = cargo(["deny", "--locked", "check", "--hide-inclusion-graph", "bans"]);
        return command::run(deny.args(["licenses", "sources"]));
    }
    let policy = Policy::parse(&fs::read_to_string(place::root().join("deny.toml"))?)?;
    let mut broken = foreign_sources(&fs::read_to_string(place::root().join("Cargo.lock"))?);
    let mut crates = BTreeSet::new();
    for target in &policy.targets {
        let mut tree =
            cargo(["tree", "--locked", "--workspace", "--edges=normal,build,dev", "--prefix=none"]);
        let text = read(tree.args(["--format={p}\t{l}", "--target", target]))?;
        let lines = text.lines().filter(|line| !line.is_empty());
        crates.extend(lines.map(|line| line.trim_end_matches(" (*)").to_owned()));
    }
    for line in &crates {
        broken.extend(policy.judge(line));
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    let count = crates.len();
    ui::say(&format!("supply chain: {count} crates allowed (own check; cargo-deny is not here)"));
    Ok(())
}

/// The part of `deny.toml` that this module can judge by.
#[derive(Debug, Default)]
struct Policy {
    targets: Vec<String>,
    licences: Vec<String>,
    banned: Vec<String>,
}

impl Policy {
    /// Reads the arrays of our own file; it is not a TOML reader, so it fails when one is empty.
    fn parse(text: &str) -> anyhow::Result<Self> {
        let banned = array(text, "bans", "deny").context("deny.toml: [bans] has no deny")?;
        let targets = array(text, "graph", "targets").context("deny.toml: [graph] targets")?;
        let licences = array(text, "licenses", "allow").context("deny.toml: [licenses] allow")?;
        let policy = Self {
            targets: values_of(&targets, "triple"),
            licences: quoted(&licences),
            banned: values_of(&banned, "crate"),
        };
        let whole = [&policy.targets, &policy.licences, &policy.banned];
        ensure!(whole.iter().all(|list| !list.is_empty()), "deny.toml: a list is empty");
        Ok(policy)
    }

    /// What is wrong with a line `name v1.2.3 (…)`, tab, licence.
    fn judge(&self, line: &str) -> Vec<String> {
        let (package, licence) = line.split_once('\t').unwrap_or((line, ""));
        let name = package.split(' ').next().unwrap_or_default();
        let mut broken = Vec::new();
        if self.banned.iter().any(|banned| banned == name) {
            broken.push(format!("{package}: banned by deny.toml"));
        }
        if !spdx::is_allowed(licence, &self.licences) {
            broken.push(format!("{package}: licence `{licence}` is not in deny.toml"));
        }
        broken
    }
}

fn foreign_sources(lock: &str) -> Vec<String> {
    let sources =
        lock.lines().filter_map(|line| line.strip_prefix("source = \"")?.strip_suffix('"'));
    let foreign = sources.filter(|source| *source != REGISTRY);
    foreign.map(|source| format!("Cargo.lock: unknown source {source}")).collect()
}

/// The text between the brackets of `key = […]` in `[section]`, without comments.
fn array(text: &str, section: &str, key: &str) -> Option<String> {
    let bare: Vec<&str> = text.lines().map(|line| line.split('#').next().unwrap_or("")).collect();
    let mut lines = bare.iter().skip_while(|line| line.trim() != format!("[{section}]")).skip(1);
    let start = format!("{key} = [");
    let mut found = lines.by_ref().find_map(|line| line.strip_prefix(&start))?.to_owned();
    while !found.trim_end().ends_with(']') {
        found.push_str(lines.next()?);
    }
    Some(found)
}

fn quoted(text: &str) -> Vec<String> {
    text.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn values_of(text: &str, key: &str) -> Vec<String> {
    let start = format!("{key} = \"");
    text.split(&start).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENY: &str = r#"
[graph]
targets = [{ triple = "x86_64-unknown-linux-gnu" }]
[licenses]
allow = [
    "MIT", # "GPL-3.0" is only in a comment
    "ISC",
]
[bans]
deny = [
    { crate = "ring", reason = "another crate = no" },
    { crate = "openssl" },
]
"#;

    #[test]
    fn our_own_policy_can_be_read() {
        let text = fs::read_to_string(place::root().join("deny.toml")).unwrap();
        let policy = Policy::parse(&text).unwrap();
        assert!(policy.banned.contains(&"ring".to_owned()));
        assert!(policy.licences.contains(&"Apache-2.0".to_owned()));
        assert_eq!(policy.targets.len(), 2);
    }

    #[test]
    fn lists_are_read_without_comments_and_reasons() {
        let policy = Policy::parse(DENY).unwrap();
        assert_eq!(policy.licences, ["MIT", "ISC"]);
        assert_eq!(policy.banned, ["ring", "openssl"]);
    }

    #[test]
    fn a_missing_list_is_no_free_pass() {
        assert!(Policy::parse(&DENY.replace("deny = [", "denied = [")).is_err());
        assert!(Policy::parse(&DENY.replace("crate =", "name =")).is_err());
    }

    #[test]
    fn banned_names_and_licences_are_told() {
        let policy = Policy::parse(DENY).unwrap();
        assert_eq!(policy.judge("serde v1.0.229\tMIT OR GPL-3.0"), [""; 0]);
        assert_eq!(policy.judge("ring v0.17.14\tISC"), ["ring v0.17.14: banned by deny.toml"]);
        assert_eq!(policy.judge("odd v1.0.0\tGPL-3.0").len(), 1);
        assert_eq!(policy.judge("unlicensed v1.0.0\t").len(), 1);
    }

    #[test]
    fn only_the_registry_is_a_source() {
        let lock = format!("source = \"{REGISTRY}\"\nsource = \"git+https://example.org/x\"\n");
        assert_eq!(
            foreign_sources(&lock),
            ["Cargo.lock: unknown source git+https://example.org/x"]
        );
    }
}
