//! Rules K1 to K18: KubeArmor's policies and settings.
//!
//! What a policy does depends on the others: one Allow anywhere makes an allow-list of a section,
//! and what every policy of a pod allows adds up. So allow-lists are judged over all policies that
//! select the same pods ([`Allowed`]), and blocks one by one.

mod files;
mod host;
mod network;
mod policy;
mod posture;
mod presets;
mod process;

use crate::{
    cluster::Workload,
    desk::Desk,
    edit::{self, Piece},
    finding::{Exception, Finding},
    object::{Kind, Object},
    selector::{Selects, at_least_as_wide},
    tree::Node,
};

use policy::{Action, Item};
use posture::Postures;
pub(crate) use posture::settings as check_settings;

/// Given up when a policy is kept from pods of ours.
const COSTS: &str = "the whole policy no longer applies to pods of ours: what else it held there \
                     has to be held otherwise";

/// What all policies together allow to the pods of one policy.
#[derive(Debug)]
pub(crate) struct Allowed<'a> {
    process: Vec<Item<'a>>,
    file: Vec<Item<'a>>,
    network: Vec<Item<'a>>,
}

impl<'a> Allowed<'a> {
    fn of(desk: &Desk<'_>, objects: &'a [Object]) -> Self {
        let mut allowed = Self { process: Vec::new(), file: Vec::new(), network: Vec::new() };
        let policies = objects.iter().filter(|object| {
            matches!(object.kind, Kind::KubeArmorClusterPolicy | Kind::KubeArmorPolicy)
        });
        for object in policies {
            let all = desk.selected.iter().all(|workload| {
                let chosen = selects(object, workload);
                chosen == Selects::Yes || (chosen > Selects::No && holds_too(desk.object, object))
            });
            let Some(spec) = object.root.get("spec").filter(|_| all) else { continue };
            allowed.process.extend(policy::path_items(spec, "process"));
            allowed.file.extend(policy::path_items(spec, "file"));
            allowed.network.extend(protocols(spec));
        }
        for list in [&mut allowed.process, &mut allowed.file, &mut allowed.network] {
            list.retain(|item| item.action == Action::Allow);
        }
        allowed
    }
}

/// Whether a policy holds for all pods of another one, where the pods were not given.
fn holds_too(own: &Object, other: &Object) -> bool {
    const SELECTOR: &[&str] = &["spec", "selector"];
    let home = other.kind == Kind::KubeArmorClusterPolicy || other.namespace() == own.namespace();
    home && at_least_as_wide(other.root.at(SELECTOR), own.root.at(SELECTOR))
}

fn protocols(spec: &Node) -> Vec<Item<'_>> {
    policy::word_items(spec, "network", "matchProtocols", "protocol")
}

/// Whether a policy for containers selects a workload.
pub(crate) fn selects(object: &Object, workload: &Workload) -> Selects {
    let selector = object.root.at(&["spec", "selector"]);
    let expressions = selector.map_or(&[][..], |selector| selector.list("matchExpressions"));
    // As the agent does: a NotIn that follows an In is not looked at.
    let mut answer = Selects::Yes;
    for key in ["namespace", "label"] {
        let mut seen_in = false;
        for expression in expressions.iter().filter(|e| e.word("key") == Some(key)) {
            let values = expression.words("values");
            let own = match (key, expression.word("operator")) {
                ("namespace", Some("In")) => one_of(workload, &values),
                ("namespace", Some("NotIn")) if !seen_in => none_of(workload, &values),
                ("label", Some("In")) => workload.labels.has_one_of(&values),
                ("label", Some("NotIn")) if !seen_in => workload.labels.has_none_of(&values),
                _ => Selects::Yes,
            };
            seen_in |= expression.word("operator") == Some("In");
            answer = answer.and(own);
        }
    }
    // The agent leaves these namespaces alone unless it is told otherwise.
    if matches!(workload.namespace.as_deref(), Some("kube-system" | "kubearmor")) {
        return Selects::No;
    }
    match object.kind {
        Kind::KubeArmorPolicy => {
            let labels = selector.map_or(Selects::Yes, |node| workload.labels.match_labels(node));
            let containers = selector.map_or(Selects::Yes, |node| containers(node, workload));
            answer.and(labels).and(containers).and(workload.lives_in(object.namespace()))
        }
        Kind::KubeArmorClusterPolicy => answer,
        _ => Selects::No,
    }
}

/// `kubearmor.io/container.name`: one name, or several in brackets.
fn containers(selector: &Node, workload: &Workload) -> Selects {
    let named = selector.at(&["matchLabels", "kubearmor.io/container.name"]).and_then(Node::text);
    let Some(named) = named.filter(|_| !workload.containers.is_empty()) else {
        return Selects::Yes;
    };
    let mut names = named.trim_matches(['[', ']']).split(',').map(str::trim);
    let there = names.any(|name| {
        let glob = name.trim_matches('"').as_bytes();
        let mut containers = workload.containers.iter();
        containers.any(|container| crate::paths::glob_matches(glob, container.name.as_bytes()))
    });
    if there { Selects::Yes } else { Selects::No }
}

