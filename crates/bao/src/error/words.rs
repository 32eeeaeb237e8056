//! The sentences of errors: what failed, what OpenBao says, what to do about it.

use std::{fmt, io};

use crate::{
    dns::DnsError,
    error::{BaoError, Failure, Operation},
};

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

impl BaoError {
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
            (Failure::Name(DnsError::NoSuchName { .. }), _) => {
                "check the host in the address, and search and nameserver in /etc/resolv.conf"
                    .to_owned()
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
            Self::SealStatus => f.write_str("ask whether OpenBao is sealed"),
            Self::Unwrap => f.write_str("unwrap the wrapped token"),
            Self::Write => f.write_str("write and read the answer"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(reason) => write!(f, "the address cannot be used: {reason}"),
            Self::Bridge { meaning, .. } => f.write_str(meaning),
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
            Self::NotFound { tried, written, errors } => {
                f.write_str("404, nothing is there")?;
                if let Some(written) = written {
                    write!(f, " (where KV v2 keeps {written})")?;
                }
                if let Some((_, others @ [_, ..])) = tried.split_first() {
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
