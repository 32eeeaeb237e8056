//! T1 to T6, T11, T13: policies that make calls fail or end callers.

use cloudtaser_core::needs::{NEEDS, Program, Step};

use super::{
    actor::Actor,
    args,
    calls::{self, About, Passage},
    not_for_ours,
    policy::{self, Family, Hook, Selector, call_name},
};
use crate::{
    desk::{Desk, Draft},
    edit::{self, Edit, Piece},
    finding::{Exception, Finding, Severity},
    paths::Pattern,
    tree::Node,
};

/// A passage that is acted on.
#[derive(Debug)]
struct Hit<'a> {
    selector: Selector<'a>,
    action: &'a Node,
    passage: Passage,
    actor: Actor,
}

pub(super) fn check(desk: &Desk<'_>, spec: &Node, hooks: &[Hook<'_>]) -> Vec<Finding> {
    let mut found = Vec::new();
    for hook in hooks {
        match hook.family {
            Family::Uprobe | Family::Usdt => {}
            Family::Tracepoint if hook.name == "raw_syscalls/sys_enter" => {
                found.extend(listed(desk, spec, hook));
            }
            _ => found.extend(called(desk, spec, hook)),
        }
        found.extend(followed(desk, hook));
    }
    let monitor = policy::option(spec, "policy-mode")
        .filter(|mode| mode.text().is_some_and(|mode| mode.starts_with("monitor")));
    match monitor {
        Some(mode) => monitored(desk, mode, found),
        None => found,
    }
}

/// T11: nothing is refused as long as the policy only watches.
fn monitored(desk: &Desk<'_>, mode: &Node, found: Vec<Finding>) -> Vec<Finding> {
    if found.is_empty() {
        return found;
    }
    let rules: std::collections::BTreeSet<&str> =
        found.iter().map(|finding| finding.rule.id).collect();
    let rules: Vec<&str> = rules.into_iter().collect();
    let finding = desk.finding(Draft {
        rule: "T11",
        severity: Severity::Noisy,
        span: mode.span.clone(),
        step: found.first().map_or(Step::Launch, |finding| finding.step),
        words: format!(
            "the policy only watches; set to enforce it would be found by {}",
            rules.join(", ")
        ),
        exception: Some(Exception {
            words:
                "check it again before it is set to enforce, which needs no change of this file \
                    (`tetra tracingpolicy set-mode`)"
                    .to_owned(),
            text: String::new(),
            edits: Vec::new(),
            costs: None,
        }),
    });
    finding.into_iter().collect()
}

/// The names that a hook is attached to.
fn names<'a>(spec: &'a Node, hook: &'a Hook<'_>) -> Vec<&'a str> {
    match policy::list(spec, &hook.name) {
        Some(list) => list.words("values"),
        None => vec![hook.name.as_str()],
    }
}

/// T1 to T5.
fn called(desk: &Desk<'_>, spec: &Node, hook: &Hook<'_>) -> Vec<Finding> {
    let mut hits: Vec<(String, Hit<'_>)> = Vec::new();
    for name in names(spec, hook) {
        for passage in calls::passages(hook, name) {
            if passage.program == Program::Agent && !super::is_about_all(spec) {
                continue;
            }
            for actor in Actor::all(desk, passage.program) {
                if let Some((selector, action)) = acting(desk, spec, hook, &passage, &actor) {
                    let passage = passage.clone();
                    hits.push((name.to_owned(), Hit { selector, action, passage, actor }));
                }
            }
        }
    }
    // The wrapper's passages say more than the agent's, which are fewer.
    hits.sort_by_key(|(_, hit)| hit.passage.program == Program::Agent);
    let Some((name, hit)) = hits.first() else { return Vec::new() };
    let mut programs: Vec<&str> = hits.iter().map(|(_, hit)| hit.passage.program.name()).collect();
    programs.dedup();
    let deed = deed(hit.action);
    let (rule, what) = rule_of(desk, hook, hit);
    let words = format!("{name} is {deed} for {}: {what}", programs.join(" and "));
    let finding = desk.finding(Draft {
        rule,
        severity: Severity::Breaks,
        span: hook.name_node.span.clone(),
        step: hit.passage.step,
        words,
        exception: Some(exception(desk, spec, hook, &hits)),
    });
    finding.into_iter().collect()
}

fn deed(action: &Node) -> &'static str {
    match action.word("action").unwrap_or_default().to_ascii_lowercase().as_str() {
        "override" => "made to fail",
        "signal" => "answered with a signal",
        "sigkill" => "answered with SIGKILL",
        _ => "refused by an enforcer",
    }
}

