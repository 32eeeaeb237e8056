//! S1 to S3: seccomp profiles, as container runtimes and the kubelet read them.
//!
//! A profile names no pods. It is judged where a pod of ours names its file, and where no workload
//! was given.

use cloudtaser_core::needs::{NEEDS, Program, Without};

use crate::{
    cluster::Workload,
    desk::{Desk, Draft},
    edit::{self, Piece},
    finding::{Exception, Finding, Severity},
    object::Object,
    selector::Selects,
    source::Source,
    tree::Node,
};

/// Whether a workload names the file of a profile.
pub(crate) fn selects(source: &Source, workload: &Workload) -> Selects {
    if workload.assumed {
        return Selects::Perhaps;
    }
    let file = source.name().rsplit('/').next().unwrap_or_default();
    let named = workload.seccomp.iter().any(|path| path.rsplit('/').next() == Some(file));
    if named { Selects::Yes } else { Selects::No }
}

/// The profile of a document: all of it, or the part of an OCI configuration.
fn profile(object: &Object) -> &Node {
    object.root.at(&["linux", "seccomp"]).unwrap_or(&object.root)
}

/// What a profile does with a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Allowed,
    /// By the default action.
    NotListed,
    Notified,
    /// By an entry of its own.
    Refused,
}

fn verdict(profile: &Node, call: &str) -> Verdict {
    let entries = profile
        .list("syscalls")
        .iter()
        .filter(|entry| entry.words("names").contains(&call) || entry.word("name") == Some(call));
    let mut verdict = None;
    for entry in entries.filter(|entry| applies(entry)) {
        let own = match entry.word("action").unwrap_or_default() {
            "SCMP_ACT_ALLOW" | "SCMP_ACT_LOG" => Verdict::Allowed,
            "SCMP_ACT_NOTIFY" => Verdict::Notified,
            _ => Verdict::Refused,
        };
        // Entries about arguments are about special uses; ours are the plain ones.
        if !entry.list("args").is_empty() && own == Verdict::Refused {
            continue;
        }
        if own == Verdict::Allowed {
            return own;
        }
        verdict = Some(own);
    }
    verdict.unwrap_or_else(|| match profile.word("defaultAction").unwrap_or_default() {
        "SCMP_ACT_ALLOW" | "SCMP_ACT_LOG" => Verdict::Allowed,
        "SCMP_ACT_NOTIFY" => Verdict::Notified,
        _ => Verdict::NotListed,
    })
}

/// Conditions of the profiles that container runtimes bring along.
fn applies(entry: &Node) -> bool {
    let here = |node: &Node| {
        let arches = node.words("arches");
        arches.is_empty() || arches.iter().any(|arch| matches!(*arch, "amd64" | "x86_64"))
    };
    let includes =
        entry.get("includes").is_none_or(|node| node.words("caps").is_empty() && here(node));
    let excludes = entry.get("excludes").is_none_or(|node| {
        let arches = node.words("arches");
        arches.is_empty() || !arches.iter().any(|arch| matches!(*arch, "amd64" | "x86_64"))
    });
    includes && excludes
}

/// Judges a profile.
pub(crate) fn check(desk: &Desk<'_>) -> Vec<Finding> {
    let profile = profile(desk.object);
    let (mut ends, mut lowers, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for calls in NEEDS.calls.iter().filter(|calls| calls.program != Program::Agent) {
        for name in calls.names {
            match verdict(profile, name) {
                Verdict::Allowed | Verdict::Notified => continue,
                Verdict::NotListed => {}
                Verdict::Refused => refused.push(*name),
            }
            match calls.without {
                Without::Ends => ends.push((*name, calls.step)),
                Without::Lowers(without) | Without::Notes(without) => {
                    lowers.push((*name, calls.step, without));
                }
            }
        }
    }
    // What the wrapper cannot do without is said once, and so is each thing that is lost.
    lowers.retain(|(name, ..)| !ends.iter().any(|(end, _)| end == name));
    let mut words: Vec<&str> = Vec::new();
    for (_, _, without) in &lowers {
        if !words.contains(without) {
            words.push(without);
        }
    }
    let lowers: Vec<_> = lowers.into_iter().map(|(name, step, _)| (name, step)).collect();
    let mut found = Vec::new();
    found.extend(missing(desk, profile, "S1", &ends, &refused, "the wrapper cannot do without"));
    let without = format!("protection is lost without them ({})", words.join("; "));
    found.extend(missing(desk, profile, "S2", &lowers, &refused, &without));
    found.extend(supervised(desk, profile));
    found
}

fn missing(
    desk: &Desk<'_>,
    profile: &Node,
    rule: &'static str,
    calls: &[(&'static str, cloudtaser_core::needs::Step)],
    refused: &[&str],
    words: &str,
) -> Option<Finding> {
    let (first, step) = *calls.first()?;
    let mut names: Vec<&str> = calls.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    let entry = Piece::Map(vec![
        ("names", Piece::texts(&names)),
        ("action", Piece::text("SCMP_ACT_ALLOW")),
    ]);
    // An entry that refuses would stand beside the one that allows.
    let contradicted = names.iter().any(|name| refused.contains(name));
    let edit = match profile.get("syscalls") {
        _ if contradicted => None,
        Some(list) => edit::append(desk.source, list, &entry),
        None => edit::add(desk.source, profile, "syscalls", &Piece::List(vec![entry.clone()])),
    };
    let at = profile.list("syscalls").iter().find_map(|entry| {
        let named = entry.get("names")?;
        let mut items = named.items().iter();
        items.find(|name| name.text() == Some(first)).filter(|_| refused.contains(&first))
    });
    let at = at.or_else(|| profile.get("defaultAction"))?;
    let severity = if rule == "S1" { Severity::Breaks } else { Severity::Blinds };
    desk.finding(Draft {
        rule,
        severity,
        span: at.span.clone(),
        step,
        words: format!("{} are refused: {words}", names.join(", ")),
        exception: Some(Exception {
            words: "allow them (all of them: `cloudtaser compose export seccomp`)".to_owned(),
            text: Piece::Map(vec![("syscalls", Piece::List(vec![entry]))]).block().join("\n"),
            edits: edit.into_iter().collect(),
            costs: None,
        }),
    })
}

/// S3: a process has one listener.
fn supervised(desk: &Desk<'_>, profile: &Node) -> Option<Finding> {
    let listener = profile.get("listenerPath");
    let notified = profile.list("syscalls").iter().find_map(|entry| {
        let action = entry.get("action")?;
        (action.text() == Some("SCMP_ACT_NOTIFY")).then_some(action)
    });
    let at = listener.or(notified)?;
    desk.finding(Draft {
        rule: "S3",
        severity: Severity::Blinds,
        span: at.span.clone(),
        step: cloudtaser_core::needs::Step::Launch,
        words:
            "another supervisor listens to system calls of the container, and a process has one \
                listener: programs that the app executes are not followed, and the level says \
                first-image"
                .to_owned(),
        exception: Some(Exception {
            words: "no listener for pods of ours".to_owned(),
            text: String::new(),
            edits: Vec::new(),
            costs: None,
        }),
    })
}
