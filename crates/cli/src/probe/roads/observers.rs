//! Observers that the kernel runs in the target's address space: uprobes and stack samples.
//!
//! Each is placed and removed, and never started: being allowed to place one is the finding, since
//! its handler may copy any of the target's memory, sealed pages included.

use cloudtaser_sys::roads;
use nix::errno::Errno;

use super::{
    super::{
        report::{Access, RoadResult},
        road::Road,
    },
    Subject,
};

/// Places a breakpoint of the kernel on the target's program.
pub(crate) fn uprobe(subject: Subject<'_>) -> RoadResult {
    let placed = roads::place_uprobe(subject.target.nix_pid());
    result(Road::Uprobe, placed, "placed and removed; its handler could read all memory")
}

/// Opens a sampler that copies pieces of the target's stack.
pub(crate) fn sample(subject: Subject<'_>) -> RoadResult {
    let placed = roads::sample_stack(subject.target.nix_pid());
    result(Road::PerfSample, placed, "opened and closed; it would copy pieces of the stack")
}

fn result(road: Road, placed: Result<(), Errno>, open: &str) -> RoadResult {
    match placed {
        Ok(()) => RoadResult::new(road, Access::Open, open),
        Err(errno) => RoadResult::refused(road, &errno.into(), ""),
    }
}
