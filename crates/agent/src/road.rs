//! The roads that the canary is attacked on, and how an outcome is judged.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// How far an attacker came.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// This kernel or this mount does not have it.
    Absent,
    /// `EPERM` or `EACCES`.
    Denied,
    /// Whoever walked it was ended by the kernel; what it had done by then may stand.
    Killed,
    /// The kernel did it, or looked at what was asked for.
    Open,
}

impl Outcome {
    /// Judges what a system call said.
    pub(crate) fn of(result: Result<(), Errno>) -> Self {
        match result {
            Err(Errno::EPERM | Errno::EACCES) => Self::Denied,
            Err(
                Errno::ENOENT | Errno::ENOSYS | Errno::ENODEV | Errno::ENXIO | Errno::EOPNOTSUPP,
            ) => Self::Absent,
            // EFAULT, EINVAL, ENOEXEC: whoever gets these was let in and asked for nonsense.
            _ => Self::Open,
        }
    }
}

/// One road and what came of it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Tried {
    /// Its stable name.
    pub(crate) road: String,
    /// How far it led.
    pub(crate) outcome: Outcome,
}

/// What one attacker found.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Attack {
    /// Every road, in a fixed order.
    pub(crate) roads: Vec<Tried>,
    /// Reads that node software needs and that did not work.
    pub(crate) broken_neighbours: Vec<String>,
}

impl Attack {
    /// What came of one road.
    pub(crate) fn outcome(&self, road: &str) -> Option<Outcome> {
        self.roads.iter().find(|tried| tried.road == road).map(|tried| tried.outcome)
    }
}

/// What the tier without trampolines always says of itself.
pub(crate) const KILLS: &str = "it refuses nothing and ends whoever asked";

/// Roads on which the kernel has done it when the signal arrives, whoever asked: by the order in which
/// the kernel does things, where no virtual machine has measured it.
const LATE: &[&str] = &[
    "agent-signal",
    "core-limit",
    "core-signal",
    "finit-module",
    "init-module",
    "kexec",
    "ptrace",
];

/// Roads at whose end is a descriptor. It goes with the process, unless another one shares the
/// table of descriptors (`CLONE_FILES`): that one has it, and may use it once, or for as long as
/// its use passes no hook.
///
/// KERNEL: `environ` and `mem` are not among them: the kernel looks for a deadly signal before it
/// touches foreign pages.
const SHARED: &[&str] = &[
    "binfmt",
    "bpf-attach",
    "bpf-program",
    "code-write",
    "dev-mem",
    "dev-port",
    "kcore",
    "memfd-read",
    "perf-sample",
    "pidfd-getfd",
    "proc-auxv",
    "proc-clear_refs",
    "proc-maps",
    "proc-pagemap",
    "proc-smaps",
    "proc-smaps_rollup",
    "proc-stack",
    "proc-syscall",
    "shared-memory",
    "uprobe",
];

/// Of the roads on which somebody was killed: those for which that was too late, and those for
/// which it is where descriptors are shared.
pub(crate) fn after_kills(attack: &Attack) -> (Vec<&str>, Vec<&str>) {
    let killed = attack.roads.iter().filter(|tried| tried.outcome == Outcome::Killed);
    let killed: Vec<&str> = killed.map(|tried| tried.road.as_str()).collect();
    let those = |list: &[&str]| killed.iter().copied().filter(|road| list.contains(road)).collect();
    (those(LATE), those(SHARED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kill_does_not_take_back_is_named() {
        let tried = |road: &str, outcome| Tried { road: road.to_owned(), outcome };
        let attack = Attack {
            roads: vec![
                tried("proc-mem", Outcome::Killed),
                tried("kexec", Outcome::Killed),
                tried("kcore", Outcome::Killed),
                tried("init-module", Outcome::Denied),
            ],
            broken_neighbours: Vec::new(),
        };
        assert_eq!(after_kills(&attack), (vec!["kexec"], vec!["kcore"]));
    }

    #[test]
    fn nonsense_that_was_looked_at_is_an_open_road() {
        for errno in [Errno::EFAULT, Errno::EINVAL, Errno::ENOEXEC, Errno::EBADF, Errno::ESRCH] {
            assert_eq!(Outcome::of(Err(errno)), Outcome::Open, "{errno}");
        }
        assert_eq!(Outcome::of(Ok(())), Outcome::Open);
        assert_eq!(Outcome::of(Err(Errno::EACCES)), Outcome::Denied);
        assert_eq!(Outcome::of(Err(Errno::ENOSYS)), Outcome::Absent);
    }
}
