//! N1, N2: NetworkPolicies add up; what all of them together do not let out stays inside.

use cloudtaser_core::needs::Step;

use crate::{
    cluster::Workload,
    desk::{Desk, Draft},
    edit::{self, Piece},
    finding::{Exception, Finding, Severity},
    object::{Kind, Object},
    peers::{Peer, reaches, reaches_dns},
    selector::{Selects, at_least_as_wide},
    tree::Node,
};

/// Whether a NetworkPolicy selects a workload.
pub(crate) fn selects(object: &Object, workload: &Workload) -> Selects {
    let selector = object.root.at(&["spec", "podSelector"]);
    let labels = selector.map_or(Selects::Yes, |node| workload.labels.chosen_by(node));
    labels.and(workload.lives_in(object.namespace()))
}

/// Whether it restricts what goes out.
fn restricts(object: &Object) -> bool {
    let Some(spec) = object.root.get("spec") else { return false };
    match spec.get("policyTypes") {
        Some(_) => spec.words("policyTypes").contains(&"Egress"),
        None => spec.get("egress").is_some(),
    }
}

/// Whether another policy restricts what this one is about too.
fn adds_up(own: &Object, other: &Object, workload: &Workload) -> bool {
    if other.kind != Kind::NetworkPolicy || !restricts(other) {
        return false;
    }
    const SELECTOR: &[&str] = &["spec", "podSelector"];
    match selects(other, workload) {
        Selects::No => false,
        Selects::Perhaps => {
            other.namespace() == own.namespace()
                && at_least_as_wide(other.root.at(SELECTOR), own.root.at(SELECTOR))
        }
        Selects::Yes => true,
    }
}

/// Judges one NetworkPolicy together with the others.
pub(crate) fn check(desk: &Desk<'_>, objects: &[Object]) -> Vec<Finding> {
    if !restricts(desk.object) {
        return Vec::new();
    }
    // One finding for a pod, at the first policy that is about it.
    let Some(about) = desk.selected.iter().find_map(|workload| {
        let about: Vec<&Object> =
            objects.iter().filter(|other| adds_up(desk.object, other, workload)).collect();
        let first = about.iter().find(|other| adds_up(other, desk.object, workload));
        first.is_some_and(|first| std::ptr::eq(*first, desk.object)).then_some(about)
    }) else {
        return Vec::new();
    };
    let rules: Vec<&Node> = about
        .into_iter()
        .filter_map(|object| object.root.get("spec"))
        .flat_map(|spec| spec.list("egress"))
        .collect();
    let mut found = Vec::new();
    if let Some(peer) = desk.unreached(|peer| rules.iter().any(|rule| reaches(rule, peer))) {
        found.extend(missing(desk, "N1", &peer.to_string(), to_peer(&peer)));
    }
    let named = desk.peers().iter().any(Peer::is_named);
    if named && !rules.iter().any(|rule| reaches_dns(rule)) {
        found.extend(missing(desk, "N2", "DNS (UDP port 53)", to_port("UDP", 53)));
    }
    found
}

fn to_port(protocol: &str, port: u16) -> Vec<(&'static str, Piece)> {
    let entry = Piece::Map(vec![("protocol", Piece::text(protocol)), ("port", Piece::bare(port))]);
    vec![("ports", Piece::List(vec![entry]))]
}

fn to_peer(peer: &Peer) -> Vec<(&'static str, Piece)> {
    let block = peer.address().map(|address| {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let block = Piece::Map(vec![("cidr", Piece::text(format!("{address}/{bits}")))]);
        ("to", Piece::List(vec![Piece::Map(vec![("ipBlock", block)])]))
    });
    block.into_iter().chain(to_port("TCP", peer.port)).collect()
}

fn missing(
    desk: &Desk<'_>,
    rule: &'static str,
    what: &str,
    entry: Vec<(&'static str, Piece)>,
) -> Option<Finding> {
    let spec = desk.object.root.get("spec")?;
    let narrow = entry.iter().any(|(key, _)| *key == "to");
    let entry = Piece::Map(entry);
    let list = Piece::List(vec![entry.clone()]);
    let edit = match spec.get("egress") {
        Some(egress) => edit::append(desk.source, egress, &entry)
            .or_else(|| edit::fill(desk.source, spec, "egress", &list)),
        None if spec.key("egress").is_some() => edit::fill(desk.source, spec, "egress", &list),
        None => edit::add(desk.source, spec, "egress", &list),
    };
    let at = spec.key("egress").or_else(|| spec.key("policyTypes")).map(|key| key.span.clone());
    desk.finding(Draft {
        rule,
        severity: Severity::Breaks,
        span: at.unwrap_or_else(|| desk.object.anchor()),
        step: Step::Connect,
        words: format!("{what} is not among what these pods may reach"),
        exception: Some(Exception {
            words: "let it out".to_owned(),
            text: Piece::Map(vec![("egress", list)]).block().join("\n"),
            edits: edit.into_iter().collect(),
            costs: (!narrow).then_some(
                "the port is open to every address: narrow it by `to` where you know the address",
            ),
        }),
    })
}
