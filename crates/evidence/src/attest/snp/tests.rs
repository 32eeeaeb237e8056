use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

use super::{Collateral, Endorsement, Fleet, Policy, Product, Refusal, SnpError, Tcb, verify};
use crate::attest::REPORT_DATA_LEN;

/// A report of a Milan machine and its certificates, published with the `sev` crate.
const ASK: &[u8] = include_bytes!("../../../tests/vectors/ask_milan.der");
const VCEK: &[u8] = include_bytes!("../../../tests/vectors/vcek_milan.der");
const REPORT: &[u8] = include_bytes!("../../../tests/vectors/report_milan.hex");
/// 2024-01-01, within the validity of all three.
const THEN: u64 = 1_704_067_200;
const GOOD: Collateral<'_> = Collateral { ask: ASK, vek: VCEK, crl: None };

fn report() -> Vec<u8> {
    let digits: Vec<u8> = REPORT.iter().copied().filter(u8::is_ascii_hexdigit).collect();
    HEXLOWER_PERMISSIVE.decode(&digits).unwrap()
}

fn named() -> [u8; REPORT_DATA_LEN] {
    report().get(0x50..0x90).unwrap().try_into().unwrap()
}

fn allowing() -> Policy {
    let measurement = report().get(0x90..0xc0).unwrap().try_into().unwrap();
    Policy { measurements: vec![measurement], ..Policy::default() }
}

#[test]
fn a_real_report_is_genuine_and_says_what_it_says() {
    let verified = verify(&report(), &GOOD, THEN).unwrap();
    assert_eq!(verified.product, Product::Milan);
    assert_eq!(verified.endorsement, Endorsement::Vcek);
    assert_eq!(verified.report.vmpl, 0);
    assert_eq!(HEXLOWER.encode(&verified.report.measurement[..4]), "7a1e5c26");
    assert!(!verified.report.debug_allowed());
    assert!(!verified.report.migration_allowed());
}

/// Whatever is changed, in whatever byte: no part of a report is without a check.
#[test]
fn a_report_with_any_bit_changed_is_refused() {
    let good = report();
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(verify(&changed, &GOOD, THEN).is_err(), "byte {at:#x}");
    }
}

#[test]
fn a_report_of_any_other_length_is_refused() {
    let good = report();
    for length in (0..good.len()).chain([good.len() + 1]) {
        let mut changed = good.clone();
        changed.resize(length, 0);
        assert!(matches!(verify(&changed, &GOOD, THEN), Err(SnpError::Form(_))), "{length}");
    }
}

#[test]
fn a_certificate_with_any_byte_changed_is_refused() {
    for at in 0..VCEK.len() {
        let mut changed = VCEK.to_vec();
        changed[at] ^= 1 << (at % 8);
        let collateral = Collateral { vek: &changed, ..GOOD };
        assert!(verify(&report(), &collateral, THEN).is_err(), "VCEK byte {at:#x}");
    }
    // Each costs two RSA checks: every seventh byte is enough to meet every field.
    for at in (0..ASK.len()).step_by(7) {
        let mut changed = ASK.to_vec();
        changed[at] ^= 1 << (at % 8);
        let collateral = Collateral { ask: &changed, ..GOOD };
        assert!(verify(&report(), &collateral, THEN).is_err(), "ASK byte {at:#x}");
    }
}

#[test]
fn certificates_of_another_family_or_chip_are_refused() {
    let genoa = include_bytes!("../../../tests/vectors/ask_genoa.der");
    let turin = include_bytes!("../../../tests/vectors/vcek_turin.der");
    let turin_ask = include_bytes!("../../../tests/vectors/ask_turin.der");
    let other_ask = Collateral { ask: genoa, ..GOOD };
    assert_eq!(verify(&report(), &other_ask, THEN).unwrap_err(), SnpError::Chain("VCEK or VLEK"));
    // A whole chain that is genuine, of another chip (its VCEK is valid since 2025).
    let other = Collateral { ask: turin_ask, vek: turin, crl: None };
    let later = 1_760_000_000;
    assert_eq!(verify(&report(), &other, later).unwrap_err(), SnpError::OtherChip);
    let swapped = Collateral { ask: VCEK, vek: ASK, crl: None };
    assert!(verify(&report(), &swapped, THEN).is_err());
}

#[test]
fn a_moment_outside_of_a_certificate_is_refused() {
    let which = "VCEK or VLEK";
    for at in [0, 1_600_000_000, 1_900_000_000 + 100_000_000] {
        let error = verify(&report(), &GOOD, at).unwrap_err();
        assert!(matches!(error, SnpError::Expired(_)), "{at}: {error}");
    }
    // One second before the VCEK was issued (2023-04-03 19:23:43 UTC), and then.
    assert_eq!(verify(&report(), &GOOD, 1_680_549_822).unwrap_err(), SnpError::Expired(which));
    assert!(verify(&report(), &GOOD, 1_680_549_823).is_ok());
}

#[test]
fn a_policy_that_says_nothing_allows_nothing() {
    let verified = verify(&report(), &GOOD, THEN).unwrap();
    assert_eq!(Policy::default().check(&verified, &named()), Err(Refusal::Measurement));
}

#[test]
fn a_policy_refuses_by_each_of_its_lines() {
    let verified = verify(&report(), &GOOD, THEN).unwrap();
    let policy = allowing();
    assert_eq!(policy.check(&verified, &named()), Ok(()));

    assert_eq!(policy.check(&verified, &[7; 64]), Err(Refusal::Binding));
    let lower = Policy { vmpl: 1, ..policy.clone() };
    assert_eq!(lower.check(&verified, &named()), Err(Refusal::Privilege(0)));
    let newer = Policy { minimum: Tcb { snp: 9, ..Tcb::default() }, ..policy.clone() };
    assert_eq!(newer.check(&verified, &named()), Err(Refusal::Firmware("SNP firmware")));
    let microcode = Tcb { microcode: 0x74, ..Tcb::default() };
    let newest = Policy { minimum: microcode, ..policy.clone() };
    assert_eq!(newest.check(&verified, &named()), Err(Refusal::Firmware("microcode")));
    let elsewhere = Policy { chips: vec![[1; 64]], ..policy.clone() };
    assert_eq!(elsewhere.check(&verified, &named()), Err(Refusal::Chip));
    let here = Policy { chips: vec![verified.report.chip], ..policy.clone() };
    assert_eq!(here.check(&verified, &named()), Ok(()));

    let mut fleet = verified.clone();
    fleet.endorsement = Endorsement::Vlek;
    assert_eq!(policy.check(&fleet, &named()), Err(Refusal::Fleet));
    let any = Policy { fleet: Fleet::Accept, ..policy.clone() };
    assert_eq!(any.check(&fleet, &named()), Ok(()));
    let mut debug = verified.clone();
    debug.report.policy |= 1 << 19;
    assert_eq!(policy.check(&debug, &named()), Err(Refusal::Debug));
    let mut migrated = verified;
    migrated.report.policy |= 1 << 18;
    assert_eq!(policy.check(&migrated, &named()), Err(Refusal::Migration));
}
