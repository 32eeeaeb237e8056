//! Pins of a server's public key, in the form that curl and HPKP made known: `sha256//BASE64`.
//!
//! A pin names a key, not a certificate, so that a renewed certificate with the same key still
//! matches.

use std::{fmt, str::FromStr};

use data_encoding::BASE64;

use crate::{error::TlsError, provider::sha256, spki::subject_public_key_info};

/// SHA-256 of a `SubjectPublicKeyInfo`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SpkiPin([u8; 32]);

impl SpkiPin {
    /// Reads `sha256//BASE64`.
    ///
    /// # Errors
    /// [`TlsError::Pin`].
    pub fn parse(text: &str) -> Result<Self, TlsError> {
        text.trim()
            .strip_prefix("sha256//")
            .and_then(|base64| BASE64.decode(base64.as_bytes()).ok())
            .and_then(|digest| digest.try_into().ok())
            .map(Self)
            .ok_or(TlsError::Pin)
    }

    /// The pin of a certificate's key.
    ///
    /// # Errors
    /// [`TlsError::Certificate`] where there is no key in it, or [`TlsError::Cpu`].
    pub fn of_certificate(der: &[u8]) -> Result<Self, TlsError> {
        sha256(subject_public_key_info(der).ok_or(TlsError::Certificate)?).map(Self)
    }
}

impl FromStr for SpkiPin {
    type Err = TlsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for SpkiPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256//{}", BASE64.encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_written_as_it_is_read() {
        let text = "sha256//uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=";
        assert_eq!(SpkiPin::parse(text).unwrap().to_string(), text);
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        for text in
            ["", "sha256//", "sha256//AAAA", "sha1//uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="]
        {
            assert!(matches!(SpkiPin::parse(text), Err(TlsError::Pin)), "{text}");
        }
    }
}
