//! What this kernel says about itself, as far as a guard depends on it.
//!
//! Read, not believed: whether the programs run is shown by the canary alone.

pub(crate) mod signals;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use cloudtaser_sys::roads::{self, BpfObject};
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

/// The node's own files, also for an agent in a container.
pub(crate) const ROOT: &str = "/proc/1/root";

/// Inode of the first PID namespace, fixed in the kernel (`PROC_PID_INIT_INO`).
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// KERNEL: bits of `CapEff`, from `linux/capability.h`.
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Time since the machine booted, which the kernel side writes into its reports.
pub(crate) fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// Time of day.
pub(crate) fn since_epoch() -> Duration {
    clock_gettime(ClockId::CLOCK_REALTIME).map_or(Duration::ZERO, Duration::from)
}

/// Tells this boot from every other one.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// When a task that runs in the kernel may be interrupted by another one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Preemption {
    /// At any instruction, or almost: `full`, `lazy`, `PREEMPT_RT`.
    Full,
    /// The kernel can switch and does not say what it chose.
    Unknown,
    /// Only where it asks to be.
    Voluntary,
}

impl Preemption {
    /// Asks debugfs, then the version line.
    pub(crate) fn read() -> Self {
        let debugfs = fs::read_to_string("/sys/kernel/debug/sched/preempt").ok();
        let version = nix::sys::utsname::uname()
            .map(|name| name.version().to_string_lossy().into_owned())
            .unwrap_or_default();
        Self::judge(debugfs.as_deref(), &version)
    }

    fn judge(debugfs: Option<&str>, version: &str) -> Self {
        if version.contains("PREEMPT_RT") {
            return Self::Full;
        }
        // The chosen model is in brackets, as in `none voluntary (full)`.
        let chosen =
            debugfs.and_then(|text| Some(text.split_once('(')?.1.split_once(')')?.0.to_owned()));
        match chosen.as_deref() {
            Some("none" | "voluntary") => Self::Voluntary,
            Some(_) => Self::Full,
            None if version.contains("PREEMPT_DYNAMIC") => Self::Unknown,
            None if version.contains("PREEMPT") => Self::Full,
            None => Self::Voluntary,
        }
    }
}

/// Whether `bpf` is among the active LSMs; `None` where securityfs is not mounted.
pub(crate) fn has_bpf_lsm() -> Option<bool> {
    let active = fs::read_to_string("/sys/kernel/security/lsm").ok()?;
    Some(active.trim().split(',').any(|name| name == "bpf"))
}

/// The chosen lockdown mode, such as `confidentiality`.
pub(crate) fn lockdown() -> Option<String> {
    let modes = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    let chosen = modes.split_once('[')?.1.split_once(']')?.0;
    (chosen != "none").then(|| chosen.to_owned())
}

/// SECURITY: a zero in this file turns every program on a trampoline off, and nothing else shows
/// it.
pub(crate) fn trampolines_are_off() -> bool {
    fs::read_to_string("/proc/sys/kernel/ftrace_enabled").is_ok_and(|text| text.trim() == "0")
}

/// Numbers of processes mean the same to the programs and to the agent in the first namespace
/// only.
pub(crate) fn is_in_first_pid_namespace() -> bool {
    fs::metadata("/proc/self/ns/pid").is_ok_and(|data| data.ino() == FIRST_PID_NAMESPACE)
}

/// Whether the kernel describes its own types, without which nothing can be relocated.
pub(crate) fn has_btf() -> bool {
    fs::metadata("/sys/kernel/btf/vmlinux").is_ok()
}

/// Why nobody here may load programs, as far as this process can tell by looking at itself.
pub(crate) fn what_forbids_bpf() -> Option<&'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let asked = roads::open_bpf_object(BpfObject::Program, 0);
    judge_rights(&status, asked)
}

fn judge_rights(status: &str, asked: Result<(), Errno>) -> Option<&'static str> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let effective = field("CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let has = |bit: u32| effective.is_none_or(|bits| bits & 1 << bit != 0);
    let suffices = has(CAP_SYS_ADMIN) || (has(CAP_BPF) && has(CAP_PERFMON));
    if !suffices {
        return Some("neither CAP_SYS_ADMIN nor CAP_BPF with CAP_PERFMON");
    }
    match asked {
        // No program has the number 0: who is let through is told that there is none.
        Err(Errno::EPERM) if field("Seccomp:").is_some_and(|mode| mode != "0") => {
            Some("bpf(2) is refused, and this process is under a seccomp filter")
        }
        Err(Errno::ENOSYS) => Some("the kernel has no bpf(2)"),
        _ => None,
    }
}

/// What the node calls itself.
pub(crate) fn name() -> String {
    nix::sys::utsname::uname()
        .map(|name| name.nodename().to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Release of the kernel, for reports.
pub(crate) fn release() -> String {
    nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preemption_is_what_debugfs_marks() {
        let dynamic = "#1 SMP PREEMPT_DYNAMIC Debian 6.12";
        let judge = |debugfs| Preemption::judge(debugfs, dynamic);
        assert_eq!(judge(Some("none (voluntary) full\n")), Preemption::Voluntary);
        assert_eq!(judge(Some("none voluntary (full)\n")), Preemption::Full);
        assert_eq!(judge(Some("full (lazy)\n")), Preemption::Full);
        assert_eq!(judge(None), Preemption::Unknown);
    }

    #[test]
    fn without_debugfs_the_version_line_decides() {
        assert_eq!(Preemption::judge(None, "#1 SMP Debian"), Preemption::Voluntary);
        assert_eq!(Preemption::judge(None, "#1 SMP PREEMPT Debian"), Preemption::Full);
        assert_eq!(Preemption::judge(None, "#1 SMP PREEMPT_RT Debian"), Preemption::Full);
    }

    #[test]
    fn what_forbids_bpf_is_named() {
        let status =
            |capabilities: &str, mode: u8| format!("CapEff:\t{capabilities}\nSeccomp:\t{mode}\n");
        let (all, least, none) = ("000001ffffffffff", "000000c000000000", "0000013ffedfffff");
        let there_is_none = Err(Errno::ENOENT);
        assert_eq!(judge_rights(&status(all, 0), there_is_none), None);
        assert_eq!(judge_rights(&status(least, 2), there_is_none), None);
        let words = judge_rights(&status(none, 0), Err(Errno::EPERM)).unwrap();
        assert!(words.contains("CAP_BPF"), "{words}");
        let words = judge_rights(&status(all, 2), Err(Errno::EPERM)).unwrap();
        assert!(words.contains("seccomp"), "{words}");
        // Without a filter it may be an earlier agent that refuses, which is told apart later.
        assert_eq!(judge_rights(&status(all, 0), Err(Errno::EPERM)), None);
    }
}
