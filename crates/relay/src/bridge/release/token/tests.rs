use serde_json::{Value, json};

use super::{fuzz::issuer, *};

const NOW: u64 = 1_795_500_000;

/// RFC 7515, appendix A.3: the private half of the key that [`issuer`] has. PKCS#8 around it.
fn signer() -> std::sync::Arc<dyn rustls::sign::SigningKey> {
    let part = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
    let der = [
        &part("MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg")[..],
        &part("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"),
        &[0xa1, 0x44, 0x03, 0x42, 0x00, 0x04],
        &part("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"),
        &part("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"),
    ]
    .concat();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(der.into());
    cloudtaser_tls::provider().unwrap().key_provider.load_private_key(key).unwrap()
}

/// Two numbers out of DER, each in 32 bytes.
fn jose(der: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = &der[2..];
    for _ in 0..2 {
        let (number, more) = rest[2..].split_at(rest[1].into());
        let number = &number[number.len().saturating_sub(32)..];
        out.extend(std::iter::repeat_n(0, 32 - number.len()).chain(number.iter().copied()));
        rest = more;
    }
    out
}

pub(in super::super) fn signed(header: &Value, claims: &str) -> String {
    let parts = [header.to_string(), claims.to_owned()];
    let signed = parts.map(|part| BASE64URL_NOPAD.encode(part.as_bytes())).join(".");
    let scheme = rustls::SignatureScheme::ECDSA_NISTP256_SHA256;
    let der = signer().choose_scheme(&[scheme]).unwrap().sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&jose(&der)))
}

fn good() -> Value {
    json!({
        "iss": "joe", "aud": ["bridge"], "exp": NOW + 600, "nbf": NOW - 10, "iat": NOW - 10,
        "kubernetes.io": {
            "namespace": "shop", "serviceaccount": { "name": "web", "uid": "1" },
            "pod": { "name": "web-1", "uid": "7c0f5e3a-1" }, "node": { "name": "n" },
        },
    })
}

fn check(token: &str) -> Result<Bearer, TokenError> {
    let issuer = issuer().unwrap();
    verify(token.as_bytes(), [&issuer].into_iter(), NOW).map(|(bearer, _)| bearer)
}

fn with(change: impl FnOnce(&mut Value)) -> Result<Bearer, TokenError> {
    let mut claims = good();
    change(&mut claims);
    check(&signed(&json!({ "alg": "ES256" }), &claims.to_string()))
}

#[test]
fn a_token_of_a_pod_says_whose_it_is() {
    let bearer = with(|_| {}).unwrap();
    assert_eq!(bearer.identity.to_string(), "eu:shop/web");
    assert_eq!(bearer.pod, "7c0f5e3a-1");
    with(|claims| claims["aud"] = json!("bridge")).unwrap();
    with(|claims| claims["exp"] = json!(NOW as f64 + 0.5)).unwrap();
}

#[test]
fn each_claim_that_does_not_fit_is_named() {
    type Change = fn(&mut Value);
    let table: [(Change, &str); 13] = [
        (|c| c["iss"] = json!("jim"), "another issuer"),
        (|c| c["aud"] = json!(["other"]), "another audience"),
        (|c| c["aud"] = json!([]), "another audience"),
        (|c| c["exp"] = json!(NOW - 61), "expired"),
        (|c| c["nbf"] = json!(NOW + 61), "not valid yet"),
        (|c| c["exp"] = json!("tomorrow"), "claims cannot be read"),
        (|c| c["exp"] = json!(-1), "out of range"),
        (|c| c["exp"] = json!(1e300), "out of range"),
        (|c| drop(c.as_object_mut().unwrap().remove("exp")), "claims cannot be read"),
        (|c| drop(c.as_object_mut().unwrap().remove("kubernetes.io")), "bound to no pod"),
        (|c| drop(c["kubernetes.io"].as_object_mut().unwrap().remove("pod")), "bound to no pod"),
        (|c| c["kubernetes.io"]["namespace"] = json!("a/b"), "none of Kubernetes"),
        (|c| c["kubernetes.io"]["pod"]["uid"] = json!(""), "none of Kubernetes"),
    ];
    for (change, wanted) in table {
        let error = with(change).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error} instead of {wanted}");
    }
    with(|c| c["exp"] = json!(NOW - 59)).unwrap();
    with(|c| c["nbf"] = json!(NOW + 59)).unwrap();
    let twice = good().to_string().replacen('{', "{\"iss\":\"jim\",", 1);
    assert!(
        check(&signed(&json!({ "alg": "ES256" }), &twice)).is_err(),
        "a claim that is there twice"
    );
}

#[test]
fn the_token_does_not_choose_how_it_is_verified() {
    let claims = good().to_string();
    check(&signed(&json!({ "alg": "ES256", "kid": "anything" }), &claims)).unwrap();
    for header in [
        json!({ "alg": "none" }),
        json!({ "alg": "HS256" }),
        json!({ "alg": "RS256", "kid": "a" }),
        json!({ "alg": "es256" }),
    ] {
        assert_eq!(check(&signed(&header, &claims)), Err(TokenError::Issuer), "{header}");
    }
    let unknown = json!({ "alg": "RS256", "kid": "next" });
    assert_eq!(check(&signed(&unknown, &claims)), Err(TokenError::Key { kid: "next".to_owned() }));
    let odd = json!({ "alg": "RS256", "kid": "\u{1b}[2J" });
    assert_eq!(check(&signed(&odd, &claims)), Err(TokenError::Issuer), "a name that is not shown");
    let critical = json!({ "alg": "ES256", "crit": ["exp"] });
    assert!(matches!(check(&signed(&critical, &claims)), Err(TokenError::Form(_))));
    let [head, body] = [json!({ "alg": "none" }).to_string(), claims]
        .map(|part| BASE64URL_NOPAD.encode(part.as_bytes()));
    for token in [format!("{head}.{body}."), format!("{head}.{body}"), ".".into(), "..".into()] {
        assert!(check(&token).is_err(), "{token}");
    }
}

#[test]
fn every_changed_character_is_noticed() {
    let token = signed(&json!({ "alg": "ES256" }), &good().to_string());
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(changed == token || check(&changed).is_err(), "position {at}");
    }
    assert!(check(&"a".repeat(100_000)).is_err());
}
