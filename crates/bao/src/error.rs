//! What can go wrong between a caller and a secret, in words for the one who has to mend it.
//!
//! Invariant: no token, no value and no credential is in any of these. What OpenBao itself says is
//! shown, without control characters and cut to a length that fits a log line.

use std::{error::Error, fmt, io, path::PathBuf, time::Duration};

use cloudtaser_core::Blame;
use cloudtaser_tls::TlsError;

use crate::dns::DnsError;

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
        /// The paths that were tried.
        tried: Vec<String>,
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
            Failure::Tls { blame, .. } => *blame,
            _ => Blame::Peer,
        }
    }

    /// What the reader can do, where the failure itself does not say it.
    fn advice(&self) -> Option<String> {
        let path = self.place.as_ref().map_or("", |place| place.path.as_str());
        let text = match (&*self.failure, self.operation) {
            (Failure::Status { status: 403, errors }, _) if tells(errors, "invalid token") => {
                "the token has expired, was revoked, or is of another namespace".to_owned()
            }
            (Failure::Status { status: 403, .. }, Operation::Login(_)) => {
                "OpenBao refused the credential, or the auth method is not mounted at this path"
                    .to_owned()
            }
            (Failure::Status { status: 403, .. }, Operation::LookUp) => {
                "the token has expired or was revoked, or is of another namespace".to_owned()
            }
            (Failure::Status { status: 403, .. }, operation) => {
                let wanted = if operation == Operation::Read { "read" } else { "update" };
                format!("the token's policies lack {wanted} on {path}, or the token has expired")
            }
            (Failure::Status { status: 400, .. }, Operation::Login(_)) => {
                "check the role and the credential".to_owned()
            }
            (Failure::Status { status: 400, .. }, Operation::Unwrap) => {
                "the wrapped token was used already or has expired: if you did not use it, \
                 somebody else has"
                    .to_owned()
            }
            (Failure::Status { status: 405, .. }, _) => {
                "this path does not take this method: is it meant to be written (>>) or read"
                    .to_owned()
            }
            (Failure::NotFound { .. }, Operation::Login(_)) => {
                "no auth method is mounted at this path".to_owned()
            }
            (Failure::NotFound { .. }, _) => {
                "check mount and path, and the namespace if there is one".to_owned()
            }
            (Failure::Connect(error), _) if error.kind() == io::ErrorKind::ConnectionRefused => {
                "check address and port, and whether OpenBao runs".to_owned()
            }
            _ => return None,
        };
        Some(text)
    }
}

fn tells(errors: &[String], what: &str) -> bool {
    errors.iter().any(|error| error.contains(what))
}

impl fmt::Display for BaoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.operation)?;
        if let Some(place) = &self.place {
            write!(f, " ({} {})", place.method, place.path)?;
        }
        write!(f, ": {}", self.failure)?;
        if let Some(advice) = self.advice() {
            write!(f, ": {advice}")?;
        }
        if self.tries > 1 {
            write!(f, " (tried {} times in {:.1} s)", self.tries, self.elapsed.as_secs_f32())?;
        }
        Ok(())
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

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configure => f.write_str("set up the connection to OpenBao"),
            Self::Decrypt => f.write_str("decrypt with Transit"),
            Self::Login(method) => write!(f, "log in by {method}"),
            Self::LookUp => f.write_str("look up the token"),
            Self::Read => f.write_str("read"),
            Self::RenewLease => f.write_str("renew the lease"),
            Self::RenewToken => f.write_str("renew the token"),
            Self::RevokeLease => f.write_str("revoke the lease"),
            Self::RevokeToken => f.write_str("revoke the token"),
            Self::Unwrap => f.write_str("unwrap the wrapped token"),
            Self::Write => f.write_str("write and read the answer"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(reason) => write!(f, "the address cannot be used: {reason}"),
            Self::Connect(source) => match source.kind() {
                io::ErrorKind::ConnectionRefused => f.write_str("connection refused"),
                _ => f.write_str("no connection"),
            },
            Self::Credential { path: Some(path), reason, .. } => {
                write!(f, "the credential in {} {reason}", path.display())
            }
            Self::Credential { path: None, reason, .. } => write!(f, "the credential {reason}"),
            Self::Cut => f.write_str("the connection ended before the answer did"),
            Self::Deleted { version, destroyed } => {
                match version {
                    Some(version) => write!(f, "version {version}")?,
                    None => f.write_str("this version")?,
                }
                f.write_str(if *destroyed {
                    " was destroyed: name another version or write a new one"
                } else {
                    " was deleted: undelete it, name another version or write a new one"
                })
            }
            Self::Entry { index, said } => write!(f, "entry {index} of the batch failed: {said}"),
            Self::Name(_) => f.write_str("the host name cannot be resolved"),
            Self::NotFound { tried, errors } => {
                f.write_str("404, nothing is there")?;
                if let Some((_, others @ [_, ..])) = tried.split_last() {
                    write!(f, " (also tried {})", others.join(", "))?;
                }
                said(f, errors)
            }
            Self::NotJson => f.write_str(
                "the answer is no JSON: is this the address of OpenBao, or of something in front",
            ),
            Self::Path => f.write_str(
                "the path has an empty, . or .. segment or a control character: check mount, user \
                 and key names",
            ),
            Self::Plaintext => f.write_str(
                "the address is http, so the token would travel unencrypted: use https, or allow \
                 plaintext on purpose",
            ),
            Self::Redirect(reason) => write!(f, "a redirect was not followed: {reason}"),
            Self::Setup(_) => f.write_str("TLS cannot be set up"),
            Self::Shape(reason) => write!(f, "the answer is not as expected: {reason}"),
            Self::Status { status, errors } => {
                write!(f, "{status} {}", status_text(*status, errors))?;
                said(f, errors)
            }
            Self::Stopped => f.write_str("stopped on request"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Tls { meaning, .. } => f.write_str(meaning),
            Self::TooLarge { limit } => write!(f, "the answer is larger than {limit} bytes"),
        }
    }
}

fn status_text(status: u16, errors: &[String]) -> &'static str {
    match status {
        400 => "bad request",
        403 => "refused",
        405 => "method not allowed",
        412 => "OpenBao has not caught up with its own state yet",
        429 => "too many requests",
        503 if tells(errors, "sealed") => "OpenBao is sealed: unseal it",
        503 => "OpenBao is not ready (sealed, standby without a leader, or starting)",
        500..=599 => "OpenBao or a gateway before it failed",
        _ => "unexpected status",
    }
}

fn said(f: &mut fmt::Formatter<'_>, errors: &[String]) -> fmt::Result {
    if errors.is_empty() {
        return Ok(());
    }
    write!(f, " (OpenBao says: {})", errors.join("; "))
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
            errors: vec![],
        };
        let place = Place { method: "GET", path: "kv/data/app".into() };
        let text = BaoError::new(Operation::Read, Some(place), failure).to_string();
        assert!(
            text.contains("(GET kv/data/app): 404, nothing is there (also tried kv/app)"),
            "{text}"
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
