//! References to secrets, as people write them in the values of environment variables.
//!
//! | form | meaning |
//! |---|---|
//! | `vault:PATH#FIELD` | read PATH, take FIELD |
//! | `vault:PATH#FIELD#VERSION` | the same, one version of a KV v2 secret |
//! | `vault:PATH#{{ user }}:{{ password }}` | read PATH, render a template over its fields |
//! | `vault:PATH#${.user \| b64enc}` | the same in the template form that bank-vaults users have |
//! | `>>vault:PATH#FIELD#JSON` | write JSON to PATH, take FIELD of the answer (PKI, database) |
//! | `text ${vault:PATH#FIELD} text` | any number of references inside a text |
//! | `vault:v1:CIPHERTEXT` | decrypt with Transit |
//! | `vault:login` | the token of the login itself |
//!
//! `bao:` may stand for `vault:` everywhere. Parsing is total: any input gives a [`Value`] or a
//! [`ReferenceError`] that knows which bytes are wrong. The error itself holds no input, which may
//! be a secret pasted into the wrong place; [`ReferenceError::pointed`] shows it on demand.

use std::{fmt, ops::Range};

use crate::span::Pointed;

mod parse;
#[cfg(test)]
mod tests;

/// Longest value that is looked at; the kernel's own limit for one string (`MAX_ARG_STRLEN`).
pub const MAX_LEN: usize = 128 * 1024;

/// What the value of a variable asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// Text with references inside.
    Composite(Vec<Piece>),
    /// No reference: the value goes to the app as it is.
    Literal,
    /// The token of the wrapper's own login.
    Login,
    /// A Transit ciphertext to be decrypted.
    Transit(String),
    /// The whole value is one reference.
    Whole(Reference),
}

/// A part of a composite value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Piece {
    /// A reference between `${` and `}`.
    Reference(Reference),
    /// Text that is taken over.
    Text(String),
    /// A Transit ciphertext between `${` and `}`.
    Transit(String),
}

/// One read or write of OpenBao, and what is taken from the answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reference {
    /// What is asked of OpenBao.
    pub source: Source,
    /// What is taken from its answer.
    pub select: Select,
}

/// What is asked of OpenBao. Equal sources are asked once, so that a user name and its password
/// come from one answer.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Source {
    /// Where.
    pub path: SecretPath,
    /// Which version of a KV v2 secret; the newest when absent.
    pub version: Option<u32>,
    /// The JSON object to write before the answer is read.
    pub write: Option<String>,
}

/// What is taken from an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Select {
    /// One field.
    Field(String),
    /// A minijinja template over all fields.
    Template(String),
}

/// A path in OpenBao, mount first.
///
/// Invariants: not empty; no segment is empty, `.` or `..`; no control character; so that joining
/// it to a URL cannot leave the mount.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SecretPath(String);

/// Why a text that starts like a reference is none, and where.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{kind}")]
pub struct ReferenceError {
    /// What is wrong.
    pub kind: Wrong,
    /// The bytes of the value that are wrong.
    pub span: Range<usize>,
    /// The reference around them: what may be shown without showing text beside the reference.
    context: Range<usize>,
}

/// What can be wrong with a reference.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Wrong {
    /// The JSON of a `>>` reference is not an object.
    #[error("the part after the second # must be a JSON object")]
    Body,
    /// A control character.
    #[error("control characters are not allowed in a reference")]
    Control,
    /// Nothing after the `#`.
    #[error("the field after # is empty")]
    EmptyField,
    /// Nothing before the `#`.
    #[error("the path before # is empty")]
    EmptyPath,
    /// `a//b`, or a slash at an end.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `vault:login` inside a text or with more behind it.
    #[error("login stands alone: it cannot be part of a text")]
    Login,
    /// No `#`.
    #[error("a reference needs #FIELD after the path")]
    MissingField,
    /// The path has only a mount.
    #[error("the path names a mount only: MOUNT/PATH is needed")]
    MountOnly,
    /// `.` or `..` in the path.
    #[error("the path must not have . or .. segments")]
    Relative,
    /// A space at an end of the path or of the field.
    #[error("there is a space at the end of this part")]
    Space,
    /// Longer than [`MAX_LEN`].
    #[error("the value is longer than the kernel takes in one variable")]
    TooLong,
    /// `${vault:` without `}`.
    #[error("the closing }} is missing")]
    Unclosed,
    /// The third part is no version.
    #[error("the version after the second # must be a number from 1")]
    Version,
}