/// The first selector that acts on a passage.
fn acting<'a>(
    desk: &Desk<'_>,
    spec: &Node,
    hook: &Hook<'a>,
    passage: &Passage,
    actor: &Actor,
) -> Option<(Selector<'a>, &'a Node)> {
    for selector in &hook.selectors {
        let can = actor.passes(desk, selector, passage.execs)
            && args::can_match(desk, spec, hook, selector, passage, actor);
        if !can {
            continue;
        }
        match selector.enforces() {
            Some(action) => return Some((selector.clone(), action)),
            // The first that matches ends the search; certain only where nothing else is asked.
            None if selector.only_has("matchBinaries") => return None,
            None => {}
        }
    }
    None
}

/// Which rule it is, and what it means for us.
fn rule_of(desk: &Desk<'_>, hook: &Hook<'_>, hit: &Hit<'_>) -> (&'static str, String) {
    let tokens = desk.settings.tokens(&desk.selected);
    let named = args::named_paths(&hit.selector);
    let token = named.iter().any(|(operator, value)| {
        tokens.iter().any(|token| match operator.to_ascii_lowercase().as_str() {
            "prefix" => token.starts_with(value),
            "equal" | "in" => token == value,
            "postfix" => token.ends_with(value),
            "substring" => token.contains(value),
            _ => false,
        })
    });
    if hit.passage.about == About::Path && token && hit.passage.program == Program::Wrapper {
        return ("T5", "the wrapper reads the token of its login".to_owned());
    }
    if hit.passage.about == About::Peer && args::is_about_addresses(&hit.selector) {
        let peers: Vec<String> = desk.peers().iter().map(ToString::to_string).collect();
        return ("T4", format!("the wrapper connects to {}", peers.join(" or ")));
    }
    let what = hit.passage.reason.to_owned();
    match hook.family {
        Family::Lsm => ("T2", what),
        _ if hook.name.starts_with("security_") => ("T3", what),
        _ => ("T1", what),
    }
}

/// T6: a list of system calls, at the door that all of them use.
fn listed(desk: &Desk<'_>, spec: &Node, hook: &Hook<'_>) -> Option<Finding> {
    let own = NEEDS.call_names(&[Program::Wrapper, Program::InApp]);
    for selector in &hook.selectors {
        let Some(action) = selector.enforces() else { continue };
        let mut actors = Actor::all(desk, Program::Wrapper);
        actors.extend(Actor::all(desk, Program::InApp));
        actors.retain(|actor| actor.passes(desk, selector, false));
        if actors.is_empty() {
            continue;
        }
        for filter in selector.filters("matchArgs") {
            let operator = filter.word("operator").unwrap_or_default();
            let lists: Vec<&Node> = filter
                .words("values")
                .iter()
                .filter_map(|value| policy::list(spec, value))
                .collect();
            let Some(list) = lists.first() else { continue };
            // Lists that the agent makes up hold every call.
            let generated = list.word("type").is_some_and(|kind| kind.starts_with("generated"));
            let values: Vec<&str> =
                lists.iter().flat_map(|list| list.words("values")).filter_map(call_name).collect();
            let listed = |call: &&&str| generated || values.contains(*call);
            let (hit, how): (Vec<&str>, &str) = match operator {
                "InMap" | "In" | "Equal" => {
                    (own.iter().filter(|c| listed(c)).copied().collect(), "lists")
                }
                "NotInMap" | "NotIn" | "NotEqual" => {
                    (own.iter().filter(|c| !listed(c)).copied().collect(), "does not list")
                }
                _ => continue,
            };
            if hit.is_empty() {
                continue;
            }
            return listed_finding(desk, hook, list, action, &hit, how);
        }
    }
    None
}

fn listed_finding(
    desk: &Desk<'_>,
    hook: &Hook<'_>,
    list: &Node,
    action: &Node,
    calls: &[&str],
    how: &str,
) -> Option<Finding> {
    let name = list.word("name").unwrap_or_default();
    let words = format!(
        "the list {name} {how} what the wrapper needs ({}), and that is {}",
        calls.join(", "),
        deed(action)
    );
    let span =
        list.get("name").map_or_else(|| hook.name_node.span.clone(), |name| name.span.clone());
    let exception = if how == "does not list" {
        let added: Vec<String> = calls.iter().map(|call| format!("sys_{call}")).collect();
        let edits: Option<Vec<Edit>> = list.get("values").and_then(|values| {
            added.iter().map(|call| edit::append(desk.source, values, &Piece::text(call))).collect()
        });
        Exception {
            words: "add them to the list".to_owned(),
            text: Piece::Map(vec![("values", Piece::texts(&added))]).block().join("\n"),
            edits: edit::merged(edits.unwrap_or_default()),
            costs: None,
        }
    } else {
        not_for_ours(desk, "take them off the list, or keep the policy from pods of ours")
    };
    desk.finding(Draft {
        rule: "T6",
        severity: Severity::Breaks,
        span,
        step: Step::Settle,
        words,
        exception: Some(exception),
    })
}

