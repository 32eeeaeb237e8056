//! T7 to T10, T14: policies that read, or change, what they look at.

use cloudtaser_core::{names, needs::Step};

use super::{
    actor::Actor,
    args,
    enforce::lies_in,
    not_for_ours,
    policy::{self, Family, Hook, Selector, call_name},
};
use crate::{
    desk::{Desk, Draft},
    finding::{Exception, Finding, Severity},
    object::Kind,
    tree::Node,
};
use cloudtaser_core::needs::Program;

/// Types of arguments that copy memory of the process.
const COPIED: &[&str] =
    &["string", "char_buf", "char_iovec", "const_buf", "iov_iter", "user_string", "data_loc"];

/// Libraries through which secrets pass, by the beginning of their names.
const LIBRARIES: &[&str] = &[
    "libc.so",
    "libc-",
    "libc.musl",
    "ld-musl",
    "ld-linux",
    "libssl",
    "libcrypto",
    "libgnutls",
    "libnss3",
    "libnspr4",
    "libcurl",
    "libpam",
    "libpq",
    "libmysqlclient",
    "libjvm",
    "libpython",
    "libnode",
    "libruby",
    "libperl",
];

/// System calls and functions whose buffers are what an app says and hears.
const TALK: &[&str] = &[
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "read",
    "readv",
    "pread64",
    "preadv",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
    "ksys_write",
    "ksys_read",
    "vfs_write",
    "vfs_read",
    "tcp_sendmsg",
    "tcp_recvmsg",
    "udp_sendmsg",
    "udp_recvmsg",
    "unix_stream_sendmsg",
    "sock_sendmsg",
    "security_socket_sendmsg",
    "security_socket_recvmsg",
    "unix_dgram_sendmsg",
];

pub(super) fn check(desk: &Desk<'_>, spec: &Node, hooks: &[Hook<'_>]) -> Vec<Finding> {
    let mut found = Vec::new();
    for hook in hooks {
        match hook.family {
            Family::Uprobe | Family::Usdt => {
                found.extend(changes(desk, hook).or_else(|| reads(desk, hook)));
            }
            _ => found.extend(listens(desk, spec, hook)),
        }
    }
    found.extend(loader(desk, spec));
    found
}

/// The argument of a hook that copies memory.
fn copied<'a>(hook: &Hook<'a>) -> Option<&'a Node> {
    let returned = hook.node.get("returnArg").into_iter();
    let all = hook.node.list("args").iter().chain(hook.node.list("data")).chain(returned);
    all.filter_map(|arg| arg.get("type"))
        .find(|kind| kind.text().is_some_and(|kind| COPIED.contains(&kind)))
}

/// Whether code that pods of ours run is what a probe is attached to.
fn is_ours(desk: &Desk<'_>, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let library = LIBRARIES.iter().any(|library| name.starts_with(library));
    let mut programs = desk.selected.iter().flat_map(|workload| workload.programs());
    path == desk.settings.wrapper
        || name == names::WRAPPER
        || library
        || programs.any(|own| own == path)
}

/// Whether a selector of a hook that reads can be true of a process in a pod of ours.
fn can_see(desk: &Desk<'_>, selector: &Selector<'_>) -> bool {
    let mut actors = Actor::all(desk, Program::Wrapper);
    actors.extend(Actor::all(desk, Program::InApp));
    let silent = selector.actions().iter().any(|action| action.word("action") == Some("NoPost"));
    !silent && actors.iter().any(|actor| actor.passes(desk, selector, false))
}

fn is_seen(desk: &Desk<'_>, hook: &Hook<'_>) -> bool {
    hook.selectors.is_empty() || hook.selectors.iter().any(|selector| can_see(desk, selector))
}

/// T7.
fn reads(desk: &Desk<'_>, hook: &Hook<'_>) -> Option<Finding> {
    let kind = copied(hook)?;
    if !is_ours(desk, &hook.name) || !is_seen(desk, hook) {
        return None;
    }
    desk.finding(Draft {
        rule: "T7",
        severity: Severity::Leaks,
        span: kind.span.clone(),
        step: Step::Launch,
        words: format!(
            "what an argument of {} points to is copied into the events, from sealed pages too: the \
             kernel reads as the process itself",
            hook.name
        ),
        exception: Some(not_for_ours(
            desk,
            "leave the argument out, or keep the policy from pods of ours. The node agent refuses \
             the probe on guarded programs where it enforces",
        )),
    })
}

