//! JSON in and out of wiped buffers.
//!
//! Answers are looked at in place: serde borrows the raw text of each value, and only the text that
//! is wanted is copied, once, into a [`Secret`] of the right size. No `String` of a value is made.

use std::collections::BTreeMap;

use cloudtaser_core::Secret;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// What is wrong with an answer's text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flaw {
    /// It ends too early.
    Cut,
    /// It is no JSON.
    NotJson,
}

/// Looks over the whole text without keeping anything of it.
pub(crate) fn check(text: &[u8]) -> Result<(), Flaw> {
    match serde_json::from_slice::<IgnoredAny>(text) {
        Ok(IgnoredAny) => Ok(()),
        Err(error) if error.is_eof() => Err(Flaw::Cut),
        Err(_) => Err(Flaw::NotJson),
    }
}

/// The members of an object, as raw text.
pub(crate) fn members(object: &RawValue) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(object.get()).ok()
}

/// The text of a value: a string without quotes and escapes, anything else as JSON.
///
/// `None` where an escape stands for no character.
pub(crate) fn text_of(value: &RawValue) -> Option<Secret> {
    let raw = value.get().trim();
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => unescape(inner).map(Secret::new),
        None => Some(Secret::new(raw.as_bytes().to_vec())),
    }
}

/// Takes the escapes out of a string. The result is never longer, so the buffer never moves.
fn unescape(inner: &str) -> Option<Vec<u8>> {
    // Wiped where an escape turns out to be wrong half way.
    let mut out = zeroize::Zeroizing::new(Vec::with_capacity(inner.len()));
    let mut rest = inner;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        out.extend_from_slice(plain.as_bytes());
        let (character, after) = escape(escaped)?;
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = after;
    }
    out.extend_from_slice(rest.as_bytes());
    Some(std::mem::take(&mut *out))
}

/// The character of an escape, and what follows it.
fn escape(text: &str) -> Option<(char, &str)> {
    let mut characters = text.chars();
    let character = match characters.next()? {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return unicode(characters.as_str()),
        plain @ ('"' | '\\' | '/') => plain,
        _ => return None,
    };
    Some((character, characters.as_str()))
}

/// `XXXX`, or `XXXX\uXXXX` where the first is half of a pair.
fn unicode(text: &str) -> Option<(char, &str)> {
    let (high, rest) = hex4(text)?;
    if let Some(character) = char::from_u32(high) {
        return Some((character, rest));
    }
    let (low, rest) = hex4(rest.strip_prefix("\\u")?)?;
    let pair = [u16::try_from(high).ok()?, u16::try_from(low).ok()?];
    let mut decoded = char::decode_utf16(pair);
    match (decoded.next(), decoded.next()) {
        (Some(Ok(character)), None) => Some((character, rest)),
        _ => None,
    }
}

fn hex4(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u32::from_str_radix(digits, 16).ok()).flatten().map(|number| (number, rest))
}

/// A JSON object that is written into one buffer, which is wiped.
#[derive(Debug, Default)]
pub(crate) struct Object {
    members: Vec<(&'static str, Secret)>,
}

impl Object {
    /// A member whose value is text.
    pub(crate) fn text(mut self, name: &'static str, value: &[u8]) -> Self {
        self.members.push((name, quote(value)));
        self
    }

    /// A member whose value is JSON already.
    pub(crate) fn raw(mut self, name: &'static str, value: Secret) -> Self {
        self.members.push((name, value));
        self
    }

    /// The object's text.
    pub(crate) fn finish(self) -> Secret {
        let len =
            self.members.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>();
        let mut out = Vec::with_capacity(len + 2);
        out.push(b'{');
        for (index, (name, value)) in self.members.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            out.extend_from_slice(value.expose());
        }
        out.push(b'}');
        Secret::new(out)
    }
}

/// A string in quotes. Bytes from 0x80 on pass as they are: the callers have UTF-8.
pub(crate) fn quote(value: &[u8]) -> Secret {
    let len = value.iter().map(|byte| escaped_len(*byte)).sum::<usize>();
    let mut out = Vec::with_capacity(len + 2);
    out.push(b'"');
    for &byte in value {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => {
                let digit =
                    |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
                out.extend_from_slice(&[
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    digit(byte >> 4),
                    digit(byte & 15),
                ]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
    Secret::new(out)
}

const fn escaped_len(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(json: &str) -> Option<String> {
        let raw: &RawValue = serde_json::from_str(json).unwrap();
        text_of(raw).map(|secret| String::from_utf8(secret.expose().to_vec()).unwrap())
    }

    #[test]
    fn strings_lose_their_quotes_and_the_rest_stays_json() {
        assert_eq!(text(r#""a\"b\\c\/d\n\u00fc\ud83d\ude00""#).unwrap(), "a\"b\\c/d\nü😀");
        assert_eq!(text("5432").unwrap(), "5432");
        assert_eq!(text("true").unwrap(), "true");
        assert_eq!(text(r#"{"a": [1]}"#).unwrap(), r#"{"a": [1]}"#);
    }

    #[test]
    fn half_a_pair_is_no_text() {
        assert_eq!(text(r#""\ud83d""#), None);
        assert_eq!(text(r#""\ud83dx""#), None);
        assert_eq!(text(r#""\ude00\ud83d""#), None);
    }

    #[test]
    fn text_that_ends_early_is_told_from_text_that_is_wrong() {
        assert_eq!(check(b"{\"a\":"), Err(Flaw::Cut));
        assert_eq!(check(b""), Err(Flaw::Cut));
        assert_eq!(check(b"<html>"), Err(Flaw::NotJson));
        assert_eq!(check(b"{\"a\":1} x"), Err(Flaw::NotJson));
        assert_eq!(check(b" {\"a\":1}\n"), Ok(()));
    }

    proptest! {
        #[test]
        fn what_serde_writes_is_read_back(value: String) {
            let json = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(text(&json).unwrap(), value);
        }

        #[test]
        fn what_is_quoted_is_what_serde_reads(value: String) {
            let quoted = quote(value.as_bytes());
            let read: String = serde_json::from_slice(quoted.expose()).unwrap();
            prop_assert_eq!(read, value);
        }

        #[test]
        fn any_string_inside_quotes_never_panics(inner in "\\PC{0,40}") {
            drop(unescape(&inner));
        }
    }
}
