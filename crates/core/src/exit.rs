//! Exit codes of the wrapper and the CLI. They are part of the interface: scripts branch on them.

use crate::blame::Blame;

/// Why a program of ours ended. An app that ran to its end passes its own code on instead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Code {
    /// The work was done.
    Ok = 0,
    /// A check found what it looks for.
    Found = 1,
    /// The command line, the environment or a plan cannot be used (`EX_USAGE` of sysexits.h).
    Usage = 64,
    /// Something that was to be checked cannot be read (`EX_DATAERR`).
    Unread = 65,
    /// OpenBao cannot be reached or gave no usable answer in time (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// A fault of ours (`EX_SOFTWARE`).
    Internal = 70,
    /// The kernel refuses what the agent stands on (`EX_OSERR`): starting it again changes nothing.
    Unsupported = 71,
    /// OpenBao refused the login or a path, or a path is not there (`EX_NOPERM`, and permanent).
    Refused = 76,
    /// A required protection level was not reached.
    Denied = 77,
    /// The app could not be started for a reason other than the next two (as container runtimes say it).
    LaunchFailed = 125,
    /// The program was found and cannot be executed.
    NotExecutable = 126,
    /// The program was not found.
    NotFound = 127,
}

impl Code {
    /// The number given to `exit(3)`.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl From<Blame> for Code {
    fn from(blame: Blame) -> Self {
        match blame {
            Blame::Attack => Self::Denied,
            Blame::Configuration => Self::Usage,
            Blame::Peer => Self::Unavailable,
            Blame::Platform => Self::LaunchFailed,
        }
    }
}
