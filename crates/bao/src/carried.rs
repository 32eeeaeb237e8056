//! Errors on their way through a bridge: what it met at OpenBao is told where the app is, in the
//! same words as if that had been asked directly.

use std::{error::Error, time::Duration};

use cloudtaser_core::{
    Blame,
    release::{self, Refused, Why},
};

use crate::error::{BaoError, Failure, Operation, Place};

/// The method that a login through a bridge is called by.
pub(crate) const BRIDGE: &str = "the bridge";

impl BaoError {
    /// What a bridge says of this error.
    #[must_use]
    pub fn carry(&self) -> Refused {
        let why = match self.failure() {
            Failure::Status { status, errors } => {
                Why::Status { status: *status, errors: errors.clone() }
            }
            Failure::NotFound { tried, written, errors } => Why::NotFound {
                tried: tried.clone(),
                written: written.clone(),
                errors: errors.clone(),
            },
            Failure::Deleted { version, destroyed } => {
                Why::Deleted { version: *version, destroyed: *destroyed }
            }
            Failure::Entry { index, said } => {
                Why::Entry { index: u32::try_from(*index).unwrap_or(u32::MAX), said: said.clone() }
            }
            Failure::Connect(_)
            | Failure::Cut
            | Failure::Name(_)
            | Failure::Stopped
            | Failure::Timeout => Why::Away { meaning: self.meaning() },
            _ => Why::Unusable { meaning: self.meaning() },
        };
        let place = self
            .place()
            .map(|place| release::Place { write: place.method != "GET", path: place.path.clone() });
        Refused {
            id: None,
            operation: self.operation().carried(),
            place,
            tries: self.tries(),
            elapsed_ms: u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX),
            why,
        }
    }

    /// The error of which a bridge says this.
    #[must_use]
    pub fn of_bridge(refused: Refused) -> Self {
        let Refused { operation, place, tries, elapsed_ms, why, .. } = refused;
        let peer = |meaning| Failure::Bridge { meaning, blame: Blame::Peer, refused: false };
        let failure = match why {
            Why::Away { meaning } => peer(meaning),
            Why::Unusable { meaning } => peer(meaning),
            Why::Deleted { version, destroyed } => Failure::Deleted { version, destroyed },
            Why::Denied { denial, meaning } => {
                let passing = denial.is_passing();
                let blame = if passing { Blame::Peer } else { Blame::Configuration };
                let meaning = format!("the bridge refuses ({}): {meaning}", denial.as_str());
                Failure::Bridge { meaning, blame, refused: !passing }
            }
            Why::Entry { index, said } => {
                Failure::Entry { index: usize::try_from(index).unwrap_or(usize::MAX), said }
            }
            Why::NotFound { tried, written, errors } => {
                Failure::NotFound { tried, written, errors }
            }
            Why::Status { status, errors } => Failure::Status { status, errors },
        };
        let method = |write| if write { "POST" } else { "GET" };
        let place = place.map(|place| Place { method: method(place.write), path: place.path });
        let mut error = Self::new(Operation::of_bridge(operation), place, failure);
        (error.tries, error.elapsed) = (tries, Duration::from_millis(elapsed_ms));
        error
    }

    /// The error of a road on which no bridge was met, or none that could be spoken with.
    #[must_use]
    pub fn of_road(operation: release::Operation, meaning: String, blame: Blame) -> Self {
        let failure = Failure::Bridge { meaning, blame, refused: false };
        Self::new(Operation::of_bridge(operation), None, failure)
    }

    /// Says how often it was tried, and how long that took.
    #[must_use]
    pub fn tried(mut self, tries: u32, elapsed: Duration) -> Self {
        if tries > 1 {
            (self.tries, self.elapsed) = (tries, elapsed);
        }
        self
    }

    /// The failure with its causes, in one line.
    fn meaning(&self) -> String {
        let mut text = self.failure().to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    }
}

impl Operation {
    const fn carried(self) -> release::Operation {
        match self {
            Self::Decrypt => release::Operation::Decrypt,
            Self::RenewLease | Self::RevokeLease => release::Operation::RenewLease,
            Self::RenewToken | Self::RevokeToken => release::Operation::RenewToken,
            Self::Read => release::Operation::Read,
            Self::Write => release::Operation::Write,
            Self::Configure | Self::Login(_) | Self::LookUp | Self::SealStatus | Self::Unwrap => {
                release::Operation::Login
            }
        }
    }

    const fn of_bridge(operation: release::Operation) -> Self {
        match operation {
            release::Operation::Decrypt => Self::Decrypt,
            release::Operation::Login => Self::Login(BRIDGE),
            release::Operation::Read => Self::Read,
            release::Operation::RenewLease => Self::RenewLease,
            release::Operation::RenewToken => Self::RenewToken,
            release::Operation::Write => Self::Write,
        }
    }
}

#[cfg(test)]
mod tests {
    use cloudtaser_core::release::Denial;

    use super::*;

    fn place() -> Option<Place> {
        Some(Place { method: "GET", path: "kv/data/app".to_owned() })
    }

    #[test]
    fn what_openbao_refuses_is_said_in_the_same_words_on_the_other_side() {
        let errors = vec!["permission denied".to_owned()];
        let tried = vec!["kv/data/app".to_owned(), "kv/app".to_owned()];
        for failure in [
            || Failure::Status { status: 503, errors: vec!["Vault is sealed".to_owned()] },
            || Failure::Deleted { version: Some(3), destroyed: true },
            || Failure::Entry { index: 2, said: "no".to_owned() },
            || Failure::Timeout,
            || Failure::Cut,
            || Failure::NotJson,
        ] {
            let error = BaoError::new(Operation::Read, place(), failure());
            let carried = BaoError::of_bridge(error.carry());
            assert_eq!(carried.to_string(), error.to_string());
            assert_eq!(carried.status(), error.status());
        }
        let mut error = BaoError::new(
            Operation::Read,
            place(),
            Failure::NotFound { tried, written: None, errors: errors.clone() },
        );
        (error.tries, error.elapsed) = (3, Duration::from_millis(1500));
        let carried = BaoError::of_bridge(error.carry());
        assert_eq!(carried.to_string(), error.to_string());
        assert!(carried.is_missing() && carried.is_refusal());
        let error =
            BaoError::new(Operation::Read, place(), Failure::Status { status: 403, errors });
        assert_eq!(BaoError::of_bridge(error.carry()).to_string(), error.to_string());
    }

    #[test]
    fn a_refusal_of_the_bridge_is_one_and_a_busy_bridge_is_none() {
        let denied = |denial| {
            let refused = Refused::denied(release::Operation::Read, denial, "because".to_owned());
            BaoError::of_bridge(refused)
        };
        let policy = denied(Denial::Policy);
        assert_eq!((policy.status(), policy.blame()), (Some(403), Blame::Configuration));
        assert_eq!(policy.to_string(), "cannot read: the bridge refuses (policy): because");
        assert_eq!(
            (denied(Denial::Busy).status(), denied(Denial::Busy).blame()),
            (None, Blame::Peer)
        );
    }
}
