//! Roads that read the target's memory as a whole: `/proc/PID/mem`, `process_vm_readv`,
//! `/proc/PID/map_files`.
//!
//! Reading goes on behind a page that the kernel refuses, so that one sealed page does not hide
//! the rest. What was refused is counted and named.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, IoSliceMut},
    os::unix::fs::FileExt,
};

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use zeroize::Zeroizing;

use super::{
    super::{
        needle::{CHUNK, Search},
        report::{Access, RoadResult, errno_name},
        road::Road,
        target::Mapping,
    },
    Deadline, Subject, counted,
};

/// Steps over a refused page.
const PAGE: usize = 4096;

/// Reservations without read right beyond this size are address space without pages (Go, JVM, node).
const LARGEST_UNREADABLE: usize = 64 * 1024 * 1024;

/// Longest part of a mapped file that is read.
const LARGEST_FILE: u64 = 256 * 1024 * 1024;

/// Reads through `/proc/PID/mem`, which also gives pages that the target itself may not read.
pub(crate) fn mem(subject: Subject<'_>) -> RoadResult {
    let road = Road::Mem;
    let file = match File::open(subject.target.proc("mem")) {
        Ok(file) => file,
        Err(error) => return RoadResult::refused(road, &error, ""),
    };
    let wanted = |mapping: &Mapping| mapping.readable || mapping.len() <= LARGEST_UNREADABLE;
    let read =
        |at: usize, buffer: &mut [u8]| file.read_at(buffer, u64::try_from(at).unwrap_or(u64::MAX));
    sweep(subject, road, wanted, read)
}

/// Reads by system call.
pub(crate) fn vm_readv(subject: Subject<'_>) -> RoadResult {
    let pid = subject.target.nix_pid();
    let read = |at: usize, buffer: &mut [u8]| {
        let remote = [RemoteIoVec { base: at, len: buffer.len() }];
        process_vm_readv(pid, &mut [IoSliceMut::new(buffer)], &remote).map_err(io::Error::from)
    };
    sweep(subject, Road::VmReadv, |mapping| mapping.readable, read)
}

/// Opens mapped files by their address: a way to a file or memfd that has lost its name.
pub(crate) fn map_files(subject: Subject<'_>) -> RoadResult {
    let road = Road::MapFiles;
    let mappings = match subject.target.mappings() {
        Ok(mappings) => mappings,
        Err(error) => return RoadResult::refused(road, &error, "maps cannot be read"),
    };
    let mut result = RoadResult::new(road, Access::Closed, "");
    let deadline = Deadline::start();
    let (mut opened, mut sealed) = (0, None);
    let of_files = |mapping: &&Mapping| !mapping.name.starts_with('[');
    for mapping in mappings.iter().filter(of_files).take_while(|_| !deadline.is_over()) {
        let path = subject.target.proc(&format!("map_files/{:x}-{:x}", mapping.start, mapping.end));
        // Opening a device could act on it.
        if !mapping.is_sealed() && path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            continue;
        }
        let mut search = Search::new(subject.needle);
        let outcome = File::open(path).and_then(|file| search.drain(file, LARGEST_FILE));
        match outcome {
            Ok(_bytes) => {
                opened += 1;
                result.add(&mapping.name, search.found());
            }
            Err(error) => {
                if mapping.is_sealed() {
                    sealed = Some(errno_name(&error));
                }
                result.remember(&error);
            }
        }
    }
    if opened > 0 {
        result.access = Access::Open;
    }
    result.note = counted(opened, "mapped file") + " read";
    if let Some(errno) = sealed {
        result.note += &format!("; sealed pages refused ({errno})");
    }
    result
}

/// Reads every wanted mapping with `read` and searches it.
fn sweep(
    subject: Subject<'_>,
    road: Road,
    wanted: impl Fn(&Mapping) -> bool,
    mut read: impl FnMut(usize, &mut [u8]) -> io::Result<usize>,
) -> RoadResult {
    let mappings = match subject.target.mappings() {
        Ok(mappings) => mappings,
        Err(error) => return RoadResult::refused(road, &error, "maps cannot be read"),
    };
    let mut result = RoadResult::new(road, Access::Closed, "");
    let mut tally = Tally::default();
    let deadline = Deadline::start();
    let mut buffer = Zeroizing::new(vec![0; CHUNK]);
    for mapping in mappings.iter().filter(|m| wanted(m) && !m.is_kernel_page()) {
        if deadline.is_over() {
            tally.unfinished = true;
            break;
        }
        let mut search = Search::new(subject.needle);
        let bytes = walk(mapping, deadline, &mut buffer, &mut search, &mut |at, into| {
            read(at, into).inspect_err(|error| tally.refuse(mapping, error))
        });
        tally.bytes += bytes;
        tally.mappings += usize::from(bytes > 0);
        result.add(&mapping.name, search.found());
    }
    if tally.bytes > 0 {
        result.access = Access::Open;
    }
    result.errno = tally.first.take();
    result.note = tally.to_string();
    result
}

/// Reads one mapping; a refused stretch is stepped over page by page. Returns the bytes read.
fn walk(
    mapping: &Mapping,
    deadline: Deadline,
    buffer: &mut [u8],
    search: &mut Search<'_>,
    read: &mut impl FnMut(usize, &mut [u8]) -> io::Result<usize>,
) -> usize {
    let mut total = 0;
    let mut at = mapping.start;
    let mut careful_until = at;
    while at < mapping.end && !deadline.is_over() {
        let careful = at < careful_until;
        let size = if careful { PAGE } else { CHUNK }.min(mapping.end - at);
        let Some(piece) = buffer.get_mut(..size) else { break };
        match read(at, piece) {
            Ok(len) if len > 0 => {
                search.feed(piece.get(..len).unwrap_or_default());
                total += len;
                at += len;
            }
            _ if careful || size <= PAGE => {
                search.gap();
                at += PAGE;
            }
            _ => careful_until = at + size,
        }
    }
    total
}

/// What a sweep met.
#[derive(Debug, Default)]
struct Tally {
    bytes: usize,
    mappings: usize,
    refused: BTreeMap<String, String>,
    first: Option<String>,
    unfinished: bool,
}

impl Tally {
    fn refuse(&mut self, mapping: &Mapping, error: &io::Error) {
        let errno = errno_name(error);
        self.first.get_or_insert_with(|| errno.clone());
        self.refused.entry(mapping.name.clone()).or_insert(errno);
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} kB of {} read", self.bytes / 1024, counted(self.mappings, "mapping"))?;
        match self.refused.get("secretmem") {
            Some(errno) => write!(f, "; sealed pages refused ({errno})")?,
            None if self.bytes > 0 && !self.refused.is_empty() => {
                write!(
                    f,
                    "; refused in part: {}",
                    self.refused.keys().take(3).cloned().collect::<Vec<_>>().join(", ")
                )?;
            }
            None => {}
        }
        if self.unfinished {
            f.write_str("; stopped when its time was over")?;
        }
        Ok(())
    }
}
