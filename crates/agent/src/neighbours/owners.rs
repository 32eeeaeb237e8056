//! Whose a program is: which process holds it open.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use cloudtaser_core::cgroup::Workload;
use nix::unistd::Pid;
use serde::Serialize;

use super::tables::Table;
use crate::caller;

/// Longer paths are cut: a line of output is no place for what others chose.
const LEN: usize = 100;

/// Whose it is, as far as that can be told.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Owner {
    /// The process that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<i32>,
    /// Its program file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exe: Option<String>,
    /// Its pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<String>,
}

/// By the numbers of programs.
#[derive(Clone, Debug, Default)]
pub(super) struct Owners(BTreeMap<u32, Owner>);

impl Owners {
    /// Goes through the descriptors of all processes, and tables of programs.
    pub(super) fn find() -> Self {
        let mut own = Self::default();
        let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        for pid in pids.filter(|pid| *pid != Pid::this().as_raw()) {
            own.descriptors(pid);
        }
        own.tables(&Table::all());
        own
    }

    /// What only a table holds is of the one process whose programs use the table.
    ///
    /// SECURITY: where a program of somebody else uses it as well, or of nobody, it stays nobody's.
    fn tables(&mut self, tables: &[Table]) {
        let mut inherited: BTreeMap<u32, Vec<Option<Owner>>> = BTreeMap::new();
        for table in tables {
            let in_it = |user: &u32| table.called.contains(user) && self.held(*user).is_none();
            let callers = table.users.iter().filter(|user| !in_it(user));
            let held: BTreeSet<Option<Owner>> = callers.map(|user| self.held(*user)).collect();
            let one = (held.len() == 1).then(|| held.into_iter().flatten().next()).flatten();
            for program in table.called.iter().filter(|program| self.held(**program).is_none()) {
                inherited.entry(*program).or_default().push(one.clone());
            }
        }
        for (program, mut owners) in inherited {
            owners.dedup();
            if let [Some(owner)] = owners.as_slice() {
                self.0.insert(program, owner.clone());
            }
        }
    }

    /// The process that holds a program.
    fn held(&self, program: u32) -> Option<Owner> {
        self.0.get(&program).filter(|owner| owner.pid.is_some()).cloned()
    }

    /// Whose a program is.
    pub(super) fn of(&self, program: u32) -> Owner {
        self.0.get(&program).cloned().unwrap_or_default()
    }

    fn descriptors(&mut self, pid: i32) {
        let folder = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten();
        let mut described = None;
        for entry in folder.filter_map(Result::ok) {
            // Most descriptors say so in their link, which costs less than their text.
            let link = fs::read_link(Path::new(&format!("/proc/{pid}/fd")).join(entry.file_name()));
            if !link.is_ok_and(|link| link.to_string_lossy().starts_with("anon_inode:")) {
                continue;
            }
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            let Some(program) = program_of(&text) else { continue };
            let owner = described.get_or_insert_with(|| describe(pid)).clone();
            let known = self.0.entry(program).or_default();
            // One that is there already is the elder.
            if known.pid.is_none() {
                *known = owner;
            }
        }
    }
}

/// The program that a descriptor's text names: of a link, of a perf event, or itself.
fn program_of(text: &str) -> Option<u32> {
    text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
}

fn describe(pid: i32) -> Owner {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let Workload { pod, .. } = Workload::parse(&caller::cgroup(Pid::from_raw(pid)));
    let exe = exe.map(|exe| cut(&exe.to_string_lossy()));
    Owner { pid: Some(pid), exe, pod }
}

fn cut(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(LEN).collect()
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.exe, self.pid) {
            (Some(exe), Some(pid)) => write!(f, "{exe}, process {pid}"),
            (None, Some(pid)) => write!(f, "process {pid}"),
            (_, None) => f.write_str("nobody who runs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptors_text_names_its_program() {
        let link = "pos:\t0\nlink_type:\ttracing\nlink_id:\t7\nprog_tag:\tab\nprog_id:\t42\n";
        assert_eq!(program_of(link), Some(42));
        assert_eq!(program_of("pos:\t0\nmap_type:\t1\n"), None);
        assert_eq!(program_of("prog_id:\tx\n"), None);
    }

    #[test]
    fn what_only_a_table_holds_is_of_who_alone_calls_it() {
        let held = |pid| Owner { pid: Some(pid), ..Owner::default() };
        let owners = || Owners(BTreeMap::from([(1, held(7)), (2, held(7)), (3, held(8))]));
        let table = |called: &[u32], users: &[u32]| Table {
            called: called.iter().copied().collect(),
            users: users.iter().copied().collect(),
        };
        let of = |tables: &[Table]| {
            let mut own = owners();
            own.tables(tables);
            own.of(20).pid
        };
        assert_eq!(of(&[table(&[20, 21], &[1, 2, 20, 21])]), Some(7));
        assert_eq!(of(&[table(&[20], &[1, 3])]), None, "two processes call it");
        assert_eq!(of(&[table(&[20], &[1, 9])]), None, "a program of nobody calls it too");
        assert_eq!(of(&[table(&[20], &[20])]), None, "nobody calls it");
        assert_eq!(of(&[table(&[20], &[1]), table(&[20], &[3])]), None, "it is in two tables");
        assert_eq!(of(&[table(&[20], &[1]), table(&[20], &[2])]), Some(7));
        assert_eq!(of(&[table(&[20, 3], &[1, 3])]), None, "what it calls may call on");
    }

    #[test]
    fn an_owner_is_named_by_what_is_known() {
        let exe = Some("/usr/bin/t".to_owned());
        let owner = Owner { pid: Some(7), exe, pod: None };
        assert_eq!(owner.to_string(), "/usr/bin/t, process 7");
        assert_eq!(Owner::default().to_string(), "nobody who runs");
    }
}