impl Value {
    /// Reads the value of a variable.
    ///
    /// # Errors
    /// [`ReferenceError`] where the text starts like a reference and is none.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        parse::value(text)
    }

    /// The references in it, in order.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        let (whole, pieces) = match self {
            Self::Whole(reference) => (Some(reference), &[][..]),
            Self::Composite(pieces) => (None, pieces.as_slice()),
            Self::Literal | Self::Login | Self::Transit(_) => (None, &[][..]),
        };
        whole.into_iter().chain(pieces.iter().filter_map(|piece| match piece {
            Piece::Reference(reference) => Some(reference),
            Piece::Text(_) | Piece::Transit(_) => None,
        }))
    }

    /// The Transit ciphertexts in it, in order.
    pub fn ciphertexts(&self) -> impl Iterator<Item = &str> {
        let (whole, pieces) = match self {
            Self::Transit(ciphertext) => (Some(ciphertext.as_str()), &[][..]),
            Self::Composite(pieces) => (None, pieces.as_slice()),
            Self::Literal | Self::Login | Self::Whole(_) => (None, &[][..]),
        };
        whole.into_iter().chain(pieces.iter().filter_map(|piece| match piece {
            Piece::Transit(ciphertext) => Some(ciphertext.as_str()),
            Piece::Text(_) | Piece::Reference(_) => None,
        }))
    }
}

impl Source {
    /// Reads `PATH` or `PATH#VERSION`, the form of bulk imports.
    ///
    /// # Errors
    /// [`ReferenceError`] with the place in `text`.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        parse::source(text)
    }
}

impl SecretPath {
    /// Reads a path; slashes at the ends are taken off.
    ///
    /// # Errors
    /// [`ReferenceError`] with the place in `text`.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        parse::path(text, 0, 0..text.len())
    }

    /// The path as written, without slashes at the ends.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path.as_str())?;
        match self.version {
            Some(version) => write!(f, " (version {version})"),
            None => Ok(()),
        }
    }
}

impl ReferenceError {
    /// Shows the reference of `text` with carets under the bad part. Text beside the reference,
    /// such as the rest of a connection string, is not shown.
    #[must_use]
    pub fn pointed<'a>(&self, text: &'a str) -> Pointed<'a> {
        let within = text.get(self.context.clone()).unwrap_or("");
        let start = self.span.start.saturating_sub(self.context.start);
        let end = self.span.end.saturating_sub(self.context.start);
        Pointed::new(within, start..end)
    }
}

/// A value that looks like a reference with a slip in its prefix, or like one of another product.
///
/// Such a value is legal (the app may want it), so it is only pointed out.
#[must_use]
pub fn suspicion(text: &str) -> Option<&'static str> {
    const FOREIGN: &[(&str, &str)] = &[
        ("akeyless:/", "this is an Akeyless reference, which the app gets as it stands"),
        ("op://", "this is a 1Password reference, which the app gets as it stands"),
        ("sm://", "this is a berglas reference, which the app gets as it stands"),
    ];
    if let Some((_, why)) = FOREIGN.iter().find(|(prefix, _)| text.starts_with(prefix)) {
        return Some(why);
    }
    let (head, rest) = text.split_once(':')?;
    let looks = rest.split_once('#').is_some_and(|(path, field)| {
        path.contains('/') && !path.starts_with('/') && !field.is_empty()
    });
    let head = head.trim_start_matches(['>', ' ']);
    let near = ["vault", "bao"].iter().any(|prefix| {
        head != *prefix && (head.eq_ignore_ascii_case(prefix) || one_slip_apart(head, prefix))
    });
    let spaced = text.trim_start() != text && matches!(head, "vault" | "bao");
    (looks && (near || spaced)).then_some(
        "this looks like a reference with a slip in it, and the app gets it as it stands; one is \
         vault:PATH#FIELD",
    )
}

/// Whether one letter is missing, too many or different, or two neighbours are swapped.
#[must_use]
pub fn one_slip_apart(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let same = short.iter().zip(long).take_while(|(x, y)| x == y).count();
    let rest = |bytes: &[u8], skip: usize| bytes.get(same + skip..).map(<[u8]>::to_vec);
    match long.len() - short.len() {
        0 => {
            let swapped = short.get(same) == long.get(same + 1)
                && short.get(same + 1) == long.get(same)
                && rest(short, 2) == rest(long, 2);
            swapped || rest(short, 1) == rest(long, 1)
        }
        1 => rest(short, 0) == rest(long, 1),
        _ => false,
    }
}
