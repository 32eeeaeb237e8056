//! Whose fault an error is, so that the message can be addressed to the one who can mend it; and an
//! error in one line.

use std::{
    error::Error,
    fmt::{self, Write as _},
};

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

/// An error and what caused it, in one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a String does not fail.
        let _never = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Link(&'static str, #[source] Option<Box<Self>>);

    #[test]
    fn an_error_is_told_with_its_causes_in_their_order() {
        let cause = Link("cut", Some(Box::new(Link("reset by peer", None))));
        assert_eq!(
            chain(&Link("no answer", Some(Box::new(cause)))),
            "no answer: cut: reset by peer"
        );
        assert_eq!(chain(&Link("alone", None)), "alone");
    }
}
