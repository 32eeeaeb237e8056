//! Whether filters about arguments can be true of what our programs pass.

use super::{
    actor::{Actor, holds_of_text},
    calls::{About, Passage},
    policy::{self, Hook, Selector},
};
use crate::{
    desk::Desk,
    peers::{Peer, contains},
    tree::Node,
};

/// Whether all filters about arguments of a selector can be true at one passage.
pub(super) fn can_match(
    desk: &Desk<'_>,
    spec: &Node,
    hook: &Hook<'_>,
    selector: &Selector<'_>,
    passage: &Passage,
    actor: &Actor,
) -> bool {
    let filters = selector.filters("matchArgs");
    // One path must satisfy all filters about it; a few filters of one index are common.
    let about: Vec<&&Node> =
        filters.iter().filter(|filter| argument(hook, filter) == Some(passage.index)).collect();
    if let Some((index, known)) = passage.more {
        let about = filters.iter().filter(|filter| argument(hook, filter) == Some(index));
        let possible = about.map(|filter| (filter, expanded(spec, filter)));
        for (filter, values) in possible {
            if !known.iter().any(|own| holds_of_number(filter, &values, *own)) {
                return false;
            }
        }
    }
    match passage.about {
        About::Exec | About::Path | About::Output => {
            let texts = about.iter().copied().filter(|filter| is_about_text(filter));
            let texts: Vec<&&Node> = texts.collect();
            // The wrapper says nothing on standard output; other numbers are not known.
            let silent = passage.about == About::Output
                && about.iter().any(|filter| {
                    let values = filter.words("values");
                    filter.word("operator") == Some("Equal")
                        && !values.is_empty()
                        && values.iter().all(|value| matches!(*value, "0" | "1"))
                });
            if silent {
                return false;
            }
            texts.is_empty()
                || passage.texts(desk, actor).iter().any(|own| {
                    texts.iter().all(|filter| {
                        let operator = filter.word("operator").unwrap_or_default();
                        holds_of_text(operator, &expanded(spec, filter), own)
                    })
                })
        }
        About::Number(known) => about.iter().all(|filter| {
            let values = expanded(spec, filter);
            known.iter().any(|own| holds_of_number(filter, &values, *own))
        }),
        About::Peer => {
            // An address may stand at any argument: socket, socket address.
            filters.iter().all(|filter| can_be_ours(desk, spec, filter))
        }
        About::Anything => true,
    }
}

/// The filters of a selector that say something about addresses.
pub(super) fn is_about_addresses(selector: &Selector<'_>) -> bool {
    selector.filters("matchArgs").iter().any(|filter| {
        let operator = filter.word("operator").unwrap_or_default().to_ascii_lowercase();
        operator.ends_with("daddr") || operator.contains("dport")
    })
}

/// The paths that filters of a selector name.
pub(super) fn named_paths<'a>(selector: &Selector<'a>) -> Vec<(&'a str, &'a str)> {
    let filters = selector.filters("matchArgs").into_iter().filter(|filter| is_about_text(filter));
    let paths = filters.flat_map(|filter| {
        let operator = filter.word("operator").unwrap_or_default();
        filter.words("values").into_iter().map(move |value| (operator, value))
    });
    paths.filter(|(_, value)| value.contains('/')).collect()
}

/// Which argument of the function a filter is about.
fn argument(hook: &Hook<'_>, filter: &Node) -> Option<u32> {
    let args = hook.node.list("args");
    // `args` counts entries of the hook's list, `index` names the function's argument.
    if let Some(position) = filter.words("args").first() {
        let entry = args.get(position.parse::<usize>().ok()?)?;
        return entry.word("index").unwrap_or("0").parse().ok();
    }
    filter.word("index").unwrap_or("0").parse().ok()
}

fn is_about_text(filter: &Node) -> bool {
    let operator = filter.word("operator").unwrap_or_default().to_ascii_lowercase();
    let by_name = matches!(
        operator.as_str(),
        "equal"
            | "eq"
            | "in"
            | "notequal"
            | "neq"
            | "notin"
            | "prefix"
            | "notprefix"
            | "postfix"
            | "notpostfix"
            | "substring"
            | "substringigncase"
    );
    by_name && filter.words("values").iter().any(|value| value.parse::<i64>().is_err())
}

