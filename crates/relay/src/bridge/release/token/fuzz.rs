//! Entry for the fuzzer: what must hold for any bytes that a client may send as a token.

use cloudtaser_road::jwks::Jwks;

use super::{super::issuer_keys::IssuerKeys, Issuer, verify};
use crate::bridge::release::config::AuthMethod;

/// The keys of RFC 7515, appendices A.2 and A.3, whose private halves everybody knows.
const KEYS: &[u8] = br#"{"keys":[
{"kty":"RSA","kid":"a","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"},
{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

/// An issuer with those keys.
pub(in super::super) fn issuer() -> Option<Issuer> {
    Some(Issuer {
        name: "eu".to_owned(),
        client: "one".to_owned(),
        issuer: "joe".to_owned(),
        audience: "bridge".to_owned(),
        keys: IssuerKeys::fixed(Jwks::parse(KEYS)?),
        auth: AuthMethod::Jwt,
        mount: None,
    })
}

/// Any bytes as a token, and as a set of keys.
///
/// SECURITY: nobody without a key makes a token that is one.
pub fn token(bytes: &[u8]) {
    let _keys = Jwks::parse(bytes);
    let Some(issuer) = issuer() else { return };
    assert!(
        verify(bytes, [&issuer].into_iter(), 1_300_819_000).is_err(),
        "a signature was guessed"
    );
}
