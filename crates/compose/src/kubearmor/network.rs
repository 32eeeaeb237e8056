//! K10, K11, K14: what may be talked to.

use cloudtaser_core::needs::Step;

use super::{
    Allowed, allow_from, also_allow, not_for_ours,
    policy::{self, Action, Item},
    posture::{self, Postures},
    protocols,
};
use crate::{
    desk::{Desk, Draft},
    edit::Piece,
    finding::{Exception, Finding, Severity},
    peers::{Peer, reaches},
    tree::Node,
};

/// Words for a protocol or a type of socket, and what of ours it is.
const NEEDED: &[(&[&str], Step, &str)] = &[
    (
        &["tcp", "stream", "all"],
        Step::Connect,
        "connections to OpenBao, and stream sockets of the Unix family with them",
    ),
    (
        &["udp", "dgram", "all"],
        Step::Connect,
        "DNS; an address that is given as a number needs none",
    ),
    (
        &["seqpacket", "sctp", "all"],
        Step::Launch,
        "the pair of sockets between the wrapper and the child that becomes the app, and the node agent",
    ),
];

pub(super) fn check(
    desk: &Desk<'_>,
    spec: &Node,
    allowed: &Allowed<'_>,
    postures: &Postures,
) -> Vec<Finding> {
    let wrapper = desk.settings.wrapper.as_str();
    let items = protocols(spec);
    let lists = items.iter().any(|item| item.action == Action::Allow);
    let refused = items.iter().filter(|item| item.refuses(wrapper));
    let blocked = refused.filter_map(|item| blocked(desk, spec, item, allowed, lists));
    let mut found: Vec<Finding> = blocked.collect();
    found.extend(not_listed(desk, spec, &items, allowed, postures));
    let names = policy::word_items(spec, "network", "matchDNSQueries", "domain");
    found.extend(names.iter().filter_map(|item| domain(desk, item)));
    found.extend(other_domains(desk, spec, &names, postures));
    found
}

fn is_needed(item: &Item<'_>, words: &[&str]) -> bool {
    words.iter().any(|word| item.target.eq_ignore_ascii_case(word))
}

/// K10, of a block.
fn blocked(
    desk: &Desk<'_>,
    spec: &Node,
    item: &Item<'_>,
    allowed: &Allowed<'_>,
    lists: bool,
) -> Option<Finding> {
    let wrapper = desk.settings.wrapper.as_str();
    let (_, step, what) = NEEDED.iter().find(|(words, ..)| is_needed(item, words))?;
    // What is allowed from a program goes before what is blocked for all.
    let excepted = allowed
        .network
        .iter()
        .any(|own| own.sources.contains(&wrapper) && own.target.eq_ignore_ascii_case(item.target));
    if excepted && item.sources.is_empty() {
        return None;
    }
    let exception = if lists && item.sources.is_empty() {
        let entry = allow_from(wrapper, "protocol", item.target);
        let words = "allow it from the wrapper, which goes before the block; the section is an \
                     allow-list already";
        also_allow(desk, spec, "network", "matchProtocols", vec![entry], words)
    } else {
        let way = "protocols know no address: block them for the programs that must not use them \
                   (fromSource), or keep the policy from pods of ours";
        not_for_ours(desk, way)
    };
    desk.finding(Draft {
        rule: "K10",
        severity: Severity::Breaks,
        span: item.span.clone(),
        step: *step,
        words: format!("{} is refused: {what}", item.target),
        exception: Some(exception),
    })
}

