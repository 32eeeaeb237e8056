//! Pods that were there before the agent: their wrappers are known by their files, and guarded with
//! all that they started.
//!
//! From then on they are guarded like all others. What that does not undo is told: who traces them,
//! what others opened, mapped or copied before, and that their launch claimed no agent.

use std::collections::BTreeMap;
use std::fs;

use cloudtaser_sys::roads;
use nix::unistd::Pid;
use serde::Serialize;
use serde_json::json;

use crate::caller::{cgroup, has_ended, parent, started, tracer};
use crate::events;
use crate::table::{MarkError, Since, Table};
use crate::wrappers::Wrappers;

/// A tree that grows faster than it is walked is left after so many walks; its newer processes are
/// children of guarded ones by then.
const WALKS: usize = 16;

/// What was found.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Late {
    /// Wrappers with all below them.
    pub(crate) trees: usize,
    /// Processes in them.
    pub(crate) processes: usize,
    /// Those that somebody outside their tree traces.
    pub(crate) traced: usize,
}

impl Late {
    /// What status says of it; nothing where nothing was found.
    pub(crate) fn words(&self) -> Option<String> {
        let Self { trees, processes, traced } = self;
        (*trees > 0).then(|| {
            let traced = match traced {
                0 => String::new(),
                count => format!(", {count} of them traced"),
            };
            format!(
                "{trees} wrappers ran before the agent and are guarded since ({processes} \
                 processes{traced}): what others took from them before is not undone"
            )
        })
    }
}

/// Guards the trees of all wrappers that run and are not guarded.
pub(crate) fn guard(table: &Table, wrappers: &mut Wrappers) -> Late {
    let mut late = Late::default();
    let mut candidates: Vec<(u64, Pid)> =
        processes().filter_map(|pid| Some((started(pid)?, pid))).collect();
    // A wrapper inside another one's tree comes later, and is guarded with it.
    candidates.sort_unstable_by_key(|(started, pid)| (*started, pid.as_raw()));
    for (_, pid) in candidates {
        if table.group(pid).is_some() || parent(pid).is_none() {
            continue;
        }
        let Ok(process) = roads::open_process(pid) else { continue };
        let Ok(digest) = wrappers.recognise_quickly(pid) else { continue };
        if has_ended(&process) {
            continue;
        }
        let group = match table.guard(pid, &process) {
            Ok(guarded) if guarded.since == Since::Now => Some(guarded.group),
            // It is marked all the same.
            Err(MarkError::Traced { .. }) => table.group(pid),
            _ => None,
        };
        let Some(group) = group else { continue };
        join_descendants(table, pid, group);
        let members = table.members(group);
        let tracers: BTreeMap<i32, i32> = members
            .iter()
            .filter_map(|member| Some((member.as_raw(), tracer(*member)?)))
            .filter(|(_, tracer)| table.group(*tracer) != Some(group))
            .map(|(member, tracer)| (member, tracer.as_raw()))
            .collect();
        events::write(&json!({
            "event": "found running",
            "pid": pid.as_raw(),
            "cgroup": cgroup(pid),
            "wrapper": digest.to_string(),
            "group": group,
            "processes": members.len(),
            "traced": tracers,
        }));
        late.trees += 1;
        late.processes += members.len();
        late.traced += tracers.len();
    }
    late
}

/// Marks children until a walk finds none without a mark: what a marked process starts is marked by
/// the kernel.
fn join_descendants(table: &Table, top: Pid, group: u32) {
    for _ in 0..WALKS {
        let parents: Vec<(Pid, Pid)> =
            processes().filter_map(|pid| Some((pid, parent(pid)?))).collect();
        let mut joined = false;
        for pid in below(top, &parents) {
            let Ok(process) = roads::open_process(pid) else { continue };
            // The number is the child's if it still is one.
            let still = parents.iter().any(|(child, of)| *child == pid && parent(pid) == Some(*of));
            joined |=
                still && table.group(pid).is_none() && table.join(pid, &process, group).is_ok();
        }
        if !joined {
            return;
        }
    }
}

/// All that descend from a process, by pairs of child and parent.
fn below(top: Pid, parents: &[(Pid, Pid)]) -> Vec<Pid> {
    let mut found = vec![top];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        let children = parents.iter().filter(|(child, of)| *of == parent && !found.contains(child));
        let children: Vec<Pid> = children.map(|(child, _)| *child).collect();
        found.extend(children);
        at += 1;
    }
    found.remove(0);
    found
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_found_over_any_depth() {
        let pair = |child, parent| (Pid::from_raw(child), Pid::from_raw(parent));
        let parents = [pair(5, 4), pair(2, 1), pair(3, 2), pair(4, 3), pair(9, 8), pair(6, 2)];
        let found: Vec<i32> =
            below(Pid::from_raw(2), &parents).into_iter().map(Pid::as_raw).collect();
        assert_eq!(found, [3, 6, 4, 5]);
        // Numbers that were read at different moments may form a ring.
        assert_eq!(below(Pid::from_raw(1), &[pair(2, 1), pair(1, 2)]).len(), 1);
    }

    #[test]
    fn nothing_found_is_nothing_said() {
        assert_eq!(Late::default().words(), None);
        let words = Late { trees: 2, processes: 7, traced: 1 }.words().unwrap();
        assert!(words.starts_with("2 wrappers ran before the agent"), "{words}");
        assert!(words.contains("1 of them traced"), "{words}");
    }
}