/// The values of a filter, lists that it names included.
fn expanded<'a>(spec: &'a Node, filter: &'a Node) -> Vec<&'a str> {
    let values = filter.words("values").into_iter();
    let all = values.flat_map(|value| match policy::list(spec, value) {
        Some(list) => list.words("values"),
        None => vec![value],
    });
    all.collect()
}

/// Names that policies write for numbers.
fn number(text: &str) -> Option<i64> {
    match text {
        "AF_UNIX" | "AF_LOCAL" => Some(1),
        "AF_INET" => Some(2),
        "AF_INET6" => Some(10),
        "AF_NETLINK" => Some(16),
        "AF_PACKET" => Some(17),
        "AF_ALG" => Some(38),
        "AF_VSOCK" => Some(40),
        "PTRACE_TRACEME" => Some(0),
        "PTRACE_ATTACH" => Some(16),
        "PTRACE_SEIZE" => Some(0x4206),
        _ => match text.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        },
    }
}

fn holds_of_number(filter: &Node, values: &[&str], own: i64) -> bool {
    let numbers: Vec<i64> = values.iter().filter_map(|value| number(value)).collect();
    if numbers.len() != values.len() {
        let ranges = values.iter().filter_map(|value| value.split_once(':'));
        let inside = ranges.clone().any(|(first, last)| {
            number(first)
                .zip(number(last))
                .is_none_or(|(first, last)| (first..=last).contains(&own))
        });
        return match filter.word("operator") {
            Some("InRange") => inside,
            Some("NotInRange") => !inside,
            _ => true,
        };
    }
    match filter.word("operator").unwrap_or_default() {
        "Equal" | "eq" | "In" | "InMap" | "Family" => numbers.contains(&own),
        "NotEqual" | "neq" | "NotIn" | "NotInMap" => !numbers.contains(&own),
        "Mask" | "mask" => numbers.iter().any(|mask| own & mask != 0),
        "GT" | "gt" | "GreaterThan" => numbers.iter().any(|limit| own > *limit),
        "LT" | "lt" | "LessThan" => numbers.iter().any(|limit| own < *limit),
        _ => true,
    }
}

/// Whether a filter about an address can be true of a connection of ours.
fn can_be_ours(desk: &Desk<'_>, spec: &Node, filter: &Node) -> bool {
    let values = expanded(spec, filter);
    let operator = filter.word("operator").unwrap_or_default().to_ascii_lowercase();
    let peers = desk.peers();
    let port = |peer: &Peer| values.iter().any(|value| port_is(value, peer.port));
    let address = |peer: &Peer, unknown: bool| match peer.address() {
        Some(address) => values.iter().any(|cidr| contains(cidr, address)),
        None => unknown,
    };
    match operator.as_str() {
        "dport" => peers.iter().any(port),
        "notdport" => !peers.iter().any(port),
        // Of an address that nobody gave, a list of single ones says nothing.
        "daddr" => peers.iter().any(|peer| address(peer, values.iter().any(|v| v.ends_with("/0")))),
        "notdaddr" => peers.iter().any(|peer| !address(peer, false)),
        "dportpriv" => peers.iter().any(|peer| peer.port < 1024),
        "notdportpriv" => peers.iter().any(|peer| peer.port >= 1024),
        "protocol" => {
            values.iter().any(|value| matches!(*value, "IPPROTO_TCP" | "TCP" | "6" | "tcp"))
        }
        "family" => {
            values.iter().any(|value| number(value).is_none_or(|own| matches!(own, 2 | 10)))
        }
        _ => true,
    }
}

fn port_is(value: &str, port: u16) -> bool {
    match value.split_once([':', '-']) {
        Some((first, last)) => {
            let (first, last) = (first.parse().unwrap_or(0), last.parse().unwrap_or(u16::MAX));
            (first..=last).contains(&port)
        }
        None => value.parse() == Ok(port),
    }
}
