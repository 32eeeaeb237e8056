//! C1 to C3: Cilium's network policies.

use cloudtaser_core::needs::Step;

use crate::{
    cluster::Workload,
    desk::{Desk, Draft},
    edit::{self, Piece},
    finding::{Exception, Finding, Severity},
    object::{Kind, Object},
    peers::{Peer, contains},
    selector::{Selects, at_least_as_wide},
    tree::Node,
};

/// The rules of an object: one, or a list.
fn specs(object: &Object) -> impl Iterator<Item = &Node> {
    object.root.get("spec").into_iter().chain(object.root.list("specs"))
}

fn spec_selects(object: &Object, spec: &Node, workload: &Workload) -> Selects {
    // A rule with a node selector is about nodes.
    let Some(selector) = spec.get("endpointSelector") else {
        return if spec.key("endpointSelector").is_some() { Selects::Perhaps } else { Selects::No };
    };
    let namespaced = object.root.word("kind") == Some("CiliumNetworkPolicy");
    let home = if namespaced { workload.lives_in(object.namespace()) } else { Selects::Yes };
    workload.chosen_with_namespace(selector).and(home)
}

/// Whether a policy of Cilium selects a workload.
pub(crate) fn selects(object: &Object, workload: &Workload) -> Selects {
    let all = specs(object).map(|spec| spec_selects(object, spec, workload));
    all.max().unwrap_or(Selects::No)
}

fn restricts(spec: &Node) -> bool {
    let asked = spec.at(&["enableDefaultDeny", "egress"]).and_then(Node::text);
    match asked {
        Some(text) => crate::tree::is_true(text),
        None => spec.key("egress").is_some() || spec.key("egressDeny").is_some(),
    }
}

/// Judges one policy together with the others.
pub(crate) fn check(desk: &Desk<'_>, objects: &[Object]) -> Vec<Finding> {
    let mut found = Vec::new();
    for spec in specs(desk.object) {
        let about = |workload: &&Workload| spec_selects(desk.object, spec, workload) > Selects::No;
        let Some(workload) = desk.selected.iter().copied().find(about) else { continue };
        found.extend(refused(desk, spec));
        found.extend(opened(desk, spec));
        found.extend(missing(desk, spec, workload, objects));
    }
    found
}

/// C2.
fn refused(desk: &Desk<'_>, spec: &Node) -> Option<Finding> {
    let denied = spec.list("egressDeny");
    let peers = desk.peers();
    // A rule for all ports and the whole world is meant for something else when only ports are known.
    let (rule, peer) = denied
        .iter()
        .find_map(|rule| Some((rule, peers.iter().find(|peer| denies(rule, peer))?)))?;
    desk.finding(Draft {
        rule: "C2",
        severity: Severity::Breaks,
        span: rule.entries().first().map_or_else(|| rule.span.clone(), |(key, _)| key.span.clone()),
        step: Step::Connect,
        words: format!("{peer} is denied, and a denial goes before every rule that allows"),
        exception: Some(Exception {
            words: "narrow the denial, or leave pods of ours out of the endpointSelector"
                .to_owned(),
            text: Piece::Map(vec![("endpointSelector", crate::kubernetes_selector::selector())])
                .block()
                .join("\n"),
            edits: exclude(desk, spec).into_iter().collect(),
            costs: Some("the whole rule no longer applies to pods of ours"),
        }),
    })
}

fn exclude(desk: &Desk<'_>, spec: &Node) -> Option<edit::Edit> {
    crate::kubernetes_selector::exclude(desk.source, spec, "endpointSelector")
}

/// C3: a proxy that ends TLS on the way.
fn opened(desk: &Desk<'_>, spec: &Node) -> Option<Finding> {
    let peers = desk.peers();
    let rules = spec.list("egress").iter();
    let key =
        rules.filter(|rule| peers.iter().any(|peer| reaches(rule, peer))).find_map(|rule| {
            rule.list("toPorts").iter().find_map(|ports| ports.key("terminatingTLS"))
        })?;
    desk.finding(Draft {
        rule: "C3",
        severity: Severity::Breaks,
        span: key.span.clone(),
        step: Step::Connect,
        words: "TLS ends at a proxy on the node: its certificate is not the one that the wrapper \
                trusts, and where it is trusted the proxy reads every secret"
            .to_owned(),
        exception: Some(Exception {
            words: "a rule of its own for OpenBao or the beacon, without terminatingTLS".to_owned(),
            text:
                "egress:\n  - toFQDNs:\n      - matchName: bao.example.eu\n    toPorts:\n      - \
                   ports:\n          - port: \"8200\"\n            protocol: TCP"
                    .to_owned(),
            edits: Vec::new(),
            costs: None,
        }),
    })
}

