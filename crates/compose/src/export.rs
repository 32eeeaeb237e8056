//! Exceptions to begin with, and the document about needs; all from the one table.

use std::fmt::Write as _;

use cloudtaser_core::{
    names,
    needs::{Access, ENDPOINTS, NEEDS, Program, Without},
};
use serde_json::json;

use crate::{edit::Piece, settings::Settings};

/// The calls of the wrapper, and of the app on its behalf, as a seccomp profile.
///
/// It allows nothing else: an app's own calls have to be added, or these to the app's profile.
#[must_use]
pub fn seccomp() -> String {
    let groups = NEEDS.calls.iter().filter(|calls| calls.program != Program::Agent);
    let entries = groups.map(|calls| {
        let since = calls.since.map(|kernel| format!("; since Linux {kernel}")).unwrap_or_default();
        json!({
            "names": calls.names,
            "action": "SCMP_ACT_ALLOW",
            "comment": format!("{}: {}{since}", calls.program.name(), calls.reason),
        })
    });
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": entries.collect::<Vec<_>>(),
    });
    serde_json::to_string_pretty(&profile).unwrap_or_default() + "\n"
}

/// Entries for allow-lists of KubeArmor, as a policy of its own.
#[must_use]
pub fn kubearmor(settings: &Settings) -> String {
    let allow = |key, value: &str| Piece::Map(vec![(key, Piece::text(value))]);
    let mut files = Vec::new();
    let mut folders = Vec::new();
    for need in settings.pod_paths(&[]) {
        let path = if need.path.starts_with("/proc/") { "/proc/".to_owned() } else { need.path };
        if path.ends_with('/') {
            let folder =
                Piece::Map(vec![("dir", Piece::text(&path)), ("recursive", Piece::bare(true))]);
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        } else {
            files.push(allow("path", &path));
        }
    }
    let source = Piece::List(vec![allow("path", &settings.wrapper)]);
    let protocols = ["tcp", "udp", "seqpacket"].map(|protocol| {
        Piece::Map(vec![("protocol", Piece::text(protocol)), ("fromSource", source.clone())])
    });
    let selector = Piece::Map(vec![(
        "matchLabels",
        Piece::Map(vec![(names::LABEL_INJECT, Piece::text("true"))]),
    )]);
    let process = Piece::List(vec![allow("path", &settings.wrapper)]);
    let policy = Piece::Map(vec![
        ("apiVersion", Piece::text("security.kubearmor.com/v1")),
        ("kind", Piece::text("KubeArmorPolicy")),
        ("metadata", Piece::Map(vec![("name", Piece::text("cloudtaser"))])),
        (
            "spec",
            Piece::Map(vec![
                ("selector", selector),
                ("process", Piece::Map(vec![("matchPaths", process)])),
                (
                    "file",
                    Piece::Map(vec![
                        ("matchPaths", Piece::List(files)),
                        ("matchDirectories", Piece::List(folders)),
                    ]),
                ),
                ("network", Piece::Map(vec![("matchProtocols", Piece::List(protocols.into()))])),
                ("action", Piece::text("Allow")),
            ]),
        ),
    ]);
    let warning = "\
# For pods that allow-lists select already: what policies allow adds up.
# Do not apply a section of it to pods without an allow-list of that kind. One Allow makes an
# allow-list of the section, and everything else is reported, or refused under posture block.
";
    format!("{warning}{}\n", policy.block().join("\n"))
}

/// The filter that leaves our programs out of a selector of Tetragon.
#[must_use]
pub fn tetragon(settings: &Settings) -> String {
    let filter = Piece::Map(vec![
        ("operator", Piece::text("NotIn")),
        ("values", Piece::texts(&[&settings.wrapper, &settings.agent])),
    ]);
    let binaries = Piece::Map(vec![("matchBinaries", Piece::List(vec![filter]))]);
    let pods = Piece::Map(vec![
        ("podSelector", crate::kubernetes_selector::selector()),
        ("hostSelector", Piece::Map(Vec::new())),
    ]);
    format!(
        "# In each selector with Sigkill, Signal, Override or NotifyEnforcer, for calls that our\n\
         # programs make themselves. A selector takes one matchBinaries: add the values to a NotIn\n\
         # that is there.\n{}\n\n\
         # In spec, for calls that the app makes on the wrapper's behalf ({}), and for probes and\n\
         # buffers that copy memory.\n{}\n",
        binaries.block().join("\n"),
        NEEDS.call_names(&[Program::InApp]).join(", "),
        pods.block().join("\n")
    )
}

