//! A tracing policy as hooks with selectors.

use crate::tree::Node;

/// What a hook is attached to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Family {
    Fentry,
    Kprobe,
    Lsm,
    Tracepoint,
    Uprobe,
    Usdt,
}

/// One hook of a policy.
#[derive(Clone, Debug)]
pub(super) struct Hook<'a> {
    pub(super) family: Family,
    pub(super) node: &'a Node,
    /// What it is attached to, as written.
    pub(super) name: String,
    pub(super) name_node: &'a Node,
    pub(super) selectors: Vec<Selector<'a>>,
}

/// A selector, with the macros that it names.
#[derive(Clone, Debug)]
pub(super) struct Selector<'a> {
    pub(super) node: &'a Node,
    macros: Vec<&'a Node>,
}

impl<'a> Selector<'a> {
    /// The filters of one kind, its own and those of its macros.
    pub(super) fn filters(&self, key: &str) -> Vec<&'a Node> {
        let all = std::iter::once(&self.node).chain(&self.macros);
        all.flat_map(|node| node.list(key)).collect()
    }

    pub(super) fn actions(&self) -> Vec<&'a Node> {
        ["matchActions", "matchReturnActions"].iter().flat_map(|key| self.filters(key)).collect()
    }

    /// The action that makes a call fail or ends the caller.
    pub(super) fn enforces(&self) -> Option<&'a Node> {
        self.actions().into_iter().find(|action| {
            action.word("action").is_some_and(|name| {
                let name = name.to_ascii_lowercase();
                matches!(
                    name.as_str(),
                    "sigkill" | "signal" | "override" | "notifyenforcer" | "notifykiller"
                ) && !harmless(action)
            })
        })
    }

    /// Whether it has no filter but this.
    pub(super) fn only_has(&self, key: &str) -> bool {
        let entries = std::iter::once(self.node).chain(self.macros.iter().copied());
        entries.flat_map(Node::entries).all(|(name, value)| {
            let name = name.text().unwrap_or_default();
            name == key
                || !name.starts_with("match")
                || name.ends_with("Actions")
                || value.is_null()
        })
    }
}

/// A signal of number 0 ends nobody.
fn harmless(action: &Node) -> bool {
    action.word("action").is_some_and(|name| name.eq_ignore_ascii_case("signal"))
        && action.word("argSig") == Some("0")
}

const LISTS: [(&str, Family); 6] = [
    ("kprobes", Family::Kprobe),
    ("fentries", Family::Fentry),
    ("tracepoints", Family::Tracepoint),
    ("lsmhooks", Family::Lsm),
    ("uprobes", Family::Uprobe),
    ("usdts", Family::Usdt),
];

/// All hooks of a policy.
pub(super) fn hooks(spec: &Node) -> Vec<Hook<'_>> {
    let mut hooks = Vec::new();
    for (list, family) in LISTS {
        for node in spec.list(list) {
            hooks.extend(hook(spec, node, family));
        }
    }
    hooks
}

fn hook<'a>(spec: &'a Node, node: &'a Node, family: Family) -> Option<Hook<'a>> {
    let key = match family {
        Family::Kprobe | Family::Fentry => "call",
        Family::Tracepoint => "event",
        Family::Lsm => "hook",
        Family::Uprobe | Family::Usdt => "path",
    };
    let name_node = node.get(key)?;
    let name = match family {
        Family::Tracepoint => {
            format!("{}/{}", node.word("subsystem").unwrap_or_default(), name_node.text()?)
        }
        _ => name_node.text()?.to_owned(),
    };
    let selectors = node.list("selectors").iter().map(|own| {
        let named = own.words("macros");
        let macros = named.iter().filter_map(|name| macro_named(spec, name)).collect();
        Selector { node: own, macros }
    });
    Some(Hook { family, node, name, name_node, selectors: selectors.collect() })
}

/// A macro: entries of a mapping, or items with a name.
fn macro_named<'a>(spec: &'a Node, name: &str) -> Option<&'a Node> {
    let all = spec.get("selectorsMacros")?;
    all.get(name).or_else(|| all.items().iter().find(|item| item.word("name") == Some(name)))
}

/// The value of an option of the policy.
pub(super) fn option<'a>(spec: &'a Node, name: &str) -> Option<&'a Node> {
    let mut options = spec.list("options").iter();
    options.find(|option| option.word("name") == Some(name))?.get("value")
}

/// The values of a list that is called `list:NAME`.
pub(super) fn list<'a>(spec: &'a Node, reference: &str) -> Option<&'a Node> {
    let name = reference.strip_prefix("list:")?;
    spec.list("lists").iter().find(|list| list.word("name") == Some(name))
}

/// A system call's name without what kernels and policies write before it.
pub(super) fn call_name(name: &str) -> Option<&str> {
    const TRACEPOINT: &[&str] = &["sys_enter_", "sys_exit_"];
    const FUNCTION: &[&str] = &["__x64_sys_", "__arm64_sys_", "__se_sys_", "__do_sys_", "sys_"];
    // `sys_exit_group` is a call, `syscalls/sys_exit_group` is the end of one called `group`.
    let (name, prefixes) = match name.rsplit_once('/') {
        Some((_, event)) => (event, TRACEPOINT),
        None => (name, FUNCTION),
    };
    prefixes.iter().find_map(|prefix| name.strip_prefix(prefix))
}
