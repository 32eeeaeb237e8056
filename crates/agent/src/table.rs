//! Who is guarded: marks on processes, which the kernel hands on to their children by itself.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use cloudtaser_sys::roads;
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};
use nix::unistd::Pid;

use crate::abi::{self, Role};
use crate::bpf::Loaded;
use crate::caller::{has_ended, tracer};

/// The agent's own group.
const AGENT: u32 = abi::AGENT_GROUP;

/// Why a process could not be marked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MarkError {
    /// It ended.
    #[error("process {0} is gone")]
    Gone(Pid),
    /// Somebody holds it already, whom no hook asks again.
    #[error("process {pid} is traced by process {tracer}, which would keep its road")]
    Traced {
        /// Its number.
        pid: Pid,
        /// The other one's.
        tracer: Pid,
    },
    /// The table did not take it.
    #[error("process {pid} cannot be marked")]
    Refused {
        /// Its number.
        pid: Pid,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// A process that is guarded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Guarded {
    /// Those that may reach one another.
    pub(crate) group: u32,
    /// Since when.
    pub(crate) since: Since,
}

/// Since when a process is guarded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Since {
    /// Before this question: it asked before, or was started by one that did.
    Earlier,
    /// This question.
    Now,
}

impl Since {
    /// The word in records.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Earlier => "earlier",
            Self::Now => "now",
        }
    }
}

/// The maps that carry identity.
#[derive(Debug)]
pub(crate) struct Table {
    /// There is none in the tier without trampolines.
    tasks: Option<MapHandle>,
    groups: MapHandle,
    next_group: AtomicU32,
}

impl Table {
    /// Takes the maps of loaded programs.
    pub(crate) fn of(loaded: &Loaded) -> anyhow::Result<Self> {
        Ok(Self {
            tasks: loaded.map("ct_tasks").ok(),
            groups: loaded.map("ct_groups")?,
            next_group: AtomicU32::new(AGENT + 1),
        })
    }

    /// Takes over the maps of an earlier agent; groups go on where its own ended.
    pub(crate) fn resume(tasks: MapHandle, groups: MapHandle, next: u32) -> anyhow::Result<Self> {
        let mut highest = next.max(AGENT + 1);
        for key in groups.keys() {
            let value = groups.lookup(&key, MapFlags::ANY)?;
            if let Some((group, _role)) = value.as_deref().and_then(abi::parse_task) {
                highest = highest.max(group + 1);
            }
        }
        Ok(Self { tasks: Some(tasks), groups, next_group: AtomicU32::new(highest) })
    }

    /// The group that the next process gets.
    pub(crate) fn next_group(&self) -> u32 {
        self.next_group.load(Ordering::Relaxed)
    }

    /// Whether this process is marked as an agent that runs.
    pub(crate) fn is_agent(&self, pid: Pid) -> bool {
        let value = self.groups.lookup(&pid.as_raw().to_ne_bytes(), MapFlags::ANY).ok().flatten();
        let role = value.as_deref().and_then(abi::parse_task).map_or(0, |(_group, role)| role);
        role & abi::ROLE_AGENT != 0
    }

    /// Marks this very process as the agent.
    pub(crate) fn mark_agent(&self) -> Result<(), MarkError> {
        let own = Pid::this();
        let process = roads::open_process(own).map_err(|_gone| MarkError::Gone(own))?;
        self.mark(own, &process, abi::task(AGENT, Role::Agent))
    }

    /// Guards a process and all that it starts from now on, as a group of its own; one that is
    /// guarded already stays where it is, or the supervisor that it runs under would lose it.
    ///
    /// Children that it started earlier are not found.
    pub(crate) fn guard(&self, pid: Pid, process: &OwnedFd) -> Result<Guarded, MarkError> {
        let known = self.group(pid);
        let guarded = match known {
            Some(group) => Guarded { group, since: Since::Earlier },
            None => {
                let group = self.next_group.fetch_add(1, Ordering::Relaxed);
                self.mark(pid, process, abi::task(group, Role::Guarded))?;
                Guarded { group, since: Since::Now }
            }
        };
        // SECURITY: after the mark: from then on nobody else attaches.
        match tracer(pid) {
            Some(tracer) if self.group(tracer) != Some(guarded.group) => {
                Err(MarkError::Traced { pid, tracer })
            }
            _ if has_ended(process) => Err(MarkError::Gone(pid)),
            _ => Ok(guarded),
        }
    }

    /// Guards a process that runs already, in the group of its parent.
    pub(crate) fn join(&self, pid: Pid, process: &OwnedFd, group: u32) -> Result<(), MarkError> {
        self.mark(pid, process, abi::task(group, Role::Guarded))
    }

    /// Processes of a group.
    pub(crate) fn members(&self, group: u32) -> Vec<Pid> {
        let pids = self
            .groups
            .keys()
            .filter_map(|key| Some(Pid::from_raw(i32::from_ne_bytes(*key.first_chunk()?))));
        pids.filter(|pid| self.group(*pid) == Some(group)).collect()
    }

    /// The group of a guarded process by its number.
    pub(crate) fn group(&self, pid: Pid) -> Option<u32> {
        let value = self.groups.lookup(&pid.as_raw().to_ne_bytes(), MapFlags::ANY);
        abi::guarded_group(&value.ok().flatten()?)
    }

    /// How many processes are guarded, the agent and its canary included.
    pub(crate) fn len(&self) -> usize {
        self.groups.keys().count()
    }

    /// How many fit.
    pub(crate) fn limit(&self) -> u32 {
        self.groups.max_entries()
    }

    fn mark(&self, pid: Pid, process: &OwnedFd, value: [u8; 8]) -> Result<(), MarkError> {
        let refused = |error: libbpf_rs::Error| MarkError::Refused {
            pid,
            source: io::Error::other(error.to_string()),
        };
        let number = pid.as_raw().to_ne_bytes();
        // By number first: it covers the threads that are there already.
        self.groups.update(&number, &value, MapFlags::ANY).map_err(refused)?;
        let handle = process.as_raw_fd().to_ne_bytes();
        // SECURITY: an exec cannot always take it away again; trust is in the table alone.
        let trusted = abi::parse_task(&value).is_some_and(|(_, role)| role & abi::ROLE_AGENT != 0);
        let marked =
            self.tasks.as_ref().filter(|_| !trusted).map_or(Ok(()), |tasks| {
                tasks.update(&handle, &value, MapFlags::ANY).map_err(refused)
            });
        if marked.is_err() || has_ended(process) {
            // The number may be somebody else's by now, who would be guarded by mistake.
            self.groups.delete(&number).map_err(refused)?;
        }
        marked?;
        if has_ended(process) { Err(MarkError::Gone(pid)) } else { Ok(()) }
    }
}
