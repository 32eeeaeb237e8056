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

#[cfg(test)]
mod tests {
    use super::*;

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
