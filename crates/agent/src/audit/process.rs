//! Who a process is, as far as `/proc` says so in time.
//!
//! SECURITY: numbers are reused. A process that started after the denial is not the one that was
//! denied, and a parent that started after its child is not its parent; neither is believed. The
//! kernel's unit is a hundredth of a second, within which root, who can choose numbers, could put
//! another process in its place. Command lines and environments are never read.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cloudtaser_core::cgroup::{self, Workload};
use serde::Serialize;

/// From a shell in a container to the first process there are five to eight.
const ANCESTORS: usize = 8;
/// Longer paths are cut: a record is a line, and the path is the actor's choice.
const PATH_LEN: usize = 512;

/// A process in a record.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: u32,
    /// Its user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) uid: Option<u32>,
    /// What it calls itself, which means nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) comm: Option<String>,
    /// Its program file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exe: Option<String>,
    /// Where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cgroup: Option<String>,
    /// The pod of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<String>,
    /// The container of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) container: Option<String>,
    /// Whether it had ended before it could be looked at.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) gone: bool,
    /// Its parent, its parent's parent, and so on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ancestors: Vec<Ancestor>,
}

/// One that started the other.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Ancestor {
    pid: u32,
    comm: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    exe: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Where processes are looked up.
#[derive(Clone, Debug)]
pub(crate) struct Processes {
    root: PathBuf,
    ticks_per_second: u64,
}

impl Processes {
    /// Those of this machine.
    pub(crate) fn of_this_machine() -> Self {
        use nix::unistd::{SysconfVar, sysconf};
        let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|n| u64::try_from(n).ok());
        Self { root: "/proc".into(), ticks_per_second: ticks.filter(|n| *n > 0).unwrap_or(100) }
    }

    /// The process that had this number at that time after boot; `parent` is who it came from, for
    /// when it is gone.
    pub(crate) fn describe(&self, pid: u32, parent: Option<u32>, at: Duration) -> Process {
        let at = self.ticks(at);
        self.living(pid, at).unwrap_or_else(|| {
            let ancestors = parent.map(|parent| self.line(parent, at)).unwrap_or_default();
            Process { pid, gone: true, ancestors, ..Process::default() }
        })
    }

    /// The same while it lives; one that ended has no program any more, waited for or not.
    fn living(&self, pid: u32, at: u64) -> Option<Process> {
        let found = self.look(pid, at).filter(|found| !found.ended)?;
        let cgroup = self.read(pid, "cgroup");
        let status = self.read(pid, "status").unwrap_or_default();
        let mut process = Process {
            pid,
            uid: real_uid(&status),
            exe: self.exe(pid),
            comm: Some(found.comm.clone()),
            ..Process::default()
        };
        process.place(cgroup.as_deref().and_then(cgroup::path));
        process.ancestors = self.line(found.parent, found.started);
        // All of that was read of one process only if it is still the same.
        let again = self.look(pid, at).filter(|again| !again.ended)?;
        (again.started == found.started).then_some(process)
    }

    /// A process and its ancestors, each no younger than the one that it is to have started.
    fn line(&self, first: u32, not_after: u64) -> Vec<Ancestor> {
        let mut line = Vec::new();
        let (mut pid, mut not_after) = (first, not_after);
        while pid != 0 && line.len() < ANCESTORS {
            let Some(found) = self.look(pid, not_after) else { break };
            line.push(Ancestor { pid, comm: found.comm, exe: self.exe(pid) });
            (pid, not_after) = (found.parent, found.started);
        }
        line
    }

    fn look(&self, pid: u32, not_after: u64) -> Option<Stat> {
        let stat = Stat::parse(&self.read(pid, "stat")?)?;
        (stat.started <= not_after).then_some(stat)
    }

    fn exe(&self, pid: u32) -> Option<String> {
        let link = fs::read_link(self.of(pid).join("exe")).ok()?;
        Some(cut(&link.to_string_lossy()))
    }

    fn read(&self, pid: u32, file: &str) -> Option<String> {
        let bytes = fs::read(self.of(pid).join(file)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn of(&self, pid: u32) -> PathBuf {
        self.root.join(pid.to_string())
    }

    fn ticks(&self, time: Duration) -> u64 {
        let ticks = time.as_nanos() * u128::from(self.ticks_per_second) / 1_000_000_000;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

impl Process {
    /// Says where it was, unless that is known already.
    pub(crate) fn place(&mut self, path: Option<&str>) {
        let Some(path) = path else { return };
        let Workload { pod, container } = Workload::parse(path);
        (self.cgroup, self.pod, self.container) = (Some(cut(path)), pod, container);
    }
}

/// What is read of `/proc/PID/stat`.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Stat {
    comm: String,
    ended: bool,
    parent: u32,
    /// In ticks after boot.
    started: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name is in parentheses and may have some of its own, and spaces.
        let (_, rest) = text.split_once('(')?;
        let (comm, rest) = rest.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            comm: comm.to_owned(),
            ended: matches!(*fields.first()?, "X" | "Z"),
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

fn real_uid(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(PATH_LEN);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// Paths of cgroups by id, for actors that are gone.
#[derive(Debug)]
pub(crate) struct Groups {
    root: PathBuf,
    known: std::collections::BTreeMap<u64, String>,
    searched: Option<Duration>,
}

/// A node has some hundreds; whoever makes more costs himself the label.
const GROUPS: usize = 8192;
/// A search of all groups takes milliseconds.
const BETWEEN_SEARCHES: Duration = Duration::from_secs(2);
/// Deeper than any runtime nests.
const DEPTH: usize = 16;

impl Groups {
    /// Those of this machine: the unified hierarchy, or what there is of it beside the old one.
    pub(crate) fn of_this_machine() -> Self {
        let unified = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        let has_groups = |root: &&str| Path::new(root).join("cgroup.procs").exists();
        let root = unified.into_iter().find(has_groups).unwrap_or("/sys/fs/cgroup");
        Self { root: root.into(), known: std::collections::BTreeMap::new(), searched: None }
    }

    /// The path of a group, as `/proc/PID/cgroup` would give it.
    pub(crate) fn path(&mut self, id: u64, now: Duration) -> Option<&str> {
        let is_due = self.searched.is_none_or(|last| now.saturating_sub(last) >= BETWEEN_SEARCHES);
        // The root is nobody's place.
        if id > 1 && is_due && !self.known.contains_key(&id) {
            self.searched = Some(now);
            self.known.clear();
            let root = self.root.clone();
            self.search(&root, DEPTH);
        }
        self.known.get(&id).map(String::as_str)
    }

    fn search(&mut self, folder: &Path, depth: usize) {
        use std::os::unix::fs::DirEntryExt as _;
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.filter_map(Result::ok) {
            if self.known.len() >= GROUPS || depth == 0 {
                return;
            }
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let path = entry.path();
            if let Ok(below) = path.strip_prefix(&self.root) {
                self.known.insert(entry.ino(), format!("/{}", below.to_string_lossy()));
            }
            self.search(&path, depth - 1);
        }
    }
}

#[cfg(test)]
mod tests;
