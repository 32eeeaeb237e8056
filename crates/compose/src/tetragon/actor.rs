//! Who makes a call, and whether filters about processes let it pass.

use cloudtaser_core::needs::Program;

use super::policy::Selector;
use crate::{desk::Desk, selector::Selects, tree::Node};

/// A process of ours.
#[derive(Clone, Debug)]
pub(super) struct Actor {
    pub(super) program: Program,
    /// What it executes; of an app that nobody described, nothing is known.
    pub(super) binary: Option<String>,
}

impl Actor {
    /// A program of ours as a filter sees it.
    pub(super) fn all(desk: &Desk<'_>, program: Program) -> Vec<Self> {
        let of = |binary: Option<String>| Self { program, binary };
        match program {
            Program::Agent => vec![of(Some(desk.settings.agent.clone()))],
            Program::Wrapper => vec![of(Some(desk.settings.wrapper.clone()))],
            Program::InApp => {
                let known = desk.selected.iter().flat_map(|workload| workload.programs());
                let mut known: Vec<_> = known.map(|path| of(Some(path.to_owned()))).collect();
                if known.is_empty() {
                    known.push(of(None));
                }
                known
            }
        }
    }

    /// Whether a selector's filters about processes can be true of it.
    pub(super) fn passes(&self, desk: &Desk<'_>, selector: &Selector<'_>, execs: bool) -> bool {
        self.binaries(selector)
            && selector
                .filters("matchParentBinaries")
                .iter()
                .all(|filter| self.parent(desk, filter))
            && selector.filters("matchPIDs").iter().all(|filter| self.pid(filter, execs))
            && selector.filters("matchNamespaces").iter().all(|filter| self.namespace(desk, filter))
            && selector.filters("matchNamespaceChanges").is_empty()
            && selector.filters("matchCapabilityChanges").is_empty()
            && selector.filters("matchCapabilities").iter().all(|filter| self.capability(filter))
            && self.workload(desk, selector)
    }

    fn binaries(&self, selector: &Selector<'_>) -> bool {
        selector.filters("matchBinaries").iter().all(|filter| self.binary(filter))
    }

    fn binary(&self, filter: &Node) -> bool {
        let values = filter.words("values");
        let operator = filter.word("operator").unwrap_or_default();
        // Filters without values are not looked at.
        let Some(own) = self.binary.as_deref().filter(|_| !values.is_empty()) else {
            return values.is_empty() || operator.starts_with("Not");
        };
        holds_of_text(operator, &values, own)
    }

    fn parent(&self, desk: &Desk<'_>, filter: &Node) -> bool {
        let values = filter.words("values");
        let operator = filter.word("operator").unwrap_or_default();
        match self.program {
            Program::InApp => holds_of_text(operator, &values, &desk.settings.wrapper),
            // The container's runtime, by a path that differs between nodes.
            Program::Agent | Program::Wrapper => operator.starts_with("Not"),
        }
    }

    fn pid(&self, filter: &Node, execs: bool) -> bool {
        let first = filter.words("values").contains(&"1") && filter.says("isNamespacePID");
        match filter.word("operator") {
            Some("In") => first && self.program == Program::Wrapper,
            // The wrapper is the first process of its container; its child executes the app.
            Some("NotIn") if first => {
                !filter.says("followForks") && (execs || self.program != Program::Wrapper)
            }
            _ => true,
        }
    }

    fn namespace(&self, desk: &Desk<'_>, filter: &Node) -> bool {
        let host = filter.words("values").contains(&"host_ns");
        if !host {
            // Numbers of namespaces are not known beforehand.
            return filter.word("operator") != Some("In");
        }
        let shared = match (self.program, filter.word("namespace").unwrap_or_default()) {
            (Program::Agent, "Pid" | "PidForChildren" | "Cgroup") => true,
            (Program::Agent, _) => false,
            (_, "User") => return true,
            (_, "Net") => {
                desk.selected.iter().any(|workload| workload.host_network && !workload.assumed)
            }
            _ => false,
        };
        (filter.word("operator") == Some("In")) == shared
    }

    fn capability(&self, filter: &Node) -> bool {
        let values = filter.words("values");
        let known = |name: &&str| match self.program {
            Program::Agent => true,
            // What container runtimes leave to a container that drops nothing.
            _ => DEFAULT_CAPABILITIES.contains(&name.trim_start_matches("CAP_")),
        };
        match filter.word("operator") {
            Some("In") => values.iter().any(known),
            _ => true,
        }
    }

    fn workload(&self, desk: &Desk<'_>, selector: &Selector<'_>) -> bool {
        let Some(filter) = selector.node.get("matchWorkloads") else { return true };
        if self.program == Program::Agent {
            return false;
        }
        let chosen = desk.selected.iter().map(|workload| super::pods_of(filter, workload));
        chosen.max().unwrap_or(Selects::No) > Selects::No
    }
}

const DEFAULT_CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Whether an operator about texts is true of one; of one that is unknown, it may be.
pub(super) fn holds_of_text(operator: &str, values: &[&str], own: &str) -> bool {
    let any = |test: &dyn Fn(&str) -> bool| values.iter().any(|value| test(value));
    let lower = operator.to_ascii_lowercase();
    match lower.as_str() {
        "in" | "equal" | "eq" => any(&|value| value == own),
        "notin" | "notequal" | "neq" => !any(&|value| value == own),
        "prefix" => any(&|value| own.starts_with(value)),
        "notprefix" => !any(&|value| own.starts_with(value)),
        "postfix" => any(&|value| own.ends_with(value)),
        "notpostfix" => !any(&|value| own.ends_with(value)),
        "substring" => any(&|value| own.contains(value)),
        "substringigncase" => {
            let own = own.to_ascii_lowercase();
            any(&|value| own.contains(&value.to_ascii_lowercase()))
        }
        _ => true,
    }
}