/// K10, of an allow-list.
fn not_listed(
    desk: &Desk<'_>,
    spec: &Node,
    items: &[Item<'_>],
    allowed: &Allowed<'_>,
    postures: &Postures,
) -> Option<Finding> {
    let first = items.iter().find(|item| item.action == Action::Allow)?;
    let wrapper = desk.settings.wrapper.as_str();
    let own = allowed.network.iter().filter(|item| item.is_from(wrapper) && !item.at_terminals);
    let missing =
        NEEDED.iter().filter(|(words, ..)| !own.clone().any(|item| is_needed(item, words)));
    let missing: Vec<&str> = missing.filter_map(|(words, ..)| words.first().copied()).collect();
    if missing.is_empty() {
        return None;
    }
    let entry = |protocol: &&str| allow_from(wrapper, "protocol", protocol);
    let (severity, posture) = posture::severity(postures.network);
    desk.finding(Draft {
        rule: "K10",
        severity,
        span: first.span.clone(),
        step: Step::Connect,
        words: format!(
            "an allow-list of protocols without {} for the wrapper: {posture}",
            missing.join(", ")
        ),
        exception: Some(also_allow(
            desk,
            spec,
            "network",
            "matchProtocols",
            missing.iter().map(entry).collect(),
            "list them for the wrapper alone; the section is an allow-list already",
        )),
    })
}

/// K11.
fn domain(desk: &Desk<'_>, item: &Item<'_>) -> Option<Finding> {
    if !item.refuses(&desk.settings.wrapper) {
        return None;
    }
    let hosts = desk.hosts();
    let host = hosts.iter().find(|host| is_below(host, item.target))?;
    desk.finding(Draft {
        rule: "K11",
        severity: Severity::Breaks,
        span: item.span.clone(),
        step: Step::Connect,
        words: format!("questions for {} are refused, and {host} is asked for", item.target),
        exception: Some(not_for_ours(
            desk,
            "name narrower domains, or keep the policy from pods of ours",
        )),
    })
}

/// K11, of an allow-list: one Allow makes one of the domains too.
fn other_domains(
    desk: &Desk<'_>,
    spec: &Node,
    items: &[Item<'_>],
    postures: &Postures,
) -> Option<Finding> {
    let wrapper = desk.settings.wrapper.as_str();
    let first = items.iter().find(|item| item.action == Action::Allow)?;
    let own = items.iter().filter(|item| item.action == Action::Allow && item.is_from(wrapper));
    let hosts = desk.hosts();
    let host = hosts.iter().find(|host| !own.clone().any(|item| is_below(host, item.target)))?;
    let (severity, posture) = posture::severity(postures.network);
    desk.finding(Draft {
        rule: "K11",
        severity,
        span: first.span.clone(),
        step: Step::Connect,
        words: format!("an allow-list of names without {host}: {posture}"),
        exception: Some(also_allow(
            desk,
            spec,
            "network",
            "matchDNSQueries",
            vec![allow_from(wrapper, "domain", host)],
            "list it for the wrapper; the names are an allow-list already",
        )),
    })
}

/// Whether a name is a domain or lies below it.
fn is_below(host: &str, domain: &str) -> bool {
    let (host, domain) = (host.to_ascii_lowercase(), domain.trim_matches('.').to_ascii_lowercase());
    host == domain || host.ends_with(&format!(".{domain}"))
}

/// Whether a rule that blocks is certainly about this peer. A quota blocks what is above it, and one
/// that names a few addresses is most likely about others.
fn blocks(rule: &Node, peer: &Peer) -> bool {
    let whole = |to: &Node| {
        let block = to.get("ipBlock");
        block.is_some_and(|block| {
            block.word("cidr").is_some_and(|cidr| cidr.ends_with("/0"))
                && block.words("except").is_empty()
        })
    };
    let to = rule.list("to");
    let certain = peer.address().is_some() || to.is_empty() || to.iter().any(whole);
    rule.get("limit").is_none() && certain && reaches(rule, peer)
}

/// K14: rules of the node's packet filter.
pub(super) fn node_policy(desk: &Desk<'_>, spec: &Node) -> Vec<Finding> {
    // What uses the node's network: pods that say so.
    if !desk.selected.iter().any(|workload| workload.host_network) {
        return Vec::new();
    }
    let action = Action::effective(&[spec]);
    let rules = spec.list("egress");
    let Some(first) = rules.first().filter(|_| action != Action::Audit) else { return Vec::new() };
    let peers = desk.peers();
    let covered = |peer: &Peer| rules.iter().any(|rule| reaches(rule, peer));
    let hit = match action {
        Action::Block => peers.iter().find(|peer| rules.iter().any(|rule| blocks(rule, peer))),
        _ => (!peers.iter().any(covered)).then(|| peers.first()).flatten(),
    };
    let Some(peer) = hit else { return Vec::new() };
    let words = match action {
        Action::Block => format!("{peer} is refused to everything on the node's own network"),
        _ => format!("what the node may reach is listed, and {peer} is not"),
    };
    let entry = Piece::Map(vec![
        (
            "to",
            Piece::List(vec![Piece::Map(vec![(
                "ipBlock",
                Piece::Map(vec![("cidr", Piece::text("ADDRESS/32"))]),
            )])]),
        ),
        (
            "ports",
            Piece::List(vec![Piece::Map(vec![
                ("protocol", Piece::text("TCP")),
                ("port", Piece::bare(peer.port)),
            ])]),
        ),
    ]);
    let exception = Exception {
        words: "list the address of OpenBao or of the beacon, and its port".to_owned(),
        text: Piece::Map(vec![("egress", Piece::List(vec![entry]))]).block().join("\n"),
        edits: Vec::new(),
        costs: None,
    };
    let span = desk
        .object
        .root
        .at(&["spec"])
        .and_then(|spec| spec.key("egress"))
        .map_or_else(|| first.span.clone(), |key| key.span.clone());
    let draft = Draft {
        rule: "K14",
        severity: Severity::Breaks,
        span,
        step: Step::Connect,
        words,
        exception: Some(exception),
    };
    desk.finding(draft).into_iter().collect()
}
