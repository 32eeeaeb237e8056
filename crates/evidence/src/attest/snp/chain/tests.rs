use super::{PublicKey, SnpError, certificate, not_revoked};
use rsa::pkcs1::DecodeRsaPublicKey as _;

const ASK: &[u8] = include_bytes!("../../../../tests/vectors/ask_milan.der");
const OTHER: &[u8] = include_bytes!("../../../../tests/vectors/ask_genoa.der");
const KEY: &[u8] = include_bytes!("../../../../tests/vectors/crl_key.der");
const REVOKED: &[u8] = include_bytes!("../../../../tests/vectors/crl_revoked.der");
const CLEAN: &[u8] = include_bytes!("../../../../tests/vectors/crl_clean.der");
/// 2024-03-01, within both lists' validity.
const THEN: u64 = 1_709_251_200;

fn asked(list: &[u8], ask: &[u8], at: u64) -> Result<(), SnpError> {
    let key = PublicKey::from_pkcs1_der(KEY).unwrap();
    not_revoked(list, &key, &certificate(ask, "ASK").unwrap(), at)
}

#[test]
fn a_certificate_on_the_list_is_refused_and_one_that_is_not_passes() {
    assert_eq!(asked(REVOKED, ASK, THEN), Err(SnpError::Revoked("ASK")));
    assert_eq!(asked(CLEAN, ASK, THEN), Ok(()));
    assert_eq!(asked(REVOKED, OTHER, THEN), Ok(()));
}

/// An old list would hide a newer revocation, and a list of later shows nothing of then.
#[test]
fn a_list_of_another_time_shows_nothing() {
    for at in [1_700_000_000, 1_720_000_000] {
        assert!(matches!(asked(CLEAN, ASK, at), Err(SnpError::Expired(_))), "{at}");
    }
}

#[test]
fn a_list_with_any_byte_changed_is_refused() {
    for at in 0..REVOKED.len() {
        let mut changed = REVOKED.to_vec();
        changed[at] ^= 1 << (at % 8);
        let verdict = asked(&changed, OTHER, THEN);
        assert!(verdict.is_err(), "byte {at:#x}");
    }
}
