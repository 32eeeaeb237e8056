//! Certificates that were made for this with openssl: a root (RSA), an authority (P-384), and the
//! certificate of a key on P-256.

use data_encoding::HEXLOWER;

use super::*;

const ROOT: &[u8] = include_bytes!("../../../../tests/vectors/ek_root.der");
const BETWEEN: &[u8] = include_bytes!("../../../../tests/vectors/ek_between.der");
const LEAF: &[u8] = include_bytes!("../../../../tests/vectors/ek_leaf.der");
const BELOW: &[u8] = include_bytes!("../../../../tests/vectors/ek_below.der");
const TLS: &[u8] = include_bytes!("../../../../tests/vectors/ek_tls.der");
const ODD: &[u8] = include_bytes!("../../../../tests/vectors/ek_odd.der");
const CLEAN: &[u8] = include_bytes!("../../../../tests/vectors/ek_crl_clean.der");
const REVOKED: &[u8] = include_bytes!("../../../../tests/vectors/ek_crl_revoked.der");
/// In the first year of all of them.
const THEN: u64 = 1_800_000_000;
/// The TPM's structure up to the coordinates: template L-2 of TCG's EK Credential Profile.
const HEAD: &str = "0023000b000300b20020\
                    837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa\
                    000600800043001000030010";

/// The endorsement key that the certificate is of.
fn key(bent: bool) -> Public {
    let certificate = Certificate::from_der(LEAF).unwrap();
    let info = certificate.tbs_certificate().subject_public_key_info();
    let point = info.subject_public_key.raw_bytes()[1..].to_vec();
    let head = HEXLOWER.decode(HEAD.as_bytes()).unwrap();
    let (x, y) = point.split_at(32);
    let (x, y) = if bent { (y, x) } else { (x, y) };
    Public::parse(&[&head[..], &[0, 32], x, &[0, 32], y].concat()).unwrap()
}

struct Case {
    certificate: Vec<u8>,
    between: Vec<Vec<u8>>,
    roots: Vec<Vec<u8>>,
    revoked: Vec<Vec<u8>>,
    at: u64,
}

fn good() -> Case {
    Case {
        certificate: LEAF.to_vec(),
        between: vec![BETWEEN.to_vec()],
        roots: vec![ROOT.to_vec()],
        revoked: vec![CLEAN.to_vec()],
        at: THEN,
    }
}

fn judged(case: &Case) -> Result<String, EndorsementError> {
    let Case { certificate, between, roots, revoked, at } = case;
    verify(&Given { certificate, between, roots, revoked }, &key(false), *at)
}

#[test]
fn a_key_that_a_maker_certified_is_known_by_his_root() {
    assert!(judged(&good()).unwrap().contains("Test root"));
    let direct = Case { roots: vec![BETWEEN.to_vec()], between: Vec::new(), ..good() };
    assert!(
        judged(&direct).unwrap().contains("Test authority"),
        "whom the owner believes is a root"
    );
    judged(&Case { revoked: Vec::new(), ..good() }).unwrap();
}

#[test]
fn what_is_revoked_expired_of_another_key_or_for_something_else_is_refused() {
    use EndorsementError as E;
    let with = |change: fn(&mut Case)| {
        let mut case = good();
        change(&mut case);
        judged(&case)
    };
    assert_eq!(with(|case| case.revoked = vec![REVOKED.to_vec()]), Err(E::Revoked));
    assert_eq!(with(|case| case.at = THEN + 20 * 365 * 86_400), Err(E::Expired));
    assert_eq!(with(|case| case.at = 1_600_000_000), Err(E::Expired));
    assert_eq!(with(|case| case.roots.clear()), Err(E::Unknown));
    assert_eq!(with(|case| case.between.clear()), Err(E::Unknown));
    assert_eq!(with(|case| case.certificate = TLS.to_vec()), Err(E::Purpose));
    assert_eq!(with(|case| case.certificate = BETWEEN.to_vec()), Err(E::OtherKey));
    assert!(matches!(with(|case| case.certificate = ODD.to_vec()), Err(E::Form(_))));
    // A certificate is no authority, and neither is one that a certificate signed.
    let below = |case: &mut Case| {
        case.certificate = BELOW.to_vec();
        case.between.push(LEAF.to_vec());
    };
    assert_eq!(with(below), Err(E::Unknown));
    let case = good();
    let given = Given {
        certificate: LEAF,
        between: &case.between,
        roots: &case.roots,
        revoked: &case.revoked,
    };
    // The same two numbers, the other way round, are no point, and surely another key.
    assert_eq!(verify(&given, &key(true), THEN), Err(E::OtherKey));
}

#[test]
fn any_byte_of_the_chain_and_of_a_list_counts() {
    type Part = fn(&mut Case) -> &mut Vec<u8>;
    let parts: [(&str, Part); 4] = [
        ("certificate", |case| &mut case.certificate),
        ("authority", |case| &mut case.between[0]),
        ("root", |case| &mut case.roots[0]),
        ("list", |case| &mut case.revoked[0]),
    ];
    for (which, part) in parts {
        let len = part(&mut good()).len();
        for at in (0..len).step_by(3) {
            let mut case = good();
            part(&mut case)[at] ^= 1;
            let judged = judged(&case);
            // What the root says of itself is not signed for by anybody but the owner, who gave it;
            // and a list that is nobody's is looked at by nobody.
            let kept = judged.is_ok() && !matches!(which, "root" | "list");
            assert!(!kept, "{which}, byte {at}");
        }
        for cut in (0..len).step_by(5) {
            let mut case = good();
            part(&mut case).truncate(cut);
            assert!(judged(&case).is_err(), "{which}, cut at {cut}");
        }
    }
}