fn one_of(workload: &Workload, namespaces: &[&str]) -> Selects {
    namespaces.iter().map(|name| workload.lives_in(Some(name))).max().unwrap_or(Selects::No)
}

fn none_of(workload: &Workload, namespaces: &[&str]) -> Selects {
    match one_of(workload, namespaces) {
        Selects::Yes => Selects::No,
        Selects::No => Selects::Yes,
        Selects::Perhaps => Selects::Perhaps,
    }
}

/// Judges one policy among all objects.
pub(crate) fn check(desk: &Desk<'_>, objects: &[Object]) -> Vec<Finding> {
    let Some(spec) = desk.object.root.get("spec") else { return Vec::new() };
    match desk.object.kind {
        Kind::KubeArmorHostPolicy => return host::check(desk, spec),
        Kind::KubeArmorNetworkPolicy => return network::node_policy(desk, spec),
        _ => {}
    }
    let postures = Postures::of(desk, objects);
    // Most policies have no Allow, and then what others allow does not matter.
    let lists = policy::has_allow(spec);
    let allowed = Allowed::of(desk, if lists { objects } else { &[] });
    let mut found = presets::check(desk, spec);
    found.extend(process::check(desk, spec, &allowed, &postures));
    found.extend(files::check(desk, spec, &allowed, &postures));
    found.extend(network::check(desk, spec, &allowed, &postures));
    found
}

/// The exception that every policy for containers has: not for pods of ours.
fn not_for_ours(desk: &Desk<'_>, words: &str) -> Exception {
    let label = format!("{}=true", cloudtaser_core::names::LABEL_INJECT);
    let item = Piece::Map(vec![
        ("key", Piece::text("label")),
        ("operator", Piece::text("NotIn")),
        ("values", Piece::texts(&[label])),
    ]);
    let list = Piece::List(vec![item.clone()]);
    let selector = Piece::Map(vec![("matchExpressions", list.clone())]);
    let spec = desk.object.root.get("spec");
    let edit = spec.and_then(|spec| match (spec.get("selector"), spec.key("selector")) {
        (Some(selector), _) => match selector.get("matchExpressions") {
            // First, since the agent looks at no NotIn behind an In.
            Some(expressions) => edit::prepend(desk.source, expressions, &item)
                .or_else(|| edit::fill(desk.source, selector, "matchExpressions", &list)),
            None => edit::add(desk.source, selector, "matchExpressions", &list),
        },
        (None, Some(_)) => edit::fill(desk.source, spec, "selector", &selector),
        (None, None) => edit::add(desk.source, spec, "selector", &selector),
    });
    let text = Piece::Map(vec![("selector", selector)]).block().join("\n");
    Exception {
        words: words.to_owned(),
        text,
        edits: edit.into_iter().collect(),
        costs: Some(COSTS),
    }
}

/// The exception of an allow-list: one more entry in a list that allows already.
fn also_allow(
    desk: &Desk<'_>,
    spec: &Node,
    section: &'static str,
    list: &'static str,
    entries: Vec<Piece>,
    words: &str,
) -> Exception {
    let part = spec.get(section);
    let wanted = Piece::List(entries.clone());
    let edits: Option<Vec<_>> = part.and_then(|part| match part.get(list) {
        Some(there) => {
            entries.iter().map(|entry| edit::append(desk.source, there, entry)).collect()
        }
        None if part.key(list).is_some() => {
            Some(vec![edit::fill(desk.source, part, list, &wanted)?])
        }
        None => Some(vec![edit::add(desk.source, part, list, &wanted)?]),
    });
    let text = Piece::Map(vec![(section, Piece::Map(vec![(list, wanted)]))]).block().join("\n");
    let edits = edit::merged(edits.unwrap_or_default());
    Exception { words: words.to_owned(), text, edits, costs: None }
}

/// An entry that allows a path.
fn allow_path(key: &'static str, path: &str) -> Piece {
    let mut entry = vec![(key, Piece::text(path))];
    if key == "dir" {
        entry.push(("recursive", Piece::bare(true)));
    }
    entry.push(("action", Piece::text("Allow")));
    Piece::Map(entry)
}

/// An entry that allows something to one program.
fn allow_from(program: &str, key: &'static str, value: &str) -> Piece {
    let source = Piece::List(vec![Piece::Map(vec![("path", Piece::text(program))])]);
    Piece::Map(vec![
        (key, Piece::text(value)),
        ("fromSource", source),
        ("action", Piece::text("Allow")),
    ])
}
