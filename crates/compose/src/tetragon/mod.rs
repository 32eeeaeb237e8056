//! Rules T1 to T14: Tetragon's policies and settings.
//!
//! A hook hits ours when one of our programs passes through the function that it is attached to,
//! and a selector that acts can be true of that passage: of the process, and of what it passes.
//! What is not known counts as possible; what a policy names without us counts as not ours.

mod actor;
mod args;
mod calls;
mod enforce;
mod policy;
mod probes;

use crate::{
    cluster::Workload,
    desk::{Desk, Draft},
    edit::{self, Piece},
    finding::{Exception, Finding, Severity},
    kubernetes_selector,
    object::{Kind, Object},
    selector::Selects,
    tree::Node,
};

pub(crate) use probes::settings as check_settings;

/// Whether a policy is about a workload.
pub(crate) fn selects(object: &Object, workload: &Workload) -> Selects {
    let Some(spec) = object.root.get("spec") else { return Selects::No };
    let pods = pods_of(spec, workload);
    match object.kind {
        Kind::TracingPolicyNamespaced => pods.and(workload.lives_in(object.namespace())),
        _ => pods,
    }
}

/// What the selectors of a policy, or of a filter of a selector, say of a workload.
fn pods_of(selectors: &Node, workload: &Workload) -> Selects {
    let pod = selectors.get("podSelector");
    let container = selectors.get("containerSelector");
    // Host workloads alone.
    if pod.is_none() && container.is_none() && selectors.get("hostSelector").is_some() {
        return Selects::No;
    }
    let pod = pod.map_or(Selects::Yes, |node| workload.chosen_with_namespace(node));
    pod.and(container.map_or(Selects::Yes, |node| containers(node, workload)))
}

fn containers(selector: &Node, workload: &Workload) -> Selects {
    let chosen = workload.containers.iter().map(|container| {
        let repository = container.image.split(['@', ':']).next().unwrap_or_default();
        let fields = [("name", container.name.as_str()), ("repo", repository)];
        let fields = fields.map(|(key, value)| (key.to_owned(), value.to_owned()));
        crate::selector::Labels::complete(fields.into()).chosen_by(selector)
    });
    chosen.max().unwrap_or(Selects::Perhaps)
}

/// Judges one policy.
pub(crate) fn check(desk: &Desk<'_>) -> Vec<Finding> {
    let Some(spec) = desk.object.root.get("spec") else { return Vec::new() };
    let hooks = policy::hooks(spec);
    let mut found = enforce::check(desk, spec, &hooks);
    found.extend(probes::check(desk, spec, &hooks));
    found.extend(unread_selector(desk, spec));
    found
}

/// Whether it is about everything on a node, and so about the agent.
fn is_about_all(spec: &Node) -> bool {
    ["podSelector", "containerSelector", "hostSelector"].iter().all(|key| spec.get(key).is_none())
}

/// T12: a selector that is not understood is taken as one that selects.
fn unread_selector(desk: &Desk<'_>, spec: &Node) -> Option<Finding> {
    let expressions = ["podSelector", "containerSelector"].iter().filter_map(|key| spec.get(key));
    let mut expressions = expressions.flat_map(|selector| selector.list("matchExpressions"));
    let operator = expressions.find_map(|expression| {
        let operator = expression.get("operator")?;
        let known = ["In", "NotIn", "Exists", "DoesNotExist"];
        (!known.contains(&operator.text()?)).then_some(operator)
    })?;
    desk.finding(Draft {
        rule: "T12",
        severity: Severity::Noisy,
        span: operator.span.clone(),
        step: cloudtaser_core::needs::Step::Launch,
        words: format!(
            "{} is no operator of a label selector: the policy is judged as if it selected pods of ours",
            operator.text().unwrap_or_default()
        ),
        exception: Some(Exception {
            words: "write In, NotIn, Exists or DoesNotExist".to_owned(),
            text: String::new(),
            edits: Vec::new(),
            costs: None,
        }),
    })
}

/// The exception that every policy has: not for pods of ours.
fn not_for_ours(desk: &Desk<'_>, words: &str) -> Exception {
    let spec = desk.object.root.get("spec");
    let mut text = vec![("podSelector", kubernetes_selector::selector())];
    let mut edits = Vec::new();
    if let Some(spec) = spec {
        edits.extend(kubernetes_selector::exclude(desk.source, spec, "podSelector"));
        // Without selectors a policy is about the host too, and with one for pods it is not.
        if is_about_all(spec) && desk.object.kind == Kind::TracingPolicy {
            text.push(("hostSelector", Piece::Map(Vec::new())));
            edits.extend(edit::add(desk.source, spec, "hostSelector", &Piece::Map(Vec::new())));
        }
    }
    Exception {
        words: words.to_owned(),
        text: Piece::Map(text).block().join("\n"),
        edits: edit::merged(edits),
        costs: Some("the whole policy no longer applies to pods of ours"),
    }
}
