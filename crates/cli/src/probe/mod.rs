//! The attack suite: tries every road by which another process could read a target's secrets.
//!
//! It runs as the caller and has no rights of its own; a road that is closed to the caller may be
//! open to somebody else, so the report names the caller. It proves presence, not absence: a
//! program that keeps a secret in another form (encoded, split) is not caught.
//!
//! Reading order: [`road`] (the list), [`needle`] (what is looked for), [`roads`] (the attempts),
//! [`report`] (what is told).

pub(crate) mod as_uid;
pub(crate) mod command;
pub(crate) mod needle;
pub(crate) mod report;
pub(crate) mod road;
mod roads;
pub(crate) mod target;

use std::{fs, io, ops::ControlFlow};

pub(crate) use needle::Needle;
pub(crate) use report::Report;
pub(crate) use roads::core::Destruction;
pub(crate) use target::Target;

use report::{Access, Caller, ProcessReport, RoadResult, SCHEMA};
use road::{Kind, Road};
use roads::Subject;

/// Which roads are tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options<'a> {
    /// Whether the target may be made to act.
    pub(crate) active: Activity,
    /// Whether the target may be killed for a core file.
    pub(crate) destruction: Destruction,
    /// The environment variable that a debugger asks for.
    pub(crate) variable: Option<&'a str>,
}

/// Whether active roads are tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Activity {
    /// All roads.
    Active,
    /// Only those that read.
    PassiveOnly,
}

/// The target is not there, or ended before the first road was tried.
#[derive(Debug, thiserror::Error)]
#[error("process {pid} is gone; nothing was probed")]
pub(crate) struct Gone {
    /// Its number.
    pub(crate) pid: i32,
    /// What procfs said.
    #[source]
    pub(crate) source: io::Error,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ProbeError {
    /// The target is not there.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// The caller wanted no more.
    #[error("stopped before every road was tried")]
    Stopped,
}

/// Tries every road on each target. `step` is told each road before it is tried, and may stop all.
pub(crate) fn probe(
    targets: &[Target],
    needle: &Needle,
    options: Options<'_>,
    mut step: impl FnMut(Target, Road) -> ControlFlow<()>,
) -> Result<Report, ProbeError> {
    let mut processes = Vec::new();
    for (at, &target) in targets.iter().enumerate() {
        let name = match target.name() {
            Ok(name) => name,
            // Descendants come and go; the process that was named must be there.
            Err(_ended) if at > 0 => continue,
            Err(source) => return Err(Gone { pid: target.pid(), source }.into()),
        };
        let subject = Subject { target, needle, variable: options.variable };
        let mut roads = Vec::with_capacity(Road::ALL.len());
        for &road in Road::ALL {
            if step(target, road).is_break() {
                return Err(ProbeError::Stopped);
            }
            roads.push(attempt(subject, road, options));
        }
        processes.push(ProcessReport { pid: target.pid(), name, roads });
    }
    let found = processes.iter().flat_map(|process| &process.roads).any(|road| road.found > 0);
    Ok(Report { schema: SCHEMA, caller: caller(), found, processes })
}

fn attempt(subject: Subject<'_>, road: Road, options: Options<'_>) -> RoadResult {
    if road.kind() == Kind::Active && options.active == Activity::PassiveOnly {
        return RoadResult::new(road, Access::Skipped, "active roads were not asked for");
    }
    match road {
        Road::Auxv | Road::Cmdline | Road::Environ | Road::Maps | Road::Stack => {
            roads::procfs::file(subject, road)
        }
        Road::DevMem => roads::physical::dev_mem(),
        Road::Fd => roads::descriptors::reopen(subject),
        Road::Fdinfo => roads::procfs::fdinfo(subject),
        Road::Gcore => roads::gdb::gcore(subject),
        Road::GdbGetenv => roads::gdb::getenv(subject),
        Road::Kcore => roads::physical::kcore(),
        Road::KernelCore => roads::core::by_signal(subject, options.destruction),
        Road::MapFiles => roads::memory::map_files(subject),
        Road::Mem => roads::memory::mem(subject),
        Road::PerfSample => roads::observers::sample(subject),
        Road::PidfdGetfd => roads::descriptors::steal(subject),
        Road::Ports => roads::physical::ports(),
        Road::PtraceInject => roads::trace::make_it_read(subject),
        Road::PtracePeek => roads::trace::peek(subject),
        Road::Swap => roads::physical::swap(),
        Road::Task => roads::procfs::task(subject),
        Road::Uprobe => roads::observers::uprobe(subject),
        Road::VmReadv => roads::memory::vm_readv(subject),
    }
}

fn caller() -> Caller {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    Caller {
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
        capabilities: capabilities.unwrap_or("unknown").trim().to_owned(),
    }
}
