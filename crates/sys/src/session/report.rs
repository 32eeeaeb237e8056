//! What a session tells its owner: counts, notices, and why an image could not be given secrets.

use std::time::Duration;

use nix::errno::Errno;

use super::stack::StackError;
use crate::secretmem::SecretMemoryError;

/// How a process ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExitStatus {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl ExitStatus {
    /// The code by which a shell or a container runtime says the same: 128 and the signal.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => u8::try_from(code).unwrap_or(u8::MAX),
            Self::Signal(signal) => u8::try_from(signal.saturating_add(128)).unwrap_or(u8::MAX),
        }
    }
}

/// Why an image could not be given its secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The image runs 32-bit code.
    #[error("a 32-bit program cannot be given secrets")]
    Narrow,
    /// Its memory cannot be reached: a file that may be executed but not read, run by non-root.
    #[error("the program's memory cannot be reached: is its file readable?")]
    Unreachable(#[source] Errno),
    /// Its stack is not that of a new program.
    #[error("the program's stack cannot be read")]
    Stack(#[source] StackError),
    /// No secret pages here.
    #[error("no secret pages for the program")]
    SecretMemory(#[source] SecretMemoryError),
    /// A call made in the image failed there.
    #[error("{call} failed inside the program")]
    Call {
        /// Which call.
        call: &'static str,
        /// How it failed: `EMFILE` no free descriptor, `EAGAIN` the limit on locked memory.
        #[source]
        errno: Errno,
    },
    /// The environment on the stack is not the one that was asked for.
    #[error("the program's environment is not the one that was handed over")]
    Mismatch,
    /// A string that the program refers to is no longer known.
    #[error("the program refers to a secret that is no longer known")]
    Forgotten,
    /// The task ended meanwhile.
    #[error("the program ended while it was being prepared")]
    Gone(Option<ExitStatus>),
}

/// Something that the owner should log.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice {
    /// A program's memory cannot be read, so it finds no secret file; the first of its kind.
    FilesHidden {
        /// The task.
        task: i32,
        /// What the kernel said.
        reason: Errno,
    },
    /// A process was killed rather than let run without, or with bare, secrets.
    Killed {
        /// The process.
        process: i32,
        /// Why.
        reason: PlaceError,
    },
    /// A new program was refused, since its task could not be traced.
    Refused {
        /// The task.
        task: i32,
        /// What the kernel said.
        reason: Errno,
    },
    /// A new program was let run though its task could not be traced: its secrets are bare.
    Unprotected {
        /// The task.
        task: i32,
        /// What the kernel said.
        reason: Errno,
    },
}

/// Counts since the launch.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct SessionReport {
    /// Requests for a new program seen.
    pub execs: u64,
    /// Of these, the ones that carried no secret and were left alone.
    pub untouched: u64,
    /// Environments swapped before the kernel copied them.
    pub swapped: u64,
    /// Environments that the kernel copied with values in them, wiped right after.
    pub scrubbed: u64,
    /// Requests refused.
    pub refused: u64,
    /// Processes killed for want of a way to give them their secrets.
    pub killed: u64,
    /// Requests started over since a signal came between.
    pub interrupted: u64,
    /// Calls about a secret file that were answered.
    pub file_calls: u64,
    /// Calls whose path could not be read, so that the kernel carried them out.
    pub file_calls_unread: u64,
    /// Images that were given secrets.
    pub placed: u64,
    /// Shortest time that an image waited for its secrets after the exec.
    pub fastest: Option<Duration>,
    /// Longest such time.
    pub slowest: Option<Duration>,
    /// All such times together.
    pub total: Duration,
}

impl SessionReport {
    pub(super) fn count_placed(&mut self, took: Duration) {
        self.placed += 1;
        self.total = self.total.saturating_add(took);
        self.fastest = Some(self.fastest.map_or(took, |fastest| fastest.min(took)));
        self.slowest = Some(self.slowest.map_or(took, |slowest| slowest.max(took)));
    }
}
