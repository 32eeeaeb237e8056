//! The system calls that ask for a file by its path, and what they ask.
//!
//! Not among them: calls that change a file (`unlink`, `chmod`, `rename`), for which a secret file
//! is not there, and `io_uring`, which seccomp does not see.

use super::super::arch::{self, AUDIT_64, paths};
use super::super::listener::Notification;
use super::lookup::AT_CWD;

/// A call, its path and what it wants to know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::session) struct FileCall {
    /// Where a relative path begins: a descriptor, or [`AT_CWD`].
    pub(super) start: i32,
    /// Address of the path.
    pub(super) path: u64,
    pub(super) wish: Wish,
}

/// What is to be done with the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wish {
    /// `access`: may it be used so.
    Access {
        /// `R_OK` and so on.
        mode: u64,
    },
    /// `open`.
    Open {
        /// `O_RDONLY` and so on.
        flags: u64,
    },
    /// `openat2`.
    OpenHow {
        /// Address of the structure.
        how: u64,
        /// Its size.
        size: u64,
    },
    /// `readlink`.
    ReadLink,
    /// `stat`.
    Stat {
        /// Where the answer goes.
        answer: u64,
    },
    /// `statx`.
    Statx {
        /// What is wanted.
        mask: u64,
        /// Where the answer goes.
        answer: u64,
    },
}

impl FileCall {
    /// The calls to be trapped.
    pub(in crate::session) const TRAPPED: &[u32] = &paths::ALL;

    /// Recognises a trapped call.
    pub(in crate::session) fn of(request: &Notification) -> Option<Self> {
        if request.audit_arch != AUDIT_64 {
            return None;
        }
        let number = u32::try_from(request.number).ok()?;
        let [first, second, third, fourth, fifth, _] = request.arguments;
        let here = |wish| Self { start: AT_CWD, path: first, wish };
        let at = |wish| Self { start: arch::int(first), path: second, wish };
        Some(match number {
            paths::ACCESS => here(Wish::Access { mode: second }),
            paths::FACCESSAT | paths::FACCESSAT2 => at(Wish::Access { mode: third }),
            paths::LSTAT | paths::STAT => here(Wish::Stat { answer: second }),
            paths::NEWFSTATAT => at(Wish::Stat { answer: third }),
            paths::OPEN => here(Wish::Open { flags: second }),
            paths::OPENAT => at(Wish::Open { flags: third }),
            paths::OPENAT2 => at(Wish::OpenHow { how: third, size: fourth }),
            paths::READLINK => here(Wish::ReadLink),
            paths::READLINKAT => at(Wish::ReadLink),
            paths::STATX => at(Wish::Statx { mask: fourth, answer: fifth }),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: u32, arguments: [u64; 6]) -> Notification {
        let number = i32::try_from(number).unwrap();
        Notification { id: 1, tid: 2, audit_arch: AUDIT_64, number, arguments }
    }

    #[test]
    fn every_trapped_call_is_recognised() {
        for number in FileCall::TRAPPED {
            assert!(FileCall::of(&request(*number, [0; 6])).is_some(), "{number}");
        }
        assert_eq!(FileCall::of(&request(arch::EXEC_64[0], [0; 6])), None);
        let narrow = Notification { audit_arch: arch::AUDIT_32, ..request(5, [0; 6]) };
        assert_eq!(FileCall::of(&narrow), None);
    }

    #[test]
    fn arguments_are_where_the_kernel_looks_for_them() {
        // The upper half of a descriptor's register does not count.
        let arguments = [0xdead_0000_ffff_ff9c, 11, 12, 13, 14, 15];
        let at = |wish| Some(FileCall { start: AT_CWD, path: 11, wish });
        let of = |number| FileCall::of(&request(number, arguments));
        assert_eq!(of(257), at(Wish::Open { flags: 12 }));
        assert_eq!(of(437), at(Wish::OpenHow { how: 12, size: 13 }));
        assert_eq!(of(262), at(Wish::Stat { answer: 12 }));
        assert_eq!(of(332), at(Wish::Statx { mask: 13, answer: 14 }));
        let arguments = [10, 11, 12, 13, 14, 15];
        let of = |number| FileCall::of(&request(number, arguments));
        assert_eq!(of(2).unwrap().path, 10);
        assert_eq!(
            of(269).unwrap(),
            FileCall { start: 10, path: 11, wish: Wish::Access { mode: 12 } }
        );
    }
}
