//! The public key of a certificate: where it begins and ends.
//!
//! It walks as much DER as it must (RFC 5280 §4.1) and interprets nothing. It trusts no length:
//! every step yields a slice of the one before, or the walk ends. That the certificate is well
//! formed beyond this is for the verifier of the handshake's signature to say.

/// `SEQUENCE`, constructed.
const SEQUENCE: u8 = 0x30;
/// `INTEGER`.
const INTEGER: u8 = 0x02;
/// `[0] EXPLICIT Version`, which version 1 certificates lack.
const VERSION: u8 = 0xa0;

/// The DER of `SubjectPublicKeyInfo`, header included, or `None` where the bytes are no certificate.
#[must_use]
pub fn subject_public_key_info(certificate: &[u8]) -> Option<&[u8]> {
    let (outer, _) = element(certificate, SEQUENCE)?;
    let (mut rest, _) = element(outer.content, SEQUENCE).map(|(tbs, rest)| (tbs.content, rest))?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest, VERSION)?.1;
    }
    rest = element(rest, INTEGER)?.1;
    // signature algorithm, issuer, validity, subject
    for _ in 0..4 {
        rest = element(rest, SEQUENCE)?.1;
    }
    Some(element(rest, SEQUENCE)?.0.whole)
}

/// One element of DER.
struct Element<'a> {
    /// Header and content.
    whole: &'a [u8],
    /// Content alone.
    content: &'a [u8],
}

/// Splits the first element off, if it has this tag and a length in the form DER demands.
fn element(bytes: &[u8], tag: u8) -> Option<(Element<'_>, &[u8])> {
    let (&found, after_tag) = bytes.split_first()?;
    if found != tag {
        return None;
    }
    let (&first, after_first) = after_tag.split_first()?;
    let (length, content_on) = match first {
        0..=0x7f => (usize::from(first), after_first),
        // One to three bytes of length: 16 MiB, more than any handshake message.
        0x81..=0x83 => {
            let (digits, rest) = after_first.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits.iter().fold(0_usize, |sum, &digit| sum << 8 | usize::from(digit));
            if digits.first() == Some(&0) || length < 0x80 {
                return None;
            }
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = content_on.split_at_checked(length)?;
    let whole = bytes.get(..bytes.len().checked_sub(rest.len())?)?;
    Some((Element { whole, content }, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_without_content_is_refused() {
        for bytes in [&b""[..], b"\x30", b"\x30\x03\x02\x01", b"\x30\x80\0\0", b"\x30\x84\0\0\0\0"]
        {
            assert!(subject_public_key_info(bytes).is_none(), "{bytes:x?}");
        }
    }

    #[test]
    fn a_length_in_a_longer_form_than_needed_is_refused() {
        assert!(element(b"\x30\x81\x01\0", SEQUENCE).is_none());
        assert!(element(b"\x30\x82\0\x80", SEQUENCE).is_none());
        assert!(element(b"\x30\x01\0", SEQUENCE).is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_give_none_or_a_part_of_themselves(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(key) = subject_public_key_info(&bytes) {
                prop_assert!(key.len() <= bytes.len());
            }
        }

        #[test]
        fn certificates_cut_or_changed_never_panic(cut in 0_usize..64, at in 0_usize..64, to: u8) {
            let name = |content: &[u8]| [&[SEQUENCE, u8::try_from(content.len()).unwrap()], content].concat();
            let body = [&[VERSION, 0][..], &[INTEGER, 1, 7], &name(b""), &name(b""), &name(b""),
                &name(b""), &name(b"key")].concat();
            let mut bytes = name(&name(&body));
            prop_assert_eq!(subject_public_key_info(&bytes), Some(&name(b"key")[..]));
            let at = at % bytes.len();
            bytes[at] = to;
            bytes.truncate(bytes.len().saturating_sub(cut));
            let _ = subject_public_key_info(&bytes);
        }
    }
}
