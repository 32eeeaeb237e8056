//! The one owner of secret bytes.
//!
//! It cannot be cloned, printed or serialised, and it wipes its buffer when it is dropped. In the
//! wrapper the buffer lies in sealed memory because the whole heap does; this type neither knows
//! nor needs to know.

use std::fmt;

use zeroize::Zeroizing;

/// Bytes that must not be copied, printed or kept longer than needed.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes ownership of the bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one place that delivers them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, where they are UTF-8.
    #[must_use]
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares without telling by time where two secrets of one length differ.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.0.iter().zip(other.0.iter()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_value() {
        assert_eq!(format!("{:?}", Secret::from("hunter2".to_owned())), "Secret(redacted)");
    }

    #[test]
    fn equality_needs_the_same_length_and_bytes() {
        let secret = |text: &str| Secret::from(text.to_owned());
        assert!(secret("abc").same_as(&secret("abc")));
        assert!(!secret("abc").same_as(&secret("abd")));
        assert!(!secret("abc").same_as(&secret("ab")));
    }
}
