//! Names for logs: within one run the same party has the same name, and nobody can turn it back.

use std::net::IpAddr;

use cloudtaser_tls::{Digest, MacKey, TlsError};
use data_encoding::BASE32_NOPAD;

/// Makes them with a key that lives as long as the process.
#[derive(Debug)]
pub(super) struct Pseudonyms {
    digest: Digest,
    key: MacKey,
}

impl Pseudonyms {
    pub(super) fn new() -> Result<Self, TlsError> {
        let mut key = [0; MacKey::LEN];
        cloudtaser_tls::random(&mut key)?;
        Ok(Self { digest: Digest::new()?, key: MacKey::new(&key) })
    }

    pub(super) fn of(&self, bytes: &[u8]) -> String {
        let mac = self.digest.hmac(&self.key, &[bytes]);
        BASE32_NOPAD.encode(mac.first_chunk::<5>().unwrap_or(&[0; 5])).to_ascii_lowercase()
    }

    pub(super) fn of_address(&self, address: IpAddr) -> String {
        self.of(&address.to_canonical().to_string().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_has_one_name_in_a_run_and_another_in_the_next() {
        let (first, second) = (Pseudonyms::new().unwrap(), Pseudonyms::new().unwrap());
        assert_eq!(first.of(b"a"), first.of(b"a"));
        assert_ne!(first.of(b"a"), second.of(b"a"));
        assert_eq!(first.of(b"a").len(), 8);
    }
}