/// All needs, as JSON.
#[must_use]
pub fn json() -> String {
    let without = |without: Without| match without {
        Without::Ends => json!({ "then": "ends" }),
        Without::Lowers(words) => json!({ "then": "lowers", "words": words }),
        Without::Notes(words) => json!({ "then": "notes", "words": words }),
    };
    let calls = NEEDS.calls.iter().flat_map(|calls| {
        calls.names.iter().map(move |name| {
            json!({
                "program": calls.program.name(), "step": calls.step.name(), "name": name,
                "reason": calls.reason, "since": calls.since, "without": without(calls.without),
            })
        })
    });
    let capabilities = NEEDS.capabilities.iter().map(|need| {
        json!({
            "program": need.program.name(), "name": need.name, "reason": need.reason,
            "without": without(need.without),
        })
    });
    let paths = NEEDS.paths.iter().map(|need| {
        json!({
            "program": need.program.name(), "step": need.step.name(), "path": need.path,
            "access": access(need.access), "reason": need.reason, "without": without(need.without),
        })
    });
    let sockets = NEEDS.sockets.iter().map(|need| {
        json!({
            "program": need.program.name(), "step": need.step.name(), "family": need.family,
            "kind": need.kind, "reason": need.reason, "without": without(need.without),
        })
    });
    let endpoints = ENDPOINTS.iter().map(|endpoint| {
        json!({
            "program": endpoint.program.name(), "protocol": endpoint.protocol,
            "port": endpoint.port, "reason": endpoint.reason,
        })
    });
    let all = json!({
        "calls": calls.collect::<Vec<_>>(),
        "capabilities": capabilities.collect::<Vec<_>>(),
        "paths": paths.collect::<Vec<_>>(),
        "sockets": sockets.collect::<Vec<_>>(),
        "endpoints": endpoints.collect::<Vec<_>>(),
    });
    serde_json::to_string_pretty(&all).unwrap_or_default() + "\n"
}

const fn access(access: Access) -> &'static str {
    match access {
        Access::Execute => "execute",
        Access::Read => "read",
        Access::Write => "write",
    }
}

fn then(without: Without) -> &'static str {
    match without {
        Without::Ends => "it ends",
        Without::Lowers(words) | Without::Notes(words) => words,
    }
}

/// All needs, as a document.
#[must_use]
pub fn document() -> String {
    let mut text = "\
# What the programs need

Made from the table in `crates/core/src/needs/table.rs`; `cargo xtask codegen` writes it anew. The \
wrapper is the shipped one: static, x86-64. A test runs it under a filter that allows nothing else. \
What an app needs is the app's own. The list of the agent is by reading, and no test holds it yet.

As JSON: `cloudtaser compose export json`; for seccomp, KubeArmor and Tetragon: `cloudtaser compose \
export --help`.
"
    .to_owned();
    for program in [Program::Wrapper, Program::InApp, Program::Agent] {
        text += &format!("\n## {}\n", program.name());
        section(&mut text, program);
    }
    text
}

fn section(text: &mut String, program: Program) {
    let mut table = |header: &str, rows: Vec<String>| {
        if !rows.is_empty() {
            let rule = header.split('|').map(|_| "---").collect::<Vec<_>>().join("|");
            let _infallible = writeln!(text, "\n| {header} |\n|{rule}|\n{}", rows.join("\n"));
        }
    };
    let calls = NEEDS.calls.iter().filter(|calls| calls.program == program).map(|calls| {
        let names = calls.names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
        let (step, since) = (calls.step.name(), calls.since.unwrap_or_default());
        let without = then(calls.without);
        format!("| {} | {step} | {} | {since} | {without} |", names.join(" "), calls.reason)
    });
    table("system calls | step | for | since Linux | without", calls.collect());
    let capabilities = NEEDS.capabilities.iter().filter(|need| need.program == program);
    let capabilities = capabilities
        .map(|need| format!("| `{}` | {} | {} |", need.name, need.reason, then(need.without)));
    table("capability | for | without", capabilities.collect());
    let paths = NEEDS.paths.iter().filter(|need| need.program == program).map(|need| {
        let (step, access) = (need.step.name(), access(need.access));
        format!(
            "| `{}` | {access} | {step} | {} | {} |",
            need.path,
            need.reason,
            then(need.without)
        )
    });
    table("path | access | step | for | without", paths.collect());
    let sockets = NEEDS.sockets.iter().filter(|need| need.program == program).map(|need| {
        let (step, without) = (need.step.name(), then(need.without));
        format!("| `{}` `{}` | {step} | {} | {without} |", need.family, need.kind, need.reason)
    });
    table("socket | step | for | without", sockets.collect());
    let endpoints = ENDPOINTS.iter().filter(|endpoint| endpoint.program == program);
    let endpoints = endpoints.map(|endpoint| {
        format!("| {} {} | {} |", endpoint.protocol, endpoint.port, endpoint.reason)
    });
    table("endpoint | for", endpoints.collect());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Source, check, settings::Posture};

    fn findings(name: &str, text: &str) -> Vec<&'static str> {
        let settings = Settings { posture: Some(Posture::Block), ..Settings::default() };
        let report = check(&[Source::new(name, text)], &settings);
        assert!(report.problems.is_empty() && report.judged == 1, "{text}");
        report.findings.iter().map(|finding| finding.rule.id).collect()
    }

    #[test]
    fn what_is_exported_is_found_to_be_enough() {
        assert_eq!(findings("p.json", &seccomp()), [""; 0]);
        assert_eq!(findings("p.yaml", &kubearmor(&Settings::default())), [""; 0]);
    }

    #[test]
    fn the_filter_for_tetragon_excepts_us() {
        let text = tetragon(&Settings::default());
        let filter: Vec<String> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .take(3)
            .map(|l| format!("          {l}\n"))
            .collect();
        let policy = format!(
            "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: p}}\nspec:\n  kprobes:\n    \
             - call: sys_ptrace\n      selectors:\n        - matchActions:\n            - action: Sigkill\n{}",
            filter.concat()
        );
        assert_eq!(findings("t.yaml", &policy), [""; 0]);
    }

    #[test]
    fn the_document_has_every_call() {
        let document = document();
        for calls in NEEDS.calls {
            for name in calls.names {
                assert!(document.contains(&format!("`{name}`")), "{name}");
            }
        }
        assert!(serde_json::from_str::<serde_json::Value>(&json()).is_ok());
    }
}
