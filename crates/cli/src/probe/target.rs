//! The process that is probed: its mappings, threads and descendants, as procfs shows them.
//!
//! Everything is read when it is asked for. A target may go at any time; every reader gets that as
//! an ordinary error.

use std::{fs, io, path::PathBuf};

/// One line of `/proc/PID/maps`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Mapping {
    /// First byte.
    pub(crate) start: usize,
    /// Byte after the last.
    pub(crate) end: usize,
    /// Whether the target itself may read it.
    pub(crate) readable: bool,
    /// Whether the target may execute it.
    pub(crate) executable: bool,
    /// Offset in the mapped file.
    pub(crate) offset: u64,
    /// What is mapped, in a short form.
    pub(crate) name: String,
}

impl Mapping {
    /// Length in bytes.
    pub(crate) const fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether these are pages that the kernel removed from its own map.
    pub(crate) fn is_sealed(&self) -> bool {
        self.name == "secretmem"
    }

    /// Whether no process can read it in a useful way: clocks of the kernel.
    pub(crate) fn is_kernel_page(&self) -> bool {
        self.name.starts_with("[vvar") || self.name == "[vsyscall]"
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let rights = words.next()?;
        let offset = u64::from_str_radix(words.next()?, 16).ok()?;
        let _device = words.next()?;
        let _inode = words.next()?;
        let name = words.collect::<Vec<_>>().join(" ");
        Some(Self {
            start: usize::from_str_radix(start, 16).ok()?,
            end: usize::from_str_radix(end, 16).ok()?,
            readable: rights.starts_with('r'),
            executable: rights.as_bytes().get(2) == Some(&b'x'),
            offset,
            name: short_name(&name),
        })
    }
}

/// `[heap]`, `[anon]`, `secretmem`, `memfd:NAME`, or the last part of a path.
fn short_name(name: &str) -> String {
    let name = name.trim_end_matches(" (deleted)");
    if name.is_empty() {
        return "[anon]".to_owned();
    }
    if name.starts_with('[') {
        return name.to_owned();
    }
    name.rsplit('/').next().unwrap_or(name).to_owned()
}

/// A process by its number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    pid: i32,
}

impl Target {
    /// Names a process; whether it is there is asked by [`Self::name`].
    pub(crate) const fn new(pid: i32) -> Self {
        Self { pid }
    }

    /// Its number.
    pub(crate) const fn pid(self) -> i32 {
        self.pid
    }

    /// Its number in the form that system calls take.
    pub(crate) const fn nix_pid(self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.pid)
    }

    /// A file below `/proc/PID`.
    pub(crate) fn proc(self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.pid))
    }

    /// Its name; fails when it is gone. A zombie has no memory left and counts as gone.
    pub(crate) fn name(self) -> io::Result<String> {
        let status = fs::read_to_string(self.proc("status"))?;
        let field = |key: &str| {
            status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim).unwrap_or("")
        };
        if field("State:").starts_with(['Z', 'X']) {
            return Err(io::Error::from_raw_os_error(nix::libc::ESRCH));
        }
        Ok(field("Name:").to_owned())
    }

    /// Its real group, which an attacker of the same uid also needs.
    pub(crate) fn gid(self) -> io::Result<u32> {
        let status = fs::read_to_string(self.proc("status"))?;
        let gid = status
            .lines()
            .find_map(|line| line.strip_prefix("Gid:"))
            .and_then(|ids| ids.split_ascii_whitespace().next())
            .and_then(|id| id.parse().ok());
        gid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Its mappings.
    pub(crate) fn mappings(self) -> io::Result<Vec<Mapping>> {
        Ok(fs::read_to_string(self.proc("maps"))?.lines().filter_map(Mapping::parse).collect())
    }

    /// Numbers below a directory of procfs: descriptors or threads.
    pub(crate) fn numbers(self, directory: &str) -> io::Result<Vec<i32>> {
        let entries = fs::read_dir(self.proc(directory))?;
        let mut numbers: Vec<i32> =
            entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Its descendants, nearest first.
    pub(crate) fn descendants(self) -> Vec<Self> {
        let mut found = vec![self];
        let mut next = 0;
        while let Some(parent) = found.get(next).copied() {
            next += 1;
            found.extend(
                parent.children().into_iter().filter(|pid| *pid != self.pid).map(Self::new),
            );
        }
        found.remove(0);
        found
    }

    fn children(self) -> Vec<i32> {
        let tasks = self.numbers("task").unwrap_or_default();
        let lists = tasks.iter().filter_map(|task| {
            fs::read_to_string(self.proc(&format!("task/{task}/children"))).ok()
        });
        lists
            .flat_map(|list| {
                list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_get_the_names_that_reports_use() {
        let name = |line: &str| Mapping::parse(line).map(|mapping| mapping.name);
        let at = "7f0-7f1 rw-s 00000000 00:01 5";
        assert_eq!(name(&format!("{at}  /secretmem (deleted)")), Some("secretmem".to_owned()));
        assert_eq!(name(&format!("{at} /memfd:a b (deleted)")), Some("memfd:a b".to_owned()));
        assert_eq!(name(at), Some("[anon]".to_owned()));
        assert_eq!(name(&format!("{at} [heap]")), Some("[heap]".to_owned()));
        assert_eq!(name("nonsense"), None);
    }

    #[test]
    fn a_child_is_among_the_descendants() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let own = Target::new(i32::try_from(std::process::id()).unwrap());
        let child_pid = i32::try_from(child.id()).unwrap();
        let found = own.descendants().iter().any(|target| target.pid() == child_pid);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found);
    }
}
