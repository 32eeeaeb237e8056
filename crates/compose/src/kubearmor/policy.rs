//! A KubeArmor policy as items, each with the action that holds for it.

use std::ops::Range;

use crate::{paths::Pattern, tree::Node};

/// What happens to what an item matches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Action {
    Allow,
    Audit,
    Block,
}

impl Action {
    /// Old policies write `BlockWithAudit`; case is forgiven as the agent forgives it.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text.starts_with("allow") {
            Some(Self::Allow)
        } else if text.starts_with("block") {
            Some(Self::Block)
        } else {
            text.starts_with("audit").then_some(Self::Audit)
        }
    }

    /// Item before section before spec; Block where nobody says.
    pub(super) fn effective(levels: &[&Node]) -> Self {
        let said = levels.iter().filter_map(|node| Self::parse(node.word("action")?));
        said.into_iter().next().unwrap_or(Self::Block)
    }
}

/// One entry of a section.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    pub(super) node: &'a Node,
    /// What it matches: a path, a protocol, a capability.
    pub(super) target: &'a str,
    pub(super) span: Range<usize>,
    pub(super) pattern: Pattern<'a>,
    pub(super) action: Action,
    pub(super) sources: Vec<&'a str>,
    pub(super) read_only: bool,
    pub(super) owner_only: bool,
    /// Whether it is about processes at a terminal alone.
    pub(super) at_terminals: bool,
}

impl Item<'_> {
    /// Whether it holds for a program, which is the parent where an exec is judged.
    pub(super) fn is_from(&self, program: &str) -> bool {
        self.sources.is_empty() || self.sources.contains(&program)
    }

    /// Whether it refuses what it matches, to everyone or to this program.
    pub(super) fn refuses(&self, program: &str) -> bool {
        self.action == Action::Block && !self.at_terminals && self.is_from(program)
    }
}

/// Whether anything in a policy says Allow.
pub(super) fn has_allow(node: &Node) -> bool {
    let own = node.word("action").and_then(Action::parse) == Some(Action::Allow);
    let below = node.entries().iter().map(|(_, value)| value).chain(node.items());
    own || below.into_iter().any(has_allow)
}

/// The entries of a section that has paths.
pub(super) fn path_items<'a>(spec: &'a Node, section: &str) -> Vec<Item<'a>> {
    let Some(part) = spec.get(section) else { return Vec::new() };
    let mut items = Vec::new();
    for node in part.list("matchPaths") {
        if let Some(target) = node.get("path") {
            items.extend(item(spec, part, node, target, Pattern::Exactly));
        } else if let Some(target) = node.get("execname") {
            items.extend(item(spec, part, node, target, Pattern::Name));
        }
    }
    for node in part.list("matchDirectories") {
        let recursive = node.says("recursive");
        if let Some(target) = node.get("dir") {
            let folder = |path| Pattern::Folder { path, recursive };
            items.extend(item(spec, part, node, target, folder));
        }
    }
    for node in part.list("matchPatterns") {
        if let Some(target) = node.get("pattern") {
            items.extend(item(spec, part, node, target, Pattern::Glob));
        }
    }
    items
}

/// The entries of a section that has words, such as protocols.
pub(super) fn word_items<'a>(
    spec: &'a Node,
    section: &str,
    list: &str,
    key: &str,
) -> Vec<Item<'a>> {
    let Some(part) = spec.get(section) else { return Vec::new() };
    let entries = part.list(list).iter();
    let items = entries.filter_map(|node| item(spec, part, node, node.get(key)?, Pattern::Exactly));
    items.collect()
}

fn item<'a>(
    spec: &'a Node,
    section: &'a Node,
    node: &'a Node,
    target: &'a Node,
    pattern: impl Fn(&'a str) -> Pattern<'a>,
) -> Option<Item<'a>> {
    let text = target.text()?;
    let sources = node.list("fromSource").iter();
    Some(Item {
        node,
        target: text,
        span: target.span.clone(),
        pattern: pattern(text),
        action: Action::effective(&[node, section, spec]),
        sources: sources
            .filter_map(|source| source.word("path").or_else(|| source.word("dir")))
            .collect(),
        read_only: node.says("readOnly"),
        owner_only: node.says("ownerOnly"),
        at_terminals: node.word("pts") == Some("false"),
    })
}
