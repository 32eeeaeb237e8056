//! Roads through the target's descriptors: reopening them by number, and copying them.
//!
//! Only regular files and memfds are read. Reading a pipe, a socket or a terminal would take away
//! what the target is waiting for.

use std::{
    fs::{self, File},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::FileTypeExt,
    },
};

use cloudtaser_sys::roads::{open_process, take_descriptor};
use nix::errno::Errno;
use zeroize::Zeroizing;

use super::{
    super::{
        needle::Search,
        report::{Access, RoadResult, errno_name},
        road::Road,
    },
    Deadline, Subject, counted,
};

/// Most that is read of one file: logs and databases may be huge, secrets are not.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Most that is mapped of a taken file; secrets and their arenas are smaller.
const LARGEST_MAPPED: usize = 16 * 1024 * 1024;

/// Descriptors tried where they cannot be listed.
const GUESSES: i32 = 32;

/// Reopens each descriptor through `/proc/PID/fd`.
pub(crate) fn reopen(subject: Subject<'_>) -> RoadResult {
    let road = Road::Fd;
    let numbers = match subject.target.numbers("fd") {
        Ok(numbers) => numbers,
        Err(error) => return RoadResult::refused(road, &error, ""),
    };
    let mut result = RoadResult::new(road, Access::Open, "");
    let deadline = Deadline::start();
    let (mut read, mut streams, mut sealed) = (0, 0, None);
    for number in numbers.iter().take_while(|_| !deadline.is_over()) {
        let path = subject.target.proc(&format!("fd/{number}"));
        let name = fs::read_link(&path).map(|link| link.display().to_string()).unwrap_or_default();
        let is_sealed = name.starts_with("/secretmem");
        match path.metadata() {
            Ok(metadata) if !is_sealed && !metadata.is_file() => {
                let kind = metadata.file_type();
                streams += usize::from(kind.is_fifo() || kind.is_socket() || kind.is_char_device());
                continue;
            }
            Ok(_) => {}
            Err(error) => {
                result.remember(&error);
                continue;
            }
        }
        let mut search = Search::new(subject.needle);
        match File::open(&path).and_then(|file| search.drain(file, LARGEST)) {
            Ok(_bytes) => read += 1,
            Err(error) => {
                if is_sealed {
                    sealed = Some(errno_name(&error));
                }
                result.remember(&error);
            }
        }
        result.add(&short(&name), search.found());
    }
    result.note = format!(
        "{} read, {} left alone",
        counted(read, "file"),
        counted(streams, "pipe, socket or terminal").replace("terminals", "terminal"),
    );
    if let Some(errno) = sealed {
        result.note += &format!("; sealed memory refused ({errno})");
    }
    result
}

/// Copies each descriptor into this process and maps it, which also opens sealed memory.
pub(crate) fn steal(subject: Subject<'_>) -> RoadResult {
    let road = Road::PidfdGetfd;
    let process = match open_process(subject.target.nix_pid()) {
        Ok(process) => process,
        Err(errno) => return RoadResult::refused(road, &errno.into(), "pidfd_open"),
    };
    // Without the right to list them, an attacker tries the first few numbers.
    let numbers = subject.target.numbers("fd").unwrap_or_else(|_| (0..GUESSES).collect());
    let mut result = RoadResult::new(road, Access::Closed, "");
    let (mut taken, mut mapped) = (0, 0);
    for number in numbers {
        let descriptor = match take_descriptor(process.as_fd(), number) {
            Ok(descriptor) => descriptor,
            Err(Errno::EBADF) => continue,
            Err(errno) => {
                result.remember(&errno.into());
                continue;
            }
        };
        taken += 1;
        let link = format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd());
        let name = fs::read_link(link).map(|link| link.display().to_string()).unwrap_or_default();
        // What cannot be mapped is a pipe, a socket or a terminal, and is left alone.
        if let Ok(bytes) = descriptor.contents(LARGEST_MAPPED).map(Zeroizing::new) {
            let mut search = Search::new(subject.needle);
            search.feed(&bytes);
            mapped += 1;
            result.add(&short(&name), search.found());
        }
    }
    if taken > 0 {
        result.access = Access::Open;
    }
    result.note = format!("{} taken, {mapped} mapped", counted(taken, "descriptor"));
    result
}

/// `memfd:NAME` or the last part of a path.
fn short(name: &str) -> String {
    let name = name.trim_end_matches(" (deleted)");
    name.rsplit('/').next().unwrap_or(name).to_owned()
}
