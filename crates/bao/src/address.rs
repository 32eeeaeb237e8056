//! The address of OpenBao, and what may be reached without TLS.

use std::{fmt, net::IpAddr};

use ureq::http::Uri;

use crate::error::{BaoError, Failure, Operation};

/// Where OpenBao is: scheme, host, port, and a path in front of `/v1` where a gateway adds one.
///
/// Invariants: the scheme is `http` or `https`; there is a host; there is no user, query or fragment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    /// `scheme://host:port/prefix`, without a slash at the end.
    base: String,
    tls: bool,
    host: String,
}

/// Whether tokens and secrets may travel unencrypted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Plaintext {
    /// To anywhere.
    Allowed,
    /// Within this machine.
    #[default]
    LoopbackOnly,
}

impl Address {
    /// Reads `https://HOST[:PORT][/PREFIX]`, or the same with `http`.
    ///
    /// # Errors
    /// [`Failure::Address`] with the reason.
    pub fn parse(text: &str) -> Result<Self, BaoError> {
        Self::read(text)
            .map_err(|reason| BaoError::new(Operation::Configure, None, Failure::Address(reason)))
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.trim().parse().ok().ok_or("it is no URL")?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("it does not start with https:// or http://"),
        };
        let authority = uri.authority().ok_or("it has no host")?;
        if authority.host().is_empty() {
            return Err("it has no host");
        }
        if authority.as_str().contains('@') {
            return Err("it has a user name in it");
        }
        if uri.query().is_some() || text.contains('#') {
            return Err("it has a query or a fragment");
        }
        let scheme = if tls { "https" } else { "http" };
        let prefix = uri.path().trim_end_matches('/');
        // What a browser shows and people paste.
        let prefix =
            prefix.strip_suffix("/v1").or_else(|| prefix.strip_suffix("/ui")).unwrap_or(prefix);
        let base = format!("{scheme}://{authority}{prefix}");
        Ok(Self { base, tls, host: authority.host().to_owned() })
    }

    /// Whether TLS is spoken.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host as written.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The URL of a path of the API, which must be encoded already.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/v1/{path}", self.base)
    }

    /// Whether tokens may be sent there.
    pub(crate) fn permits(&self, plaintext: Plaintext) -> bool {
        self.tls || plaintext == Plaintext::Allowed || self.is_loopback()
    }

    fn is_loopback(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        let name = bare.trim_end_matches('.');
        bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            || name.eq_ignore_ascii_case("localhost")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

/// Encodes a path of the API for a URL, slash by slash.
pub(crate) fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => {
                const HEX: [char; 16] = [
                    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
                ];
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or('0');
                encoded.extend(['%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_and_what_people_paste_are_taken_off() {
        for text in [
            "https://bao:8200",
            "https://bao:8200/",
            " https://bao:8200/v1/ ",
            "https://bao:8200/ui",
        ] {
            assert_eq!(Address::parse(text).unwrap().url("a/b"), "https://bao:8200/v1/a/b");
        }
        let gateway = Address::parse("https://host/team/bao/").unwrap();
        assert_eq!(gateway.url("x"), "https://host/team/bao/v1/x");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "bao:8200",
            "ftp://bao",
            "https://",
            "https://u:p@bao",
            "https://bao?x",
            "https://bao#x",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn plaintext_goes_no_further_than_this_machine() {
        let permits = |text| Address::parse(text).unwrap().permits(Plaintext::LoopbackOnly);
        assert!(
            permits("http://127.0.0.1:8200")
                && permits("http://[::1]:1")
                && permits("http://localhost")
        );
        assert!(!permits("http://10.0.0.1") && !permits("http://localhost.example"));
        assert!(permits("https://bao"));
        assert!(Address::parse("http://bao").unwrap().permits(Plaintext::Allowed));
    }

    #[test]
    fn paths_are_encoded_but_for_their_slashes() {
        assert_eq!(encode("kv/a b/ü?#%"), "kv/a%20b/%C3%BC%3F%23%25");
    }
}
