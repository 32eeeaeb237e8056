//! What `/proc` shows of the processes of one side: sizes, CPU, and readable copies of a secret.
//!
//! The scan reads every mapping that the kernel lets root read through `/proc/PID/mem`, as an
//! attacker with that right would. What it cannot read is counted, not assumed to be empty.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::Context as _;
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::guard::children;

/// How much of a mapping is read at once.
const CHUNK: usize = 1 << 20;

/// The processes of one side.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Those that run the supervisor's program.
    pub(crate) supervisors: Vec<Pid>,
    /// All others: the app.
    pub(crate) apps: Vec<Pid>,
}

impl Tree {
    /// The tree below and with this process.
    pub(crate) fn of(root: Pid, supervisor: Option<&Path>) -> anyhow::Result<Self> {
        let supervisor = supervisor.map(fs::canonicalize).transpose()?;
        let mut tree = Self { supervisors: Vec::new(), apps: Vec::new() };
        let mut open = vec![root];
        while let Some(pid) = open.pop() {
            open.extend(children(pid)?);
            let program = fs::read_link(format!("/proc/{pid}/exe")).ok();
            let ours = supervisor.is_some() && program == supervisor;
            if ours { tree.supervisors.push(pid) } else { tree.apps.push(pid) }
        }
        Ok(tree)
    }
}

/// Memory of one or more processes, in KiB, and CPU time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Largest resident size so far.
    pub(crate) peak_kib: u64,
    /// Resident now.
    pub(crate) resident_kib: u64,
    /// Of that, memory of its own.
    pub(crate) anonymous_kib: u64,
    /// Locked: sealed pages are, and count as resident too.
    pub(crate) locked_kib: u64,
    /// Time on a CPU, in nanoseconds, of all threads that are there.
    pub(crate) cpu_ns: u64,
}

impl Usage {
    /// The sum over processes.
    pub(crate) fn of(pids: &[Pid]) -> anyhow::Result<Self> {
        let mut sum = Self::default();
        for pid in pids {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))
                .with_context(|| format!("process {pid} has gone"))?;
            let kib = |name: &str| -> u64 {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                let number = line.and_then(|rest| rest.split_whitespace().next());
                number.and_then(|number| number.parse().ok()).unwrap_or_default()
            };
            sum.peak_kib += kib("VmHWM:");
            sum.resident_kib += kib("VmRSS:");
            sum.anonymous_kib += kib("RssAnon:");
            sum.locked_kib += kib("VmLck:");
            sum.cpu_ns += cpu_ns(*pid)?;
        }
        Ok(sum)
    }

    /// For the results file.
    pub(crate) fn to_json(self) -> Value {
        json!({
            "peak_kib": self.peak_kib,
            "resident_kib": self.resident_kib,
            "anonymous_kib": self.anonymous_kib,
            "locked_kib": self.locked_kib,
            "cpu_us": self.cpu_ns / 1000,
        })
    }
}

fn cpu_ns(pid: Pid) -> anyhow::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and this.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let spent = text.split(' ').next().and_then(|number| number.parse::<u64>().ok());
        sum += spent.unwrap_or_default();
    }
    Ok(sum)
}

/// What a scan saw.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scan {
    /// Copies of the secret.
    pub(crate) copies: usize,
    /// Bytes that were read.
    pub(crate) read_bytes: u64,
    /// Bytes in readable mappings that the kernel did not give.
    pub(crate) refused_bytes: u64,
}

impl Scan {
    /// Reads all that may be read of these processes.
    pub(crate) fn of(pids: &[Pid], secret: &[u8]) -> anyhow::Result<Self> {
        let needle = Needle::new(secret);
        let mut scan = Self::default();
        for pid in pids {
            let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
            let memory = File::open(format!("/proc/{pid}/mem"))?;
            for range in maps.lines().filter_map(readable_range) {
                scan.mapping(&memory, range, &needle);
            }
        }
        Ok(scan)
    }

    /// For the results file.
    pub(crate) fn to_json(self) -> Value {
        json!({
            "copies": self.copies,
            "read_bytes": self.read_bytes,
            "refused_bytes": self.refused_bytes,
        })
    }

    fn mapping(&mut self, memory: &File, (start, end): (u64, u64), needle: &Needle<'_>) {
        let mut buffer = vec![0; CHUNK];
        // Bytes before `at` that the next search must see again, for a copy across the border.
        let mut kept = 0;
        let mut at = start;
        while at < end {
            let room = buffer.len() - kept;
            let wanted = usize::try_from(end - at).unwrap_or(room).min(room);
            let Some(free) = buffer.get_mut(kept..kept + wanted) else { return };
            let Some(len) = memory.read_at(free, at).ok().filter(|len| *len > 0) else {
                self.refused_bytes += end - at;
                return;
            };
            let filled = kept + len;
            self.copies += needle.count(buffer.get(..filled).unwrap_or_default());
            let tail = filled.min(needle.bytes.len().saturating_sub(1));
            buffer.copy_within(filled - tail..filled, 0);
            kept = tail;
            let len = u64::try_from(len).unwrap_or(end - at);
            self.read_bytes += len;
            at += len;
        }
    }
}

fn readable_range(line: &str) -> Option<(u64, u64)> {
    let (range, rest) = line.split_once(' ')?;
    // The kernel's own page for system calls, which no process can read or write there.
    if !rest.starts_with('r') || line.ends_with("[vsyscall]") {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

/// Whether the environment block that `/proc` shows of one of these has the secret.
pub(crate) fn environment_shows(pids: &[Pid], secret: &[u8]) -> anyhow::Result<bool> {
    let needle = Needle::new(secret);
    for pid in pids {
        let block = fs::read(format!("/proc/{pid}/environ"))
            .with_context(|| format!("cannot read the environment of {pid}"))?;
        if needle.count(&block) > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A searched text, with how far each last byte lets the search leap (Horspool).
struct Needle<'a> {
    bytes: &'a [u8],
    leaps: [usize; 256],
}

impl<'a> Needle<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut leaps = [bytes.len(); 256];
        let last = bytes.len().saturating_sub(1);
        for (at, byte) in bytes.iter().enumerate().take(last) {
            if let Some(leap) = leaps.get_mut(usize::from(*byte)) {
                *leap = last - at;
            }
        }
        Self { bytes, leaps }
    }

    fn count(&self, text: &[u8]) -> usize {
        let mut found = 0;
        let mut at = 0;
        while let Some(window) = text.get(at..at + self.bytes.len()) {
            found += usize::from(window == self.bytes);
            let Some(last) = window.last() else { return found };
            at += self.leaps.get(usize::from(*last)).copied().unwrap_or(1);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_copy_is_counted_once() {
        let needle = Needle::new(b"abcab");
        assert_eq!(needle.count(b"abcabXabcab--abca"), 2);
        assert_eq!(needle.count(b"abcabcab"), 2, "copies may overlap");
        assert_eq!(needle.count(b"abc"), 0);
    }

    #[test]
    fn a_copy_in_this_very_process_is_found() {
        let secret = crate::random::hex(20).unwrap();
        let scan = Scan::of(&[Pid::this()], secret.as_bytes()).unwrap();
        assert!(scan.copies >= 1, "{scan:?}");
        assert!(scan.read_bytes > 0, "{scan:?}");
    }
}