/// Whether another rule holds for the pods of this one too.
fn adds_up(own: (&Object, &Node), other: (&Object, &Node), workload: &Workload) -> bool {
    match spec_selects(other.0, other.1, workload) {
        Selects::No => false,
        Selects::Perhaps => {
            let cluster = other.0.root.word("kind") == Some("CiliumClusterwideNetworkPolicy");
            let selector = "endpointSelector";
            (cluster || own.0.namespace() == other.0.namespace())
                && at_least_as_wide(other.1.get(selector), own.1.get(selector))
        }
        Selects::Yes => true,
    }
}

/// C1.
fn missing(desk: &Desk<'_>, spec: &Node, workload: &Workload, objects: &[Object]) -> Vec<Finding> {
    if !restricts(spec) {
        return Vec::new();
    }
    let cilium = objects.iter().filter(|object| object.kind == Kind::CiliumNetworkPolicy);
    let all = cilium.flat_map(|object| specs(object).map(move |spec| (object, spec)));
    let own = (desk.object, spec);
    let about: Vec<(&Object, &Node)> = all.filter(|other| adds_up(own, *other, workload)).collect();
    let mut same =
        about.iter().filter(|other| restricts(other.1) && adds_up(**other, own, workload));
    if !same.next().is_some_and(|(_, first)| std::ptr::eq(*first, spec)) {
        return Vec::new();
    }
    let about: Vec<&Node> = about.into_iter().map(|(_, spec)| spec).collect();
    let rules: Vec<&Node> = about.iter().flat_map(|spec| spec.list("egress")).collect();
    let peer = desk.unreached(|peer| rules.iter().any(|rule| reaches(rule, peer)));
    let dns = rules.iter().any(|rule| has_port(rule, 53));
    let named = desk.peers().iter().any(Peer::is_named);
    let peer = peer.map(|peer| (peer.to_string(), rule_for(&peer)));
    let dns = (named && !dns).then(|| ("DNS (UDP port 53)".to_owned(), rule_for_dns()));
    let found = peer.into_iter().chain(dns);
    found.filter_map(|(what, entry)| let_out(desk, spec, &what, entry)).collect()
}

fn let_out(desk: &Desk<'_>, spec: &Node, what: &str, entry: Piece) -> Option<Finding> {
    let list = Piece::List(vec![entry.clone()]);
    let edit = match spec.get("egress") {
        Some(egress) => edit::append(desk.source, egress, &entry),
        None if spec.key("egress").is_some() => edit::fill(desk.source, spec, "egress", &list),
        None => edit::add(desk.source, spec, "egress", &list),
    };
    let at = spec.key("egress").or_else(|| spec.key("egressDeny"));
    desk.finding(Draft {
        rule: "C1",
        severity: Severity::Breaks,
        span: at.map_or_else(|| desk.object.anchor(), |key| key.span.clone()),
        step: Step::Connect,
        words: format!("{what} is not among what these pods may reach"),
        exception: Some(Exception {
            words: "let it out".to_owned(),
            text: Piece::Map(vec![("egress", list)]).block().join("\n"),
            edits: edit.into_iter().collect(),
            costs: None,
        }),
    })
}

fn ports(port: u16, protocol: &str) -> (&'static str, Piece) {
    let port = Piece::Map(vec![
        ("port", Piece::text(port.to_string())),
        ("protocol", Piece::text(protocol)),
    ]);
    ("toPorts", Piece::List(vec![Piece::Map(vec![("ports", Piece::List(vec![port]))])]))
}

fn rule_for(peer: &Peer) -> Piece {
    let to = match (&peer.host, peer.address()) {
        (_, Some(address)) => {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            ("toCIDR", Piece::texts(&[format!("{address}/{bits}")]))
        }
        (Some(host), None) => {
            ("toFQDNs", Piece::List(vec![Piece::Map(vec![("matchName", Piece::text(host))])]))
        }
        (None, None) => ("toEntities", Piece::texts(&["world"])),
    };
    Piece::Map(vec![to, ports(peer.port, "TCP")])
}

