//! K1 to K5: presets, whose decision is made in the kernel; and K15, K17.

use cloudtaser_core::needs::{NEEDS, Program, Step};

use super::{not_for_ours, policy::Action};
use crate::{
    desk::{Desk, Draft},
    edit::Edit,
    finding::{Exception, Finding, Severity},
    tree::Node,
};

/// Programs that write machine code and execute it; by the first word of a command, or the image.
const JUST_IN_TIME: &[&str] = &[
    "java",
    "javaw",
    "node",
    "nodejs",
    "dotnet",
    "luajit",
    "pypy",
    "pypy3",
    "deno",
    "bun",
    "julia",
    "erl",
    "beam.smp",
    "openresty",
    "openjdk",
    "temurin",
    "corretto",
    "graalvm",
    "elasticsearch",
    "kafka",
    "cassandra",
    "tomcat",
    "jetty",
    "keycloak",
    "wildfly",
    "ruby",
];

pub(super) fn check(desk: &Desk<'_>, spec: &Node) -> Vec<Finding> {
    let mut found = Vec::new();
    for preset in spec.list("presets") {
        if Action::effective(&[preset, spec]) != Action::Block {
            continue;
        }
        let Some(name) = preset.get("name") else { continue };
        let draft = match name.text() {
            Some("filelessExec") => fileless(desk),
            Some("protectProc") => protect_proc(desk),
            Some("protectEnv") => protect_env(),
            Some("anonMapExec") => anonymous(desk),
            Some("exec") => terminal(),
            _ => continue,
        };
        found.extend(desk.finding(Draft { span: name.span.clone(), ..draft }));
    }
    found.extend(system_calls(desk, spec));
    found.extend(profile(desk, spec));
    found
}

fn draft(rule: &'static str, severity: Severity, step: Step, words: String) -> Draft {
    Draft { rule, severity, span: 0..0, step, words, exception: None }
}

fn in_memory(path: &str) -> bool {
    ["/dev/shm/", "/run/shm/", "/proc/self/fd/", "/dev/fd/"].iter().any(|at| path.starts_with(at))
}

fn fileless(desk: &Desk<'_>) -> Draft {
    let programs = desk.selected.iter().flat_map(|workload| workload.programs());
    let mut there = programs.filter(|path| in_memory(path)).map(str::to_owned);
    let own = in_memory(&desk.settings.wrapper).then(|| desk.settings.wrapper.clone());
    match own.or_else(|| there.next()) {
        Some(path) => Draft {
            exception: Some(not_for_ours(
                desk,
                "start it from another place, or keep the policy from pods of ours",
            )),
            ..draft(
                "K1",
                Severity::Breaks,
                Step::Launch,
                format!(
                    "{path} lies in memory that may not be executed from: its start is refused"
                ),
            )
        },
        None => draft(
            "K1",
            Severity::Noisy,
            Step::Launch,
            format!(
                "the wrapper starts from {} and executes the app by its path, which passes; an app \
                 that is started from a memfd or from /dev/shm is refused, as without the wrapper",
                desk.settings.wrapper
            ),
        ),
    }
}

fn protect_proc(desk: &Desk<'_>) -> Draft {
    let way = "the preset knows no exception by path: keep the policy from pods of ours; the node \
               agent closes the same files, and more of them";
    let files = desk.selected.iter().any(|workload| workload.may_have_files());
    let (severity, words) = if files {
        (
            Severity::Breaks,
            "everything below /proc but the own process is refused: the wrapper answers an app that \
             opens a secret file by /proc/PID of the app; runtimes that read /proc/meminfo fail too",
        )
    } else {
        (
            Severity::Blinds,
            "everything below /proc but the own process is refused: facts of the kernel stay \
             unknown to the wrapper; runtimes that read /proc/meminfo fail, as without it",
        )
    };
    Draft {
        exception: Some(not_for_ours(desk, way)),
        ..draft("K2", severity, Step::Launch, words.to_owned())
    }
}

fn protect_env() -> Draft {
    let words = "compatible: nothing of ours reads another process's environ. Weaker than the node \
                 agent: /proc/PID/task/TID/environ, mem, maps and a second procfs stay open";
    draft("K3", Severity::Noisy, Step::Guard, words.to_owned())
}

