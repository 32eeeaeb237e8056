//! Entries for the fuzzers: what must hold for any bytes that a server may present.
//!
//! Each function panics where a promise is broken and says nothing otherwise. None is in a build
//! that is shipped.

use rustls::{pki_types::CertificateDer, server::ParsedCertificate};

use crate::{SpkiPin, spki::subject_public_key_info};

/// Any bytes as a certificate.
///
/// SECURITY: where the verifier of the handshake sees a key, a pin must be of that very key, or a
/// server could show the pinned one and sign with another.
pub fn spki(bytes: &[u8]) {
    let key = subject_public_key_info(bytes);
    if let Some(key) = key {
        assert!(is_part(bytes, key), "the key is not a part of the certificate");
        assert_eq!(key.first(), Some(&0x30), "the key is no sequence");
    }
    let certificate = CertificateDer::from(bytes);
    if let Ok(verified) = ParsedCertificate::try_from(&certificate) {
        assert_eq!(key, Some(verified.subject_public_key_info().as_ref()), "two keys are seen");
    }
}

/// Any text as a pin: what is read can be written and read again.
pub fn pin(text: &str) {
    if let Ok(pin) = SpkiPin::parse(text) {
        assert_eq!(SpkiPin::parse(&pin.to_string()).ok(), Some(pin));
    }
}

fn is_part(whole: &[u8], part: &[u8]) -> bool {
    let (whole, part) = (whole.as_ptr_range(), part.as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}

#[cfg(test)]
mod tests {
    include!("../../../fuzz/replay.rs");

    #[test]
    fn every_corpus_file_is_replayed() {
        replay("spki", |bytes| {
            super::spki(bytes);
            super::pin(&String::from_utf8_lossy(bytes));
        });
    }
}
