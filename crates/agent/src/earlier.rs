//! Descriptors from before the agent that lead to what it denies: who holds them is told once, when
//! the first programs of a node are in force.
//!
//! Most of them are good for nothing by then: reads and writes are judged, a program is not attached.
//! What goes on are programs that are attached and events of perf that are open, which is why they
//! are named. Not seen: what lies in a queue of a socket or in a ring, and what was mapped.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use libbpf_rs::{MapCore as _, MapFlags, MapHandle};
use serde_json::json;

use crate::abi;
use crate::events;
use crate::loaders::Contents;

/// Holders that one line names; the rest is a count.
const MOST: usize = 64;

/// Descriptors without a path, by what the kernel calls them.
const NAMELESS: &[(&str, &str)] = &[
    ("anon_inode:bpf-prog", "bpf-prog"),
    ("anon_inode:bpf_link", "bpf-link"),
    ("anon_inode:bpf-link", "bpf-link"),
    ("anon_inode:[perf_event]", "perf-event"),
];

/// Files of the machine's own memory and of the kernel's switches.
const FILES: &[&str] =
    &["/proc/kcore", "/proc/sys/kernel/ftrace_enabled", "/dev/mem", "/dev/kmem", "/dev/port"];

/// Where what is written becomes a probe.
const TRACING: &[&str] = &["/sys/kernel/tracing/", "/sys/kernel/debug/tracing/"];

/// Files of another process that show its memory.
const MEMORY: &[&str] = &["mem", "environ", "maps", "pagemap", "auxv", "smaps"];

/// One process, and how many of each it holds.
#[derive(Debug, Eq, PartialEq, serde::Serialize)]
struct Holder {
    pid: i32,
    program: String,
    /// Whether its program is a listed loader.
    listed: bool,
    holds: BTreeMap<String, usize>,
}

/// Looks through the descriptors of all processes, and tells who holds which; how many who are no
/// listed loaders hold programs or events that go on.
pub(crate) fn tell(loaders: &MapHandle, contents: &Contents) -> usize {
    let others = processes().filter(|pid| u32::try_from(*pid) != Ok(std::process::id()));
    let mut holders: Vec<Holder> =
        others.filter_map(|pid| holder(pid, loaders, contents)).collect();
    if holders.is_empty() {
        return 0;
    }
    holders.sort_by_key(|holder| (holder.listed, holder.pid));
    let count = holders.len();
    let goes_on = holders.iter().filter(|holder| !holder.listed && holder.goes_on()).count();
    holders.truncate(MOST);
    events::write(&json!({
        "event": "descriptors from before the agent",
        "processes": count,
        "holders": holders,
    }));
    goes_on
}

impl Holder {
    /// Whether something of it works on beside the agent.
    fn goes_on(&self) -> bool {
        ["bpf-prog", "bpf-link", "perf-event"].iter().any(|kind| self.holds.contains_key(*kind))
    }
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn holder(pid: i32, loaders: &MapHandle, contents: &Contents) -> Option<Holder> {
    let home = PathBuf::from(format!("/proc/{pid}"));
    let mut holds = BTreeMap::new();
    for entry in fs::read_dir(home.join("fd")).ok()?.filter_map(Result::ok) {
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        if let Some(kind) = kind(&target, pid) {
            *holds.entry(kind).or_insert(0) += 1;
        }
    }
    if holds.is_empty() {
        return None;
    }
    let program = fs::read_link(home.join("exe")).unwrap_or_default();
    let marks = fs::metadata(home.join("exe")).ok().and_then(|data| {
        loaders.lookup(&abi::loader(data.ino(), data.dev()), MapFlags::ANY).ok().flatten()
    });
    let listed = marks.is_some() || contents.lists(pid);
    Some(Holder { pid, program: program.to_string_lossy().into_owned(), listed, holds })
}

/// What a descriptor is called here, if it leads to anything that is denied.
fn kind(target: &Path, own: i32) -> Option<String> {
    let text = target.to_str()?;
    if let Some((_, kind)) = NAMELESS.iter().find(|(name, _)| text == *name) {
        return Some((*kind).to_owned());
    }
    let of_tracing = TRACING.iter().any(|folder| text.starts_with(folder));
    if FILES.contains(&text) || of_tracing || is_memory(text, own) {
        return Some(text.to_owned());
    }
    None
}

/// `/proc/PID/mem` and its kin of somebody else.
fn is_memory(text: &str, own: i32) -> bool {
    let Some((pid, rest)) = text.strip_prefix("/proc/").and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    let name = rest.rsplit('/').next().unwrap_or(rest);
    pid.parse::<i32>().is_ok_and(|pid| pid != own) && MEMORY.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<String> {
        kind(Path::new(text), 7)
    }

    #[test]
    fn what_leads_to_memory_or_into_the_kernel_is_named() {
        assert_eq!(of("anon_inode:bpf-prog").as_deref(), Some("bpf-prog"));
        assert_eq!(of("anon_inode:[perf_event]").as_deref(), Some("perf-event"));
        for file in ["/proc/kcore", "/proc/8/mem", "/proc/8/task/9/environ"] {
            assert_eq!(of(file).as_deref(), Some(file));
        }
        assert!(of("/sys/kernel/tracing/uprobe_events").is_some());
    }

    #[test]
    fn what_everybody_holds_is_not() {
        for file in ["/proc/7/mem", "/proc/8/stat", "/proc/8/fd", "/dev/null", "socket:[9]"] {
            assert_eq!(of(file), None, "{file}");
        }
        assert_eq!(of("anon_inode:[eventpoll]"), None);
    }

    #[test]
    fn a_holder_of_files_alone_has_nothing_that_goes_on() {
        let holder = |kind: &str| Holder {
            pid: 1,
            program: String::new(),
            listed: false,
            holds: BTreeMap::from([(kind.to_owned(), 1)]),
        };
        assert!(!holder("/proc/kcore").goes_on());
        assert!(holder("perf-event").goes_on());
    }
}
