//! Reads other processes as root: their memory, their environment block, their tree.
//!
//! Nothing is stopped or traced: all goes through `/proc`, so that what is found is what any reader
//! finds. Processes may end at any moment; what is gone is not a finding.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::FileExt as _,
};

/// One mapping of a process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Region {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// As in `/proc/PID/maps`: `rw-p` and so on.
    pub mode: String,
    /// File or kernel's name, such as `[heap]`; empty for anonymous memory.
    pub name: String,
}

/// Where a needle was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hit {
    /// Address of its first byte.
    pub address: u64,
    /// The mapping around it.
    pub region: Region,
}

/// What a scan saw.
#[derive(Debug, Default)]
pub struct Scan {
    /// Every place with the needle.
    pub hits: Vec<Hit>,
    /// Bytes that could be read.
    pub bytes: u64,
    /// Mappings that say they are readable and could not be read at all: sealed pages.
    pub refused: Vec<Region>,
}

impl Scan {
    /// One line per hit, for the message of an assertion.
    #[must_use]
    pub fn shown(&self) -> String {
        let line = |hit: &Hit| {
            let Region { start, end, mode, name } = &hit.region;
            format!("{:#x} in {start:x}-{end:x} {mode} {name}", hit.address)
        };
        self.hits.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Searches all readable memory of a process.
#[must_use]
pub fn scan(pid: i32, needle: &[u8]) -> Scan {
    let mut found = Scan::default();
    let Ok(memory) = File::open(format!("/proc/{pid}/mem")) else { return found };
    for region in regions(pid) {
        // The kernel's own pages: no process writes there.
        if !region.mode.starts_with('r') || matches!(region.name.as_str(), "[vvar]" | "[vsyscall]")
        {
            continue;
        }
        let before = found.bytes;
        scan_region(&memory, &region, needle, &mut found);
        if found.bytes == before {
            found.refused.push(region);
        }
    }
    found
}

fn scan_region(memory: &File, region: &Region, needle: &[u8], found: &mut Scan) {
    const CHUNK: usize = 1 << 20;
    const PAGE: u64 = 4096;
    let mut buffer = vec![0; CHUNK + needle.len()];
    // The end of the chunk before, so that a needle across two chunks is seen.
    let mut kept = 0;
    let mut at = region.start;
    while at < region.end {
        let wanted = usize::try_from(region.end - at).unwrap_or(CHUNK).min(CHUNK);
        let read = memory.read_at(&mut buffer[kept..kept + wanted], at).unwrap_or(0);
        if read == 0 {
            // A hole, such as a page behind the end of its file.
            at = (at / PAGE + 1) * PAGE;
            kept = 0;
            continue;
        }
        let whole = &buffer[..kept + read];
        let origin = at - u64::try_from(kept).expect("it fits");
        for offset in find(whole, needle) {
            let address = origin + u64::try_from(offset).expect("it fits");
            found.hits.push(Hit { address, region: region.clone() });
        }
        let read_bytes = u64::try_from(read).expect("it fits");
        found.bytes += read_bytes;
        at += read_bytes;
        let len = whole.len();
        kept = len.min(needle.len().saturating_sub(1));
        buffer.copy_within(len - kept..len, 0);
    }
}

/// Where a needle is, by Horspool's search: skips most bytes, which matters without optimisation.
#[must_use]
pub fn find(hay: &[u8], needle: &[u8]) -> Vec<usize> {
    let Some(last) = needle.len().checked_sub(1) else { return Vec::new() };
    let mut shift = [needle.len(); 256];
    for (at, byte) in needle[..last].iter().enumerate() {
        shift[usize::from(*byte)] = last - at;
    }
    let mut hits = Vec::new();
    let mut at = 0;
    while at + last < hay.len() {
        let end = hay[at + last];
        if end == needle[last] && hay[at..].starts_with(needle) {
            hits.push(at);
        }
        at += shift[usize::from(end)];
    }
    hits
}

/// The mappings of a process; none when it is gone.
#[must_use]
pub fn regions(pid: i32) -> Vec<Region> {
    let maps = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
    String::from_utf8_lossy(&maps).lines().filter_map(region).collect()
}

fn region(line: &str) -> Option<Region> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    Some(Region {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        mode: rest.split(' ').next()?.to_owned(),
        name: rest.splitn(5, ' ').nth(4).unwrap_or_default().trim().to_owned(),
    })
}

/// The environment block of a process, or `None` when it is gone or refuses.
#[must_use]
pub fn environ(pid: i32) -> Option<Vec<u8>> {
    fs::read(format!("/proc/{pid}/environ")).ok()
}

/// Whether the top of the stack, where the kernel puts the environment, holds one of the needles;
/// `None` where there is no stack to read.
#[must_use]
pub fn stack_holds(pid: i32, needles: &[Vec<u8>]) -> Option<bool> {
    const TOP: u64 = 256 * 1024;
    let mut memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut maps = String::new();
    File::open(format!("/proc/{pid}/maps")).ok()?.read_to_string(&mut maps).ok()?;
    // In the first moments of an image its stack has no name yet: then it is the highest mapping
    // that can be written.
    let named = maps.lines().rev().find(|line| line.ends_with("[stack]"));
    let line = named.or_else(|| maps.lines().rev().find(|line| line.contains(" rw")))?;
    let stack = region(line)?;
    let start = stack.start.max(stack.end.saturating_sub(TOP));
    let mut bytes = vec![0; usize::try_from(stack.end - start).ok()?];
    let read = read_at_most(&mut memory, &mut bytes, start)?;
    Some(needles.iter().any(|needle| !find(&bytes[..read], needle).is_empty()))
}

fn read_at_most(memory: &mut File, bytes: &mut [u8], start: u64) -> Option<usize> {
    match memory.read_at(bytes, start) {
        Ok(0) | Err(_) => None,
        Ok(read) => Some(read),
    }
}

/// The direct children of a process.
#[must_use]
pub(crate) fn children(pid: i32) -> Vec<i32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let of = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).ok();
    let lists = tasks.filter_map(Result::ok).filter_map(of).collect::<Vec<_>>();
    let pids = lists.iter().flat_map(|list| list.split_whitespace());
    pids.filter_map(|pid| pid.parse().ok()).collect()
}

/// The children of a process and theirs, nearest first; the process itself is not among them.
#[must_use]
pub fn descendants(pid: i32) -> Vec<i32> {
    let mut all = children(pid);
    let mut next = 0;
    while let Some(child) = all.get(next) {
        all.extend(children(*child));
        next += 1;
    }
    all
}

/// One line of `/proc/PID/status`, such as `SigIgn`.
#[must_use]
pub fn status_field(pid: i32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_a_needle_is_found() {
        assert_eq!(find(b"abcabcab", b"abc"), [0, 3]);
        assert_eq!(find(b"aaaa", b"aa"), [0, 1, 2]);
        assert_eq!(find(b"xab", b"ab"), [1]);
        assert!(find(b"ab", b"abc").is_empty());
        assert!(find(b"ab", b"").is_empty());
    }

    #[test]
    fn a_line_of_maps_is_read_with_and_without_a_name() {
        let named = region("7ffd0-7ffe0 rw-p 00000000 00:00 0                          [stack]");
        assert_eq!(named.as_ref().map(|region| region.name.as_str()), Some("[stack]"));
        let bare = region("10-20 r--p 00000000 00:00 0 ").unwrap();
        assert_eq!((bare.start, bare.end, bare.name.as_str()), (16, 32, ""));
    }
}
