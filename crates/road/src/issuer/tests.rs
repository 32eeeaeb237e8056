use proptest::prelude::*;

use super::*;

const RSA: &str = r#"{"kty":"RSA","kid":"old","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}"#;
const EC: &str = r#"{"kty":"EC","crv":"P-256","kid":"new","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
const ODD: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"odd","x":"AAAA"}"#;
const ISSUER: &[u8] = br#"{"issuer":"https://kubernetes.default.svc","jwks_uri":"https://a/"}"#;

fn set(keys: &[&str]) -> String {
    format!("{{\"keys\":[{}]}}", keys.join(","))
}

fn shown(keys: &[&str]) -> KeySet {
    KeySet::read(ISSUER, set(keys).as_bytes()).unwrap()
}

fn print(shown: &KeySet) -> Fingerprint {
    shown.fingerprint(Digest::new().unwrap())
}

#[test]
fn one_set_has_one_form_and_one_fingerprint_in_whatever_order_it_is_published() {
    let one = shown(&[RSA, EC]);
    assert_eq!(one.issuer(), "https://kubernetes.default.svc");
    for other in [&[EC, RSA][..], &[RSA, EC, RSA], &[ODD, EC, RSA]] {
        assert_eq!(print(&shown(other)), print(&one));
    }
    for other in [shown(&[RSA]), shown(&[EC]), shown(&[RSA, &EC.replace("new", "nev")])] {
        assert_ne!(print(&other), print(&one));
    }
    let elsewhere = br#"{"issuer":"https://kubernetes.default.svc.cluster.local"}"#;
    let elsewhere = KeySet::read(elsewhere, set(&[RSA, EC]).as_bytes()).unwrap();
    assert_ne!(print(&elsewhere), print(&one), "the issuer is in it");
}

#[test]
fn what_is_written_for_the_bridge_is_the_set_that_was_compared() {
    for keys in [&[RSA, EC][..], &[EC], &[ODD, RSA], &[&EC.replace("\"kid\":\"new\",", "")]] {
        let one = shown(keys);
        let again = Jwks::parse(one.to_jwks().as_bytes()).unwrap();
        let again = KeySet::new(one.issuer(), &again).unwrap();
        assert_eq!((print(&again), &again), (print(&one), &one));
        assert_eq!(KeySet::decode(&one.encode()), Some(one));
    }
}

#[test]
fn a_fingerprint_is_read_as_it_is_printed() {
    let one = print(&shown(&[RSA]));
    assert_eq!(one.to_string().parse(), Ok(one));
    let text = one.to_string();
    let (headless, cut) = (text.get(1..).unwrap(), text.get(..text.len() - 1).unwrap());
    for odd in ["", "sha256:", "sha256:AAAA", headless, cut] {
        assert_eq!(odd.parse::<Fingerprint>(), Err(NoFingerprint), "{odd}");
    }
}

#[test]
fn what_cannot_be_shown_is_named() {
    let keys = set(&[RSA]);
    let read = |discovery: &str, keys: &str| KeySet::read(discovery.as_bytes(), keys.as_bytes());
    let issuer = |name: &str| format!("{{\"issuer\":{name:?}}}");
    let good = issuer("https://a");
    assert_eq!(read("{}", &keys), Err(NotShown::Discovery));
    for bad in ["", "https://a b", "a\u{1b}[2J", &"a".repeat(MAX_ISSUER_LEN + 1)] {
        let discovery = json!({ "issuer": bad }).to_string();
        assert_eq!(read(&discovery, &keys), Err(NotShown::Issuer), "{bad}");
    }
    for bad in ["", "{\"keys\":[]}", &set(&[ODD])] {
        assert_eq!(read(&good, bad), Err(NotShown::Keys), "{bad}");
    }
    let named = |name: &str| EC.replace("new", name);
    let many: Vec<String> = (0..=MAX_KEYS).map(|at| named(&at.to_string())).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(read(&good, &set(&many)), Err(NotShown::Many));
    assert!(read(&good, &set(&many[1..])).is_ok());
    assert_eq!(read(&good, &set(&[&named(&"k".repeat(MAX_NAME_LEN + 1))])), Err(NotShown::Name));
}

#[test]
fn the_longest_form_fits() {
    let name = |at: usize| format!("{at:0>MAX_NAME_LEN$}");
    let n = BASE64URL_NOPAD.encode(&[0xff; 512]);
    let key = |at| format!(r#"{{"kty":"RSA","kid":"{}","e":"_____w","n":"{n}"}}"#, name(at));
    let keys: Vec<String> = (0..MAX_KEYS).map(key).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let issuer = format!("{{\"issuer\":\"{}\"}}", "a".repeat(MAX_ISSUER_LEN));
    let longest = KeySet::read(issuer.as_bytes(), set(&keys).as_bytes()).unwrap();
    let bytes = longest.encode();
    assert!(bytes.len() <= MAX_LEN, "{}", bytes.len());
    assert_eq!(KeySet::decode(&bytes), Some(longest));
}

#[test]
fn no_other_form_of_a_set_is_read() {
    let bytes = shown(&[RSA, EC]).encode();
    for len in 0..bytes.len() {
        assert_eq!(KeySet::decode(&bytes[..len]), None, "{len}");
    }
    assert_eq!(KeySet::decode(&[&bytes[..], &[0]].concat()), None);
    let (one, two) = (shown(&[RSA]), shown(&[EC]));
    let head = 1 + one.issuer().len();
    let body = |shown: &KeySet| shown.encode().split_off(head + 1);
    let of = |keys: &[Vec<u8>]| {
        let count = [u8::try_from(keys.len()).unwrap()];
        [&bytes[..head], &count, &keys.concat()].concat()
    };
    assert_eq!(of(&[body(&two), body(&one)]), bytes, "`new` stands before `old`");
    assert_eq!(KeySet::decode(&of(&[body(&one), body(&two)])), None, "another order");
    assert_eq!(KeySet::decode(&of(&[body(&one), body(&one)])), None, "twice");
    assert_eq!(KeySet::decode(&of(&[])), None, "none");
    // A number with a zero in front is the same number in another form.
    let mut padded = body(&two);
    padded[0] = 0;
    assert_eq!(KeySet::decode(&of(&[padded])), None);
}

proptest! {
    #[test]
    fn any_bytes_are_the_one_form_of_a_set_or_nothing(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        at in 0_usize..400,
        byte in any::<u8>(),
    ) {
        let mut near = shown(&[RSA, EC]).encode();
        let len = near.len();
        near[at % len] = byte;
        for bytes in [bytes, near] {
            if let Some(read) = KeySet::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes);
                let again = Jwks::parse(read.to_jwks().as_bytes()).unwrap();
                prop_assert_eq!(KeySet::new(read.issuer(), &again), Ok(read));
            }
        }
    }
}