/// T13: what the wrapper starts is the app, and inherits what was meant for the wrapper.
fn followed(desk: &Desk<'_>, hook: &Hook<'_>) -> Option<Finding> {
    let wrapper = desk.settings.wrapper.as_str();
    hook.selectors.iter().find_map(|selector| {
        selector.enforces()?;
        let filter = selector.filters("matchBinaries").into_iter().find(|filter| {
            filter.says("followChildren")
                && filter.word("operator") == Some("In")
                && filter.words("values").contains(&wrapper)
        })?;
        desk.finding(Draft {
            rule: "T13",
            severity: Severity::Breaks,
            span: filter.key("followChildren")?.span.clone(),
            step: Step::Launch,
            words: "every program of the app descends from the wrapper, so the selector holds for \
                    all of them"
                .to_owned(),
            exception: Some(Exception {
                words: "name the wrapper without followChildren".to_owned(),
                text: "followChildren: false".to_owned(),
                edits: filter
                    .get("followChildren")
                    .map(|value| edit::replace(value, &Piece::bare(false)))
                    .into_iter()
                    .collect(),
                costs: None,
            }),
        })
    })
}

/// The exception of an enforcing hook: our binaries in each selector that acts on them, or, where
/// the app makes the call, not our pods.
fn exception(
    desk: &Desk<'_>,
    spec: &Node,
    hook: &Hook<'_>,
    hits: &[(String, Hit<'_>)],
) -> Exception {
    let in_app = hits.iter().any(|(_, hit)| hit.passage.program == Program::InApp);
    let mut values: Vec<&str> =
        hits.iter().filter_map(|(_, hit)| hit.actor.binary.as_deref()).collect();
    values.sort_unstable();
    values.dedup();
    if in_app {
        let words = "the app itself makes the call on the wrapper's behalf, whatever its binary is: \
                     keep the policy from pods of ours";
        return not_for_ours(desk, words);
    }
    let filter =
        Piece::Map(vec![("operator", Piece::text("NotIn")), ("values", Piece::texts(&values))]);
    let mut edits = Vec::new();
    for selector in hook.selectors.iter().filter(|selector| selector.enforces().is_some()) {
        let hit = hits.iter().any(|(_, hit)| {
            hit.actor.passes(desk, selector, hit.passage.execs)
                && args::can_match(desk, spec, hook, selector, &hit.passage, &hit.actor)
        });
        if hit {
            match leave_out(desk, selector, &filter, &values) {
                Some(edit) => edits.push(edit),
                None => {
                    return not_for_ours(
                        desk,
                        "a selector takes one filter of binaries, and has another: keep the policy from pods of ours",
                    );
                }
            }
        }
    }
    let text = Piece::Map(vec![("matchBinaries", Piece::List(vec![filter]))]).block().join("\n");
    Exception {
        words: "leave our programs out, in each selector that acts".to_owned(),
        text,
        edits: edit::merged(edits),
        costs: None,
    }
}

fn leave_out(
    desk: &Desk<'_>,
    selector: &Selector<'_>,
    filter: &Piece,
    values: &[&str],
) -> Option<Edit> {
    let there = selector.filters("matchBinaries");
    let Some(first) = there.first() else {
        let list = Piece::List(vec![filter.clone()]);
        return if selector.node.key("matchBinaries").is_some() {
            edit::fill(desk.source, selector.node, "matchBinaries", &list)
        } else {
            edit::add(desk.source, selector.node, "matchBinaries", &list)
        };
    };
    let own =
        selector.node.list("matchBinaries").first().is_some_and(|own| std::ptr::eq(own, *first));
    if there.len() != 1 || !own || first.word("operator") != Some("NotIn") {
        return None;
    }
    let list = first.get("values")?;
    let present = first.words("values");
    let missing = values.iter().filter(|value| !present.contains(value));
    let edits: Option<Vec<Edit>> =
        missing.map(|value| edit::append(desk.source, list, &Piece::text(*value))).collect();
    edit::merged(edits?).into_iter().next()
}

/// Whether a path is in a folder; for the probes.
pub(super) fn lies_in(path: &str, folder: &str) -> bool {
    Pattern::Folder { path: folder, recursive: true }.covers(path)
}
