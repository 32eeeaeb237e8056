//! Roads by ptrace: looking at the stopped target's memory, and making the target itself read it.
//!
//! The kernel refuses the first on sealed pages. It cannot refuse the second: code that runs in the
//! target reads what the target reads.

use std::io;

use cloudtaser_sys::roads::Attached;
use nix::errno::Errno;
use zeroize::Zeroizing;

use super::{
    super::{
        needle::Search,
        report::{Access, RoadResult, errno_name},
        road::Road,
        target::Mapping,
    },
    Deadline, Subject,
};

/// PEEK moves eight bytes per system call: enough for sealed pages, stack and heap.
const PEEK_LIMIT: usize = 4 * 1024 * 1024;

/// Each kilobyte costs the target a system call.
const READ_LIMIT: usize = 2 * 1024 * 1024;

/// Read between two looks at the clock.
const PIECE: usize = 16 * 1024;

/// Attaches and reads word by word, sealed pages first.
pub(crate) fn peek(subject: Subject<'_>) -> RoadResult {
    let all = |mapping: &Mapping| interest(mapping) <= 3;
    attached(subject, Road::PtracePeek, all, PEEK_LIMIT, |target, at, len| {
        let mut bytes = Zeroizing::new(Vec::with_capacity(len));
        for word in (at..at.saturating_add(len)).step_by(8) {
            bytes.extend_from_slice(&target.peek(word)?);
        }
        Ok(bytes)
    })
}

/// Attaches and makes the target copy its sealed pages, stack and heap to where we can look.
pub(crate) fn make_it_read(subject: Subject<'_>) -> RoadResult {
    let likely = |mapping: &Mapping| interest(mapping) <= 2;
    attached(subject, Road::PtraceInject, likely, READ_LIMIT, |target, at, len| {
        target.make_it_read(at, len).map(Zeroizing::new)
    })
}

/// Sealed pages, stack, heap, then other memory without a file.
fn interest(mapping: &Mapping) -> u8 {
    match mapping.name.as_str() {
        "secretmem" => 0,
        "[stack]" => 1,
        "[heap]" => 2,
        name if mapping.readable && (name == "[anon]" || name.starts_with("memfd:")) => 3,
        _ => 4,
    }
}

/// Attaches, then reads the wanted mappings with `read` until the budget is spent.
fn attached(
    subject: Subject<'_>,
    road: Road,
    wanted: impl Fn(&Mapping) -> bool,
    budget: usize,
    mut read: impl FnMut(&mut Attached, usize, usize) -> Result<Zeroizing<Vec<u8>>, Errno>,
) -> RoadResult {
    let mut mappings = match subject.target.mappings() {
        Ok(mappings) => mappings,
        Err(error) => return RoadResult::refused(road, &error, "maps cannot be read"),
    };
    mappings.retain(wanted);
    mappings.sort_by_key(interest);
    let mut target = match Attached::to(subject.target.nix_pid()) {
        Ok(target) => target,
        Err(errno) => return RoadResult::refused(road, &errno.into(), "attaching refused"),
    };
    let mut result = RoadResult::new(road, Access::Open, "");
    let deadline = Deadline::start();
    let (mut left, mut sealed) = (budget, None);
    for mapping in &mappings {
        let mut search = Search::new(subject.needle);
        let mut at = mapping.start;
        while at < mapping.end && left > 0 && !deadline.is_over() {
            let len = PIECE.min(mapping.end - at);
            match read(&mut target, at, len) {
                Ok(bytes) => search.feed(&bytes),
                Err(errno) => {
                    let error = io::Error::from(errno);
                    sealed = sealed.or_else(|| mapping.is_sealed().then(|| errno_name(&error)));
                    result.remember(&error);
                    break;
                }
            }
            at += len;
            left = left.saturating_sub(len);
        }
        result.add(&mapping.name, search.found());
    }
    result.note = format!("attached; {} kB read", (budget - left) / 1024);
    if let Some(errno) = sealed {
        result.note += &format!("; sealed pages refused ({errno})");
    }
    result
}
