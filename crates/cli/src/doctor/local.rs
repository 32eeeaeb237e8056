//! This machine, by trying: for `cloudtaser run`, and for a node that one is logged in to.

use std::path::Path;

use cloudtaser_sys::facts::{Facts, Reading};

use super::{Finding, State};

/// A launch needs some pages for values, and as many for the supervisor.
const MEMLOCK_BYTES: u64 = 1 << 20;

/// Looks at everything.
pub(super) fn look() -> Vec<Finding> {
    let facts = Facts::probe();
    let mut findings = vec![
        cpu(),
        tried(
            "sealed memory",
            facts.secret_memory,
            "Linux 5.14 or later; before 6.5 boot with secretmem.enable=1; values lie in locked \
             ordinary pages otherwise",
        ),
        locked(&facts),
        tried(
            "seccomp listener",
            facts.tracing.listener,
            "a sandbox or an outer supervisor is in the way: later programs of a tree are not \
             followed",
        ),
        tried(
            "tracing a child",
            facts.tracing.trace_me,
            "ptrace is refused here (Yama, seccomp profile): values cannot be placed at exec",
        ),
    ];
    findings.extend(kernel(&facts));
    findings.push(file(
        "BTF",
        "/sys/kernel/btf/vmlinux",
        "a kernel with CONFIG_DEBUG_INFO_BTF: the agent is OFF without",
    ));
    findings.push(file(
        "BPF file system",
        "/sys/fs/bpf",
        "mount -t bpf bpf /sys/fs/bpf: without it nothing outlives the agent",
    ));
    findings
}

fn cpu() -> Finding {
    match cloudtaser_tls::provider() {
        Ok(_) => Finding::ok("processor", "has what the cryptography needs"),
        Err(error) => Finding::new("processor", State::Bad, error.to_string(), "another node type"),
    }
}

fn tried(check: &str, probe: cloudtaser_sys::facts::Probe, fix: &str) -> Finding {
    match probe.reason() {
        None => Finding::ok(check, "works"),
        Some(reason) => Finding::new(check, State::Weak, format!("refused: {reason}"), fix),
    }
}

fn locked(facts: &Facts) -> Finding {
    let limit = facts.locked_memory.soft_limit_bytes;
    let found = match limit {
        None => "no limit".to_owned(),
        Some(bytes) => format!("{} KiB per user", bytes / 1024),
    };
    let enough = limit.is_none_or(|bytes| bytes >= MEMLOCK_BYTES);
    let state = if enough { State::Ok } else { State::Weak };
    let fix = "raise it: ulimit -l, LimitMEMLOCK= of a unit, or the runtime's default; all pods of \
               a user share it";
    Finding::new("memory that may be locked", state, found, fix)
}

fn kernel(facts: &Facts) -> Vec<Finding> {
    let kernel = &facts.kernel;
    let mut findings = Vec::new();
    if let Some(release) = kernel.release.known() {
        findings.push(Finding::ok("kernel", release.as_str()));
    }
    findings.push(match &kernel.security_modules {
        Reading::Known(all) if all.iter().any(|name| name == "bpf") => {
            Finding::ok("security modules", all.join(","))
        }
        Reading::Known(all) => Finding::new(
            "security modules",
            State::Weak,
            all.join(","),
            "boot with lsm=…,bpf: the agent falls back to fmod_ret, which fails open in races",
        ),
        _ => Finding::new(
            "security modules",
            State::Unknown,
            "/sys/kernel/security/lsm cannot be read",
            "mount -t securityfs securityfs /sys/kernel/security",
        ),
    });
    if let Some(mode) = kernel.lockdown.known() {
        let strict = mode == "confidentiality";
        let state = if strict { State::Weak } else { State::Ok };
        let fix = "lockdown=integrity: with confidentiality the agent's file hooks cannot load";
        findings.push(Finding::new("lockdown", state, mode.as_str(), fix));
    }
    if let Some(areas) = kernel.swap_areas.known() {
        let state = if *areas == 0 { State::Ok } else { State::Weak };
        let fix = "sealed pages are never swapped; copies that an app makes are: swapoff -a";
        findings.push(Finding::new("swap", state, format!("{areas} areas"), fix));
    }
    findings
}

fn file(check: &str, path: &str, fix: &str) -> Finding {
    if Path::new(path).exists() {
        Finding::ok(check, path)
    } else {
        Finding::new(check, State::Weak, format!("no {path}"), fix)
    }
}
