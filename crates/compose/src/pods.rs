//! P1 to P6, D1: what pods and namespaces of ours say of themselves.

use cloudtaser_core::{names, needs::Step};

use crate::{
    cluster::pod_of,
    desk::{Desk, Draft},
    edit::{self, Piece},
    finding::{Exception, Finding, Severity},
    tree::Node,
};

/// Runtimes with a kernel of their own, by what their classes are called.
const OTHER_KERNELS: &[&str] = &["gvisor", "runsc", "kata", "firecracker"];

/// Judges a workload of ours.
pub(crate) fn check(desk: &Desk<'_>) -> Vec<Finding> {
    let Some((_, spec)) = pod_of(&desk.object.root) else { return Vec::new() };
    let mut found = Vec::new();
    found.extend(shared(desk, spec));
    found.extend(own_users(desk, spec));
    found.extend(host_processes(desk, spec));
    found.extend(other_kernel(desk, spec));
    for container in spec.list("containers").iter().chain(spec.list("initContainers")) {
        found.extend(powers(desk, container));
        found.extend(covered(desk, container));
    }
    found
}

fn by_hand(words: &str) -> Option<Exception> {
    Some(Exception { words: words.to_owned(), text: String::new(), edits: Vec::new(), costs: None })
}

/// Says `false` where something else is said.
fn say_false(node: &Node, key: &str, words: &str) -> Option<Exception> {
    let value = node.get(key)?;
    Some(Exception {
        words: words.to_owned(),
        text: format!("{key}: false"),
        edits: vec![edit::replace(value, &Piece::bare(false))],
        costs: None,
    })
}

/// P1.
fn shared(desk: &Desk<'_>, spec: &Node) -> Option<Finding> {
    if !spec.says("shareProcessNamespace") || spec.list("containers").len() < 2 {
        return None;
    }
    desk.finding(Draft {
        rule: "P1",
        severity: Severity::Leaks,
        span: spec.get("shareProcessNamespace")?.span.clone(),
        step: Step::Launch,
        words:
            "the other containers of the pod see the app's processes: with the same uid, or root, \
                they have the roads of row T1 to its memory, unless the node agent enforces"
                .to_owned(),
        exception: say_false(
            spec,
            "shareProcessNamespace",
            "a namespace of processes for each container",
        ),
    })
}

/// P3.
fn own_users(desk: &Desk<'_>, spec: &Node) -> Option<Finding> {
    let value = spec.get("hostUsers").filter(|value| value.text() == Some("false"))?;
    desk.finding(Draft {
        rule: "P3",
        severity: Severity::Blinds,
        span: value.span.clone(),
        step: Step::Guard,
        words:
            "in a namespace of users the node's root is nobody, so the wrapper believes no agent \
                and the level says agent=off"
                .to_owned(),
        exception: by_hand(
            "keep it where the level may say so; the agent's guard cannot be had with it",
        ),
    })
}

/// P4.
fn host_processes(desk: &Desk<'_>, spec: &Node) -> Option<Finding> {
    if !spec.says("hostPID") {
        return None;
    }
    desk.finding(Draft {
        rule: "P4",
        severity: Severity::Blinds,
        span: spec.get("hostPID")?.span.clone(),
        step: Step::Launch,
        words:
            "the pod sees every process of the node, and KubeArmor's policies for containers do \
                not hold for it"
                .to_owned(),
        exception: say_false(spec, "hostPID", "a namespace of processes for the pod"),
    })
}

/// P5.
fn other_kernel(desk: &Desk<'_>, spec: &Node) -> Option<Finding> {
    let class = spec.get("runtimeClassName")?;
    let name = class.text()?.to_ascii_lowercase();
    if !OTHER_KERNELS.iter().any(|kernel| name.contains(kernel)) {
        return None;
    }
    desk.finding(Draft {
        rule: "P5",
        severity: Severity::Blinds,
        span: class.span.clone(),
        step: Step::Guard,
        words: "the pod has a kernel of its own, in which no node agent of ours, KubeArmor or \
                Tetragon sees anything; what it offers of sealed memory shows in the level"
            .to_owned(),
        exception: by_hand("require the level that you need (cloudtaser.io/require)"),
    })
}

/// P2.
fn powers(desk: &Desk<'_>, container: &Node) -> Option<Finding> {
    let context = container.get("securityContext")?;
    let added = context.at(&["capabilities", "add"]).map_or(&[][..], Node::items);
    let tracing = added.iter().find(|name| {
        name.text().is_some_and(|name| {
            matches!(
                name.trim_start_matches("CAP_"),
                "SYS_PTRACE" | "SYS_ADMIN" | "ALL" | "BPF" | "PERFMON" | "SYS_MODULE" | "SYS_RAWIO"
            )
        })
    });
    let (node, what) = match tracing {
        Some(name) => (name, name.text()?.to_owned()),
        None if context.says("privileged") => (context.get("privileged")?, "privileged".to_owned()),
        None => return None,
    };
    desk.finding(Draft {
        rule: "P2",
        severity: Severity::Leaks,
        span: node.span.clone(),
        step: Step::Launch,
        words: format!(
            "{what}: whoever runs code in this container has the powers of row T3 over the app, and \
             more than the node agent closes"
        ),
        exception: by_hand("drop it; neither the wrapper nor the agent's guard needs it in the pod"),
    })
}

/// P6.
fn covered(desk: &Desk<'_>, container: &Node) -> Option<Finding> {
    let folder = desk.settings.wrapper.rsplit_once('/').map_or("/cloudtaser", |(folder, _)| folder);
    let taken = container.list("volumeMounts").iter().find_map(|mount| {
        let path = mount.get("mountPath")?;
        let own = path.text()?.trim_end_matches('/');
        // The webhook's own volumes are named after it.
        let ours = mount.word("name").is_some_and(|name| name.starts_with("cloudtaser-"));
        let over = own == names::FILE_ROOT || own == folder || own == "/cloudtaser";
        (over && !ours).then_some(path)
    })?;
    desk.finding(Draft {
        rule: "P6",
        severity: Severity::Breaks,
        span: taken.span.clone(),
        step: Step::Start,
        words: format!("a volume of yours is mounted where ours belongs ({})", taken.text()?),
        exception: by_hand("mount it elsewhere"),
    })
}

/// D1: the namespace of the agent.
pub(crate) fn namespace(desk: &Desk<'_>) -> Option<Finding> {
    let root = &desk.object.root;
    let name = root.at(&["metadata", "name"]).and_then(Node::text)?;
    if !name.starts_with("cloudtaser") {
        return None;
    }
    let labels = root.at(&["metadata", "labels"])?;
    let key = "pod-security.kubernetes.io/enforce";
    let level = labels.get(key)?;
    let text = level.text().filter(|text| matches!(*text, "baseline" | "restricted"))?;
    desk.finding(Draft {
        rule: "D1",
        severity: Severity::Breaks,
        span: level.span.clone(),
        step: Step::Guard,
        words: format!(
            "the node agent needs the host's processes and mounts, which the level {text} refuses: \
             its pods are not created"
        ),
        exception: Some(Exception {
            words:
                "the namespace of the agent is privileged; pods of ours live in others, under any \
                    level"
                    .to_owned(),
            text: format!("{key}: privileged"),
            edits: vec![edit::replace(level, &Piece::text("privileged"))],
            costs: Some("pods of this namespace may ask for anything: keep others out of it"),
        }),
    })
}