fn anonymous(desk: &Desk<'_>) -> Draft {
    let jit =
        desk.selected.iter().flat_map(|workload| &workload.containers).find_map(|container| {
            let image = container.image.rsplit('/').next().unwrap_or_default();
            let image = image.split([':', '@']).next().unwrap_or_default();
            let program = container.words.first().map(String::as_str).unwrap_or_default();
            let program = program.rsplit('/').next().unwrap_or_default();
            [program, image].into_iter().find(|name| JUST_IN_TIME.contains(name)).map(str::to_owned)
        });
    match jit {
        Some(name) => Draft {
            exception: Some(not_for_ours(
                desk,
                "keep the policy from these pods, or run the app without a just-in-time compiler",
            )),
            ..draft(
                "K4",
                Severity::Breaks,
                Step::Launch,
                format!(
                    "{name} executes code that it wrote into anonymous memory: it is refused, with the wrapper as without"
                ),
            )
        },
        None => draft(
            "K4",
            Severity::Noisy,
            Step::Launch,
            "the wrapper maps nothing executable; an app with a just-in-time compiler is refused, \
             with the wrapper as without"
                .to_owned(),
        ),
    }
}

fn terminal() -> Draft {
    let words = "`kubectl exec -it` into the pod is refused, a look at the app by the wrapper's own \
                 commands included; `kubectl exec` without -t passes";
    draft("K5", Severity::Noisy, Step::Supervise, words.to_owned())
}

/// K15: only ever reported, never refused.
fn system_calls(desk: &Desk<'_>, spec: &Node) -> Option<Finding> {
    let own = NEEDS.call_names(&[Program::Wrapper, Program::InApp]);
    let wrapper = desk.settings.wrapper.as_str();
    let mut named = Vec::new();
    let mut span = None;
    for list in ["matchSyscalls", "matchPaths"] {
        for node in spec.get("syscalls").map_or(&[][..], |part| part.list(list)) {
            let sources: Vec<_> =
                node.list("fromSource").iter().filter_map(|source| source.word("path")).collect();
            if !sources.is_empty() && !sources.contains(&wrapper) {
                continue;
            }
            let Some(calls) = node.get("syscall") else { continue };
            let words = node.words("syscall");
            let ours: Vec<_> = words.into_iter().filter(|name| own.contains(name)).collect();
            if !ours.is_empty() {
                span.get_or_insert_with(|| calls.span.clone());
            }
            named.extend(ours);
        }
    }
    named.sort_unstable();
    named.dedup();
    let words = format!(
        "system calls that the wrapper makes are reported for it too: {}. They are never refused",
        named.join(", ")
    );
    desk.finding(Draft { span: span?, ..draft("K15", Severity::Noisy, Step::Settle, words) })
}

/// K17: a profile of AppArmor that says nothing of ptrace refuses it.
fn profile(desk: &Desk<'_>, spec: &Node) -> Option<Finding> {
    let node = spec.get("apparmor")?;
    let text = node.text()?;
    let rules = text.split([',', '\n']).map(str::trim);
    let traces = rules.clone().any(|rule| {
        let mut words = rule.trim_start_matches("audit ").split([' ', '(']);
        words.next() == Some("ptrace")
    });
    if traces || text.trim().is_empty() {
        return None;
    }
    let whole = desk.source.text();
    let key = spec.key("apparmor")?;
    // Only a literal block has lines of its own to add one to.
    let header = whole.get(key.span.end..)?.lines().next()?.trim_start_matches([':', ' ']);
    let end = whole.get(..node.span.end)?.trim_end().len();
    let last = whole.get(desk.source.line_start(end)..end)?;
    let indent = last.len() - last.trim_start().len();
    let edits = (header.starts_with('|') && indent > 0).then(|| {
        let line = if whole.contains("\r\n") { "\r\n" } else { "\n" };
        vec![Edit { at: (end, end), text: format!("{line}{}ptrace,", " ".repeat(indent)) }]
    });
    desk.finding(Draft {
        span: key.span.clone(),
        exception: Some(Exception {
            words: "allow tracing inside the profile".to_owned(),
            text: "ptrace,".to_owned(),
            edits: edits.unwrap_or_default(),
            costs: None,
        }),
        ..draft(
            "K17",
            Severity::Leaks,
            Step::Launch,
            "the profile has no rule for ptrace, so AppArmor refuses it: values then go through an \
             ordinary environment, unless the pod requires environ=hidden and does not start"
                .to_owned(),
        )
    })
}
