//! K6, K7, K13, K18: who may be executed.

use cloudtaser_core::needs::Step;

use super::{
    Allowed, allow_path, also_allow, not_for_ours,
    policy::{self, Action, Item},
    posture::{self, Postures},
};
use crate::{
    desk::{Desk, Draft},
    finding::{Exception, Finding, Severity},
    paths::Pattern,
    tree::Node,
};

/// Programs that others are usually started from.
const SHELLS: &[&str] = &["sh", "bash", "dash", "ash", "busybox", "zsh", "ksh"];

pub(super) fn check(
    desk: &Desk<'_>,
    spec: &Node,
    allowed: &Allowed<'_>,
    postures: &Postures,
) -> Vec<Finding> {
    let items = policy::path_items(spec, "process");
    let mut found: Vec<Finding> = items.iter().filter_map(|item| blocked(desk, item)).collect();
    found.extend(items.iter().filter_map(|item| arguments(desk, item)));
    found.extend(not_listed(desk, spec, &items, allowed, postures));
    found.extend(items.iter().find_map(|item| parent(desk, item)));
    found
}

/// K6.
fn blocked(desk: &Desk<'_>, item: &Item<'_>) -> Option<Finding> {
    let wrapper = desk.settings.wrapper.as_str();
    // The wrapper's own parent is the container's runtime, which no policy names.
    let refused = item.action == Action::Block && !item.at_terminals && item.sources.is_empty();
    if !refused || !item.pattern.covers(wrapper) {
        return None;
    }
    let what = match item.pattern {
        Pattern::Folder { .. } => "everything in",
        _ => "the start of",
    };
    let (severity, unless) = if item.owner_only {
        (Severity::Noisy, ", unless the file belongs to the user that the app runs as")
    } else {
        (Severity::Breaks, "")
    };
    // SECURITY: an Allow beside it would make an allow-list of the section, for everything else.
    let way = "an Allow for the wrapper would turn the whole section into an allow-list: narrow the \
               block to folders that the wrapper does not lie in, or keep the policy from pods of ours";
    desk.finding(Draft {
        rule: "K6",
        severity,
        span: item.span.clone(),
        step: Step::Start,
        words: format!("{what} {} is refused, {wrapper} with it{unless}", item.target),
        exception: Some(not_for_ours(desk, way)),
    })
}

/// K13.
fn arguments(desk: &Desk<'_>, item: &Item<'_>) -> Option<Finding> {
    let wrapper = desk.settings.wrapper.as_str();
    let arguments = item.node.get("allowedArgs")?;
    let names_it = matches!(item.pattern, Pattern::Exactly(_) | Pattern::Name(_));
    if !names_it || !item.pattern.covers(wrapper) || item.action == Action::Audit {
        return None;
    }
    desk.finding(Draft {
        rule: "K13",
        severity: Severity::Breaks,
        span: arguments.span.clone(),
        step: Step::Start,
        words:
            "the wrapper is started as `run -- APP …` with the app's own arguments, of which at \
                most 20 with 104 characters each are ever matched"
                .to_owned(),
        exception: Some(Exception {
            words:
                "list the wrapper without allowedArgs; the app's own entry may keep them, since \
                    the wrapper passes every argument on as it is"
                    .to_owned(),
            text: format!("process:\n  matchPaths:\n    - path: {wrapper}\n      action: Allow"),
            edits: Vec::new(),
            costs: None,
        }),
    })
}

/// K7.
fn not_listed(
    desk: &Desk<'_>,
    spec: &Node,
    items: &[Item<'_>],
    allowed: &Allowed<'_>,
    postures: &Postures,
) -> Option<Finding> {
    let first = items.iter().find(|item| item.action == Action::Allow)?;
    let wrapper = desk.settings.wrapper.as_str();
    let listed = allowed
        .process
        .iter()
        .any(|item| item.sources.is_empty() && !item.at_terminals && item.pattern.covers(wrapper));
    if listed {
        return None;
    }
    let (severity, posture) = posture::severity(postures.file);
    desk.finding(Draft {
        rule: "K7",
        severity,
        span: first.span.clone(),
        step: Step::Start,
        words: format!("an allow-list of programs without {wrapper}: {posture}"),
        exception: Some(also_allow(
            desk,
            spec,
            "process",
            "matchPaths",
            vec![allow_path("path", wrapper)],
            "list the wrapper too; the section is an allow-list already",
        )),
    })
}

/// K18.
fn parent(desk: &Desk<'_>, item: &Item<'_>) -> Option<Finding> {
    let wrapper = desk.settings.wrapper.as_str();
    let named = item.sources.contains(&wrapper) || item.pattern.covers(wrapper);
    if item.sources.is_empty() || named || item.action == Action::Audit {
        return None;
    }
    let started = desk.selected.iter().flat_map(|workload| workload.programs());
    let mut started = started.filter(|program| item.pattern.covers(program));
    let shell = item
        .sources
        .iter()
        .any(|source| SHELLS.contains(&source.rsplit('/').next().unwrap_or_default()));
    let assumed = desk.selected.iter().any(|workload| workload.assumed);
    let words = match started.next() {
        Some(program) => format!(
            "{program} is started by the wrapper, so its parent is {wrapper} and not {}",
            item.sources.join(" or ")
        ),
        // A shell that starts the app by the wrapper is its parent no more.
        None if assumed && shell => format!(
            "where {} starts {} by the wrapper, the parent that is looked at is {wrapper}",
            item.sources.join(" or "),
            item.target
        ),
        None => return None,
    };
    desk.finding(Draft {
        rule: "K18",
        severity: Severity::Noisy,
        span: item.span.clone(),
        step: Step::Launch,
        words,
        exception: Some(Exception {
            words: "name the wrapper among the sources, if this start is meant".to_owned(),
            text: format!("fromSource:\n  - path: {wrapper}"),
            edits: item
                .node
                .get("fromSource")
                .and_then(|list| {
                    let entry =
                        crate::edit::Piece::Map(vec![("path", crate::edit::Piece::text(wrapper))]);
                    crate::edit::append(desk.source, list, &entry)
                })
                .into_iter()
                .collect(),
            costs: None,
        }),
    })
}
