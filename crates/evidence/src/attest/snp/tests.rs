use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

use cloudtaser_core::release::hardware::{
    Digits, Hardware, HardwareFile, Refusal, SnpFile, Stack, Tcb,
};

use super::{Collateral, Endorsement, Product, SnpError, verify};

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

/// What a policy is asked about is what the report says, byte for byte.
#[test]
fn a_policy_is_asked_about_what_the_report_says() {
    let verified = verify(&report(), &GOOD, THEN).unwrap();
    let facts = verified.facts();
    assert_eq!(facts.measurement, report()[0x90..0xc0]);
    assert_eq!(facts.chip, report()[0x1a0..0x1e0]);
    assert_eq!(facts.reported, Tcb { bootloader: 3, snp: 8, microcode: 115, ..Tcb::default() });
    assert!(!facts.by_fleet && !facts.debug && !facts.migration);
    let snp = SnpFile {
        measurements: vec![Digits(facts.measurement)],
        chips: vec![Digits(facts.chip)],
        minimum: facts.reported,
        ..SnpFile::default()
    };
    let entry = HardwareFile { stack: Stack::Own, snp: Some(snp), ..HardwareFile::default() };
    assert_eq!(entry.check(&Hardware::Snp(facts)).unwrap().as_str(), "L3");
    let mut fleet = verified.clone();
    fleet.endorsement = Endorsement::Vlek;
    assert_eq!(entry.check(&Hardware::Snp(fleet.facts())), Err(Refusal::Fleet));
    let mut debug = verified.clone();
    debug.report.policy |= 1 << 19;
    assert_eq!(entry.check(&Hardware::Snp(debug.facts())), Err(Refusal::Debug));
    let mut migrated = verified;
    migrated.report.policy |= 1 << 18;
    assert_eq!(entry.check(&Hardware::Snp(migrated.facts())), Err(Refusal::Migration));
}