fn rule_for_dns() -> Piece {
    let pods = Piece::Map(vec![
        ("k8s:io.kubernetes.pod.namespace", Piece::text("kube-system")),
        ("k8s:k8s-app", Piece::text("kube-dns")),
    ]);
    let to = ("toEndpoints", Piece::List(vec![Piece::Map(vec![("matchLabels", pods)])]));
    Piece::Map(vec![to, ports(53, "ANY")])
}

const PLACES: [&str; 6] =
    ["toCIDR", "toCIDRSet", "toEndpoints", "toEntities", "toFQDNs", "toServices"];

fn reaches(rule: &Node, peer: &Peer) -> bool {
    let places: Vec<_> = PLACES.iter().filter(|key| rule.key(key).is_some()).collect();
    let ported = rule.get("toPorts").is_some();
    if places.is_empty() && !ported {
        // An empty rule lets nothing pass.
        return false;
    }
    has_port(rule, peer.port) && (places.is_empty() || places.iter().any(|key| at(rule, key, peer)))
}

fn at(rule: &Node, key: &str, peer: &Peer) -> bool {
    match (key, peer.address(), &peer.host) {
        ("toCIDR", Some(address), _) => rule.words(key).iter().any(|cidr| contains(cidr, address)),
        ("toCIDRSet", Some(address), _) => rule.list(key).iter().any(|set| {
            let inside = set.word("cidr").is_some_and(|cidr| contains(cidr, address));
            inside && !set.words("except").iter().any(|cidr| contains(cidr, address))
        }),
        ("toEntities", ..) => {
            let entities = rule.words(key);
            let outside = entities.iter().any(|entity| matches!(*entity, "all" | "world"));
            outside || (peer.host.is_none() && entities.contains(&"cluster"))
        }
        ("toFQDNs", None, Some(host)) => rule.list(key).iter().any(|name| {
            name.word("matchName").is_some_and(|own| own.eq_ignore_ascii_case(host))
                || name.word("matchPattern").is_some_and(|glob| {
                    crate::paths::glob_matches(
                        glob.replace('.', "/").as_bytes(),
                        host.replace('.', "/").as_bytes(),
                    )
                })
        }),
        ("toFQDNs", Some(_), _) => false,
        // What is not known may be among it.
        ("toCIDR" | "toCIDRSet" | "toFQDNs", None, _) => true,
        (_, Some(_), _) => false,
        _ => true,
    }
}

/// Whether a rule that denies is certainly about this peer: one that names a few addresses, or pods,
/// is most likely about others.
fn denies(rule: &Node, peer: &Peer) -> bool {
    let places: Vec<_> = PLACES.iter().filter(|key| rule.key(key).is_some()).collect();
    if places.is_empty() || peer.address().is_some() {
        return reaches(rule, peer);
    }
    let all = |cidr: Option<&str>| cidr.is_some_and(|cidr| cidr.ends_with("/0"));
    has_port(rule, peer.port)
        && places.iter().any(|key| match **key {
            "toCIDR" => rule.words(key).iter().any(|cidr| all(Some(cidr))),
            "toCIDRSet" => rule
                .list(key)
                .iter()
                .any(|set| all(set.word("cidr")) && set.words("except").is_empty()),
            "toEntities" => at(rule, key, &Peer { host: Some(String::new()), ..*peer }),
            _ => false,
        })
}

fn has_port(rule: &Node, port: u16) -> bool {
    let groups = rule.list("toPorts");
    if groups.is_empty() {
        return true;
    }
    let mut entries = groups.iter().flat_map(|group| group.list("ports"));
    entries.any(|entry| {
        let protocol = entry.word("protocol").unwrap_or("ANY");
        let wanted = if port == 53 { ["UDP", "ANY"] } else { ["TCP", "ANY"] };
        if !wanted.contains(&protocol) {
            return false;
        }
        let own = entry.word("port").and_then(|text| text.parse::<u16>().ok());
        let last = entry.word("endPort").and_then(|text| text.parse().ok());
        own.is_some_and(|first| first == 0 || (first..=last.unwrap_or(first)).contains(&port))
    })
}