/// T9.
fn changes(desk: &Desk<'_>, hook: &Hook<'_>) -> Option<Finding> {
    if !is_ours(desk, &hook.name) {
        return None;
    }
    let action =
        hook.selectors.iter().filter(|selector| can_see(desk, selector)).find_map(|selector| {
            selector.actions().into_iter().find_map(|action| {
                let name = action.get("action")?;
                matches!(name.text()?, "Override" | "Set").then_some(name)
            })
        })?;
    desk.finding(Draft {
        rule: "T9",
        severity: Severity::Breaks,
        span: action.span.clone(),
        step: Step::Launch,
        words: format!("registers, arguments or results are changed inside {}", hook.name),
        exception: Some(not_for_ours(desk, "keep the policy from pods of ours")),
    })
}

/// T8.
fn listens(desk: &Desk<'_>, spec: &Node, hook: &Hook<'_>) -> Option<Finding> {
    let names = match policy::list(spec, &hook.name) {
        Some(list) => list.words("values"),
        None => vec![hook.name.as_str()],
    };
    let name = names.into_iter().find(|name| {
        let plain = call_name(name).unwrap_or(name);
        TALK.contains(&plain)
    })?;
    let kind = copied(hook)?;
    // A tracepoint has no buffer, and a string of a function is a name.
    let buffer = kind
        .text()
        .is_some_and(|kind| matches!(kind, "char_buf" | "char_iovec" | "iov_iter" | "string"));
    let seen = |selector: &Selector<'_>| can_see(desk, selector) && !is_elsewhere(desk, selector);
    if !buffer || !(hook.selectors.is_empty() || hook.selectors.iter().any(seen)) {
        return None;
    }
    desk.finding(Draft {
        rule: "T8",
        severity: Severity::Leaks,
        span: kind.span.clone(),
        step: Step::Launch,
        words: format!(
            "what passes through {name} is copied into the events in clear, from sealed pages too: \
             a secret that the app sends without TLS, the token that the wrapper reads"
        ),
        exception: Some(not_for_ours(
            desk,
            "filters of fields do not cut arguments: narrow the selectors to files that hold no \
             secret, or keep the policy from pods of ours",
        )),
    })
}

/// Whether a selector is about files that hold nothing of ours.
fn is_elsewhere(desk: &Desk<'_>, selector: &Selector<'_>) -> bool {
    // What a container logs is in its log anyway.
    let logs = selector.filters("matchArgs").into_iter().any(|filter| {
        let values = filter.words("values");
        filter.word("index").unwrap_or("0") == "0"
            && matches!(filter.word("operator"), Some("Equal" | "In"))
            && !values.is_empty()
            && values.iter().all(|value| matches!(*value, "1" | "2"))
    });
    if logs {
        return true;
    }
    let paths = args::named_paths(selector);
    let positive: Vec<&str> = paths
        .iter()
        .filter(|(operator, _)| !operator.to_ascii_lowercase().starts_with("not"))
        .map(|(_, path)| *path)
        .collect();
    if positive.is_empty() {
        return false;
    }
    let mut own = desk.settings.tokens(&desk.selected);
    own.push(format!("{}/x", names::FILE_ROOT));
    !positive.iter().any(|path| {
        own.iter().any(|own| own == path || own.starts_with(path) || lies_in(own, path))
    })
}

/// T14.
fn loader(desk: &Desk<'_>, spec: &Node) -> Option<Finding> {
    if !spec.says("loader") {
        return None;
    }
    desk.finding(Draft {
        rule: "T14",
        severity: Severity::Noisy,
        span: spec.key("loader")?.span.clone(),
        step: Step::Launch,
        words: "names and build ids of what is mapped are reported, nothing of its content"
            .to_owned(),
        exception: None,
    })
}

/// T10: settings of the agent, in its ConfigMap or in values for its chart.
pub(crate) fn settings(desk: &Desk<'_>) -> Option<Finding> {
    let root = &desk.object.root;
    if desk.object.kind != Kind::ConfigMap {
        return None;
    }
    let data = root.get("data")?;
    let key = "enable-process-environment-variables";
    let value = data.get(key).filter(|value| value.text() == Some("true"))?;
    // A list of names keeps what is not listed out.
    if data.word("filter-environment-variables").is_some_and(|names| !names.trim().is_empty()) {
        return None;
    }
    desk.finding(Draft {
        rule: "T10",
        severity: Severity::Leaks,
        span: value.span.clone(),
        step: Step::Launch,
        words: "the environment of every exec is exported: credentials in the wrapper's own, and \
                every value of a launch whose level says environ=plain. Where it says hidden, \
                placeholders are exported"
            .to_owned(),
        exception: Some(Exception {
            words: "list the names that may be exported".to_owned(),
            text: "filter-environment-variables: PATH,HOME".to_owned(),
            edits: crate::edit::add(
                desk.source,
                data,
                "filter-environment-variables",
                &crate::edit::Piece::text("PATH,HOME"),
            )
            .into_iter()
            .collect(),
            costs: None,
        }),
    })
}
