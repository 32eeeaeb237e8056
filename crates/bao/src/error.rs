//! What can go wrong between a caller and a secret, in words for the one who has to mend it.
//!
//! Invariant: no token, no value and no credential is in any of these. What OpenBao itself says is
//! shown, without control characters and cut to a length that fits a log line.

use std::{error::Error, io, path::PathBuf, time::Duration};

use cloudtaser_core::Blame;
use cloudtaser_tls::TlsError;

use crate::dns::DnsError;

mod words;

/// Longest sentence of OpenBao's that is shown.
const SHOWN_CHARS: usize = 300;
/// As many sentences of OpenBao's are shown.
const SHOWN_ERRORS: usize = 3;

/// An operation that did not succeed.
#[derive(Debug)]
pub struct BaoError {
    /// What was being done.
    pub(crate) operation: Operation,
    /// Method and path, where a request was to be made.
    pub(crate) place: Option<Place>,
    /// What came of it.
    pub(crate) failure: Box<Failure>,
    /// How often it was tried.
    pub(crate) tries: u32,
    /// How long that took.
    pub(crate) elapsed: Duration,
}

/// What was being done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Operation {
    /// Connecting was being prepared.
    Configure,
    /// Transit ciphertexts were being decrypted.
    Decrypt,
    /// A login by this method.
    Login(&'static str),
    /// A token was being looked up.
    LookUp,
    /// A secret was being read.
    Read,
    /// A lease was being renewed.
    RenewLease,
    /// The token was being renewed.
    RenewToken,
    /// A lease was being revoked.
    RevokeLease,
    /// The token was being revoked.
    RevokeToken,
    /// It was being asked whether OpenBao is sealed.
    SealStatus,
    /// A wrapped answer was being unwrapped.
    Unwrap,
    /// A path was being written to and its answer read.
    Write,
}

/// A method and a path of the API.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path after `/v1/`.
    pub path: String,
}

/// Why an operation did not succeed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The address cannot be used, and why.
    Address(&'static str),
    /// A bridge refused, or could not be asked, or could not ask.
    Bridge {
        /// In words.
        meaning: String,
        /// Whose fault it is.
        blame: Blame,
        /// Whether it refused for good.
        refused: bool,
    },
    /// The connection could not be made.
    Connect(io::Error),
    /// A credential cannot be used.
    Credential {
        /// Which.
        path: Option<PathBuf>,
        /// Why.
        reason: &'static str,
        /// The system's reason.
        source: Option<io::Error>,
    },
    /// The connection was lost before the answer was complete.
    Cut,
    /// The version was deleted or destroyed.
    Deleted {
        /// Which version.
        version: Option<u64>,
        /// Whether it is gone for good.
        destroyed: bool,
    },
    /// A ciphertext could not be decrypted.
    Entry {
        /// Its place in the list, from 0.
        index: usize,
        /// What OpenBao says.
        said: String,
    },
    /// The name could not be resolved.
    Name(DnsError),
    /// Nothing is there.
    NotFound {
        /// The paths that were tried, likeliest first.
        tried: Vec<String>,
        /// The path as it was written, where it was tried in other forms only.
        written: Option<String>,
        /// What OpenBao says.
        errors: Vec<String>,
    },
    /// The answer is no JSON.
    NotJson,
    /// A user name, mount or key name makes a path that leads somewhere else.
    Path,
    /// Tokens would travel unencrypted.
    Plaintext,
    /// The answer leads somewhere else.
    Redirect(&'static str),
    /// The random generator or the CPU is not what it must be, or certificates cannot be read.
    Setup(TlsError),
    /// The answer is JSON but not what this request is answered with.
    Shape(&'static str),
    /// OpenBao answered with this status.
    Status {
        /// The status.
        status: u16,
        /// What OpenBao says.
        errors: Vec<String>,
    },
    /// The caller asked to stop.
    Stopped,
    /// No answer in time.
    Timeout,
    /// The handshake failed.
    Tls {
        /// Whose fault it is.
        blame: Blame,
        /// What it means.
        meaning: String,
    },
    /// The answer is longer than allowed.
    TooLarge {
        /// What is allowed.
        limit: usize,
    },
}

impl BaoError {
    pub(crate) fn new(operation: Operation, place: Option<Place>, failure: Failure) -> Self {
        Self { operation, place, failure: Box::new(failure), tries: 1, elapsed: Duration::ZERO }
    }

    /// What was being done.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        self.operation
    }

    /// Method and path, where a request was to be made.
    #[must_use]
    pub const fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// What came of it.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// How often it was tried.
    #[must_use]
    pub const fn tries(&self) -> u32 {
        self.tries
    }

    /// How long it took.
    #[must_use]
    pub const fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The status of OpenBao's answer, where there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match *self.failure {
            Failure::Status { status, .. } => Some(status),
            Failure::NotFound { .. } | Failure::Deleted { .. } => Some(404),
            Failure::Bridge { refused: true, .. } => Some(403),
            _ => None,
        }
    }

    /// Whether OpenBao was reached, understood the request, and will not grant it: a refusal, a
    /// missing path. Trying later changes nothing.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self.status(), Some(400..=411 | 413..=428 | 430..=499))
    }

    /// Whether it was a read and the secret is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.operation == Operation::Read
            && matches!(*self.failure, Failure::NotFound { .. } | Failure::Deleted { .. })
    }

    /// Whose fault it is.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match &*self.failure {
            Failure::Address(_)
            | Failure::Credential { .. }
            | Failure::Deleted { .. }
            | Failure::Entry { .. }
            | Failure::NotFound { .. }
            | Failure::Path
            | Failure::Plaintext
            | Failure::Status { status: 400..=411 | 413..=428, .. } => Blame::Configuration,
            Failure::Setup(error) => error.blame(),
            Failure::Bridge { blame, .. } | Failure::Tls { blame, .. } => *blame,
            _ => Blame::Peer,
        }
    }
}

