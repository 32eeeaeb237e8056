//! A program by its content, as the kernel recognises it when it is executed.

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How one is written.
const FORM: &str = "sha256:";

/// SHA-256 and size of a program file. The text form is `sha256:HEX:SIZE`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Content {
    /// As the kernel computes it.
    pub sha256: [u8; 32],
    /// In bytes: the kernel looks into files of a listed size only.
    pub size: u64,
}

/// A text that names no content.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a content is written sha256:, 64 hex digits, a colon and the size in bytes: \
     `cloudtaser-agent loader FILE` prints it"
)]
pub struct ContentError;

impl Content {
    /// Whether a text is meant as one.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(FORM)
    }
}

impl FromStr for Content {
    type Err = ContentError;

    fn from_str(text: &str) -> Result<Self, ContentError> {
        let rest = text.strip_prefix(FORM).ok_or(ContentError)?;
        let (hex, size) = rest.split_once(':').ok_or(ContentError)?;
        let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map_err(|_no_hex| ContentError)?;
        let sha256 = bytes.try_into().map_err(|_short| ContentError)?;
        // A sign is taken by the standard library, and by nobody else.
        let plain = size.bytes().all(|byte| byte.is_ascii_digit());
        let size = size.parse().ok().filter(|size| plain && *size > 0).ok_or(ContentError)?;
        Ok(Self { sha256, size })
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FORM}{}:{}", HEXLOWER.encode(&self.sha256), self.size)
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_has_one_form() {
        let text = format!("sha256:{}:42", "ab".repeat(32));
        let content: Content = text.parse().unwrap();
        assert_eq!((content.sha256, content.size), ([0xab; 32], 42));
        assert_eq!(content.to_string(), text);
        assert_eq!(serde_json::to_string(&content).unwrap(), format!("{text:?}"));
        let bare = "ab".repeat(32);
        for size in ["", "0", "+1", "x", "99999999999999999999"] {
            assert_eq!(format!("sha256:{bare}:{size}").parse::<Content>(), Err(ContentError));
        }
        for bad in ["", "sha256:", "sha256:ab:1", &format!("sha256:{bare}"), &format!("{bare}:1")] {
            assert_eq!(bad.parse::<Content>(), Err(ContentError), "{bad}");
        }
    }
}
