//! Whose fault an error is, so that the message can be addressed to the one who can mend it.

use std::fmt;

/// The party that has to act on an error. It decides the exit code and the metric label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Blame {
    /// A verification failed in a way that honest parties do not cause.
    Attack,
    /// The operator wrote something that cannot work.
    Configuration,
    /// OpenBao, or whoever answers in its place, misbehaved or is away.
    Peer,
    /// The kernel or the container refuses what is needed.
    Platform,
}

impl Blame {
    /// The label used in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attack => "attack",
            Self::Configuration => "configuration",
            Self::Peer => "peer",
            Self::Platform => "platform",
        }
    }
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