impl Error for BaoError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &*self.failure {
            Failure::Connect(source) => Some(source),
            Failure::Credential { source: Some(source), .. } => Some(source),
            Failure::Name(source) => Some(source),
            Failure::Setup(source) => Some(source),
            _ => None,
        }
    }
}

/// Makes what OpenBao says fit for a log line.
pub(crate) fn presentable<'a>(errors: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    errors.into_iter().take(SHOWN_ERRORS).map(one_line).collect()
}

fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|w| !w.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or("")),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(operation: Operation, path: &str, status: u16, errors: &[&str]) -> String {
        let place = Place { method: "GET", path: path.to_owned() };
        let failure = Failure::Status { status, errors: presentable(errors.iter().copied()) };
        BaoError::new(operation, Some(place), failure).to_string()
    }

    #[test]
    fn a_refusal_names_the_path_and_what_the_policy_lacks() {
        assert_eq!(
            status(
                Operation::Read,
                "kv/data/app",
                403,
                &["1 error occurred:\n\t* permission denied\n\n"]
            ),
            "cannot read (GET kv/data/app): 403 refused (OpenBao says: 1 error occurred: * permission \
             denied): the token's policies lack read on kv/data/app, or the token has expired"
        );
    }

    #[test]
    fn a_seal_is_called_by_its_name() {
        let text = status(Operation::Read, "kv/x", 503, &["Vault is sealed"]);
        assert!(text.contains("OpenBao is sealed: unseal it"), "{text}");
    }

    #[test]
    fn a_missing_path_lists_what_was_tried() {
        let failure = Failure::NotFound {
            tried: vec!["kv/app".into(), "kv/data/app".into()],
            written: None,
            errors: vec![],
        };
        let place = Place { method: "GET", path: "kv/app".into() };
        assert_eq!(
            BaoError::new(Operation::Read, Some(place), failure).to_string(),
            "cannot read (GET kv/app): 404, nothing is there (also tried kv/data/app): check mount \
             and path, and the namespace if there is one"
        );
    }

    #[test]
    fn what_openbao_says_is_cut_and_holds_no_control_characters() {
        let long = "\u{1b}[31m".to_owned() + &"x".repeat(5000);
        let shown = presentable([long.as_str(), "b", "c", "d"]);
        assert_eq!(shown.len(), SHOWN_ERRORS);
        assert!(shown[0].chars().count() <= SHOWN_CHARS + 1);
        assert!(!shown[0].contains('\u{1b}'));
    }
}
