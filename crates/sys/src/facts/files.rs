//! What the kernel and the node say of themselves in files.
//!
//! Read once each; a file that is not there and one that may not be read are different answers.

use std::fs;
use std::io;

use nix::errno::Errno;

/// The inode of the first user namespace, fixed in the kernel's ABI (`PROC_USER_INIT_INO`).
const INITIAL_USER_NAMESPACE: &str = "user:[4026531837]";

/// What came of reading something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reading<T> {
    /// The kernel does not have it.
    Absent,
    /// It was read.
    Known(T),
    /// It could not be read here, so it may be anything.
    Unreadable(Errno),
}

impl<T> Reading<T> {
    /// The value, where there is one.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::Unreadable(_) => None,
        }
    }

    fn and_then<U>(self, parse: impl FnOnce(T) -> Option<U>) -> Reading<U> {
        match self {
            Self::Absent => Reading::Absent,
            Self::Known(value) => {
                parse(value).map_or(Reading::Unreadable(Errno::EINVAL), Reading::Known)
            }
            Self::Unreadable(reason) => Reading::Unreadable(reason),
        }
    }
}

/// Whether the capabilities of a process count on the host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UserNamespace {
    /// The one that the machine booted with.
    Initial,
    /// One made later, inside which root is an ordinary user of the host.
    Nested,
}

impl UserNamespace {
    /// Reads which user namespace this process is in.
    #[must_use]
    pub fn read() -> Reading<Self> {
        let link = fs::read_link("/proc/self/ns/user");
        reading(link).and_then(|link| {
            Some(if link.to_str()? == INITIAL_USER_NAMESPACE {
                Self::Initial
            } else {
                Self::Nested
            })
        })
    }
}

/// The kernel, and the settings of the node that bear on secrets in memory.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its release, such as `6.1.0-50-amd64`.
    pub release: Reading<String>,
    /// Yama's `ptrace_scope`, 0 to 3.
    pub yama_scope: Reading<u8>,
    /// Where crashing processes' memory goes.
    pub core_pattern: Reading<String>,
    /// The kernel's lockdown state: `none`, `integrity` or `confidentiality`.
    pub lockdown: Reading<String>,
    /// The active security modules, in order.
    pub security_modules: Reading<Vec<String>>,
    /// How many swap areas are in use; sealed pages are never swapped, others are.
    pub swap_areas: Reading<usize>,
}

impl Kernel {
    /// Reads it all.
    #[must_use]
    pub fn read() -> Self {
        let modules = text("/sys/kernel/security/lsm");
        let lockdown = match (&modules, text("/sys/kernel/security/lockdown")) {
            // Without this file system nothing is known, which differs from a kernel without lockdown.
            (Reading::Absent, Reading::Absent) => Reading::Unreadable(Errno::ENOENT),
            (_, reading) => reading.and_then(|text| selected(&text)),
        };
        Self {
            release: text("/proc/sys/kernel/osrelease"),
            yama_scope: text("/proc/sys/kernel/yama/ptrace_scope")
                .and_then(|text| text.parse().ok()),
            core_pattern: text("/proc/sys/kernel/core_pattern"),
            lockdown,
            security_modules: match modules {
                Reading::Absent => Reading::Unreadable(Errno::ENOENT),
                reading => {
                    reading.and_then(|text| Some(text.split(',').map(str::to_owned).collect()))
                }
            },
            // The first line is the heading.
            swap_areas: text("/proc/swaps").and_then(|text| text.lines().count().checked_sub(1)),
        }
    }
}

/// The choice that the kernel puts in brackets: `none [integrity] confidentiality`.
fn selected(text: &str) -> Option<String> {
    let word =
        text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))?;
    Some(word.to_owned())
}

fn text(path: &str) -> Reading<String> {
    reading(fs::read_to_string(path)).and_then(|text| Some(text.trim_end().to_owned()))
}

fn reading<T>(result: io::Result<T>) -> Reading<T> {
    match result {
        Ok(value) => Reading::Known(value),
        Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or(libc::EINVAL)) {
            Errno::ENOENT => Reading::Absent,
            reason => Reading::Unreadable(reason),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selected_word_is_the_bracketed_one() {
        assert_eq!(selected("none [integrity] confidentiality"), Some("integrity".to_owned()));
        assert_eq!(selected("none integrity"), None);
    }

    #[test]
    fn a_missing_file_differs_from_an_unreadable_one() {
        assert_eq!(text("/proc/no-such-file"), Reading::Absent);
        assert_eq!(text("/proc/self"), Reading::Unreadable(Errno::EISDIR));
    }
}
