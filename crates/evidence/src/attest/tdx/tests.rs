use cloudtaser_core::release::hardware::{Digits, Hardware, HardwareFile, Refusal, Stack, TdxFile};

use super::{COLLATERAL_MAX, QUOTE_MAX, TdxError, Verified, verify};

/// A quote of a real trust domain with Intel's collateral of that week, published with `dcap-qvl`.
const QUOTE: &[u8] = include_bytes!("../../../tests/vectors/tdx_quote");
const COLLATERAL: &[u8] = include_bytes!("../../../tests/vectors/tdx_quote_collateral.json");
const OUTDATED: &[u8] = include_bytes!("../../../tests/vectors/tdx_quote_outdated");
const OUTDATED_COLLATERAL: &[u8] =
    include_bytes!("../../../tests/vectors/tdx_quote_outdated_collateral.json");
/// 2025-06-20 12:00 UTC.
const THEN: u64 = 1_750_420_800;
/// 2026-02-20 12:00 UTC.
const OUTDATED_THEN: u64 = 1_771_588_800;
const DAY: u64 = 86_400;

fn verified() -> Verified {
    verify(QUOTE, COLLATERAL, THEN).unwrap()
}

fn allowing(verified: &Verified) -> HardwareFile {
    let tdx = TdxFile { measurements: vec![verified.measurements], ..TdxFile::default() };
    HardwareFile { tdx: Some(tdx), ..HardwareFile::default() }
}

fn check(entry: &HardwareFile, verified: &Verified) -> Result<&'static str, Refusal> {
    entry.check(&Hardware::Tdx(verified.facts())).map(|level| level.as_str())
}

#[test]
fn a_real_quote_is_genuine_and_its_platform_is_up_to_date() {
    let verified = verified();
    assert_eq!(verified.status, "UpToDate");
    assert!(verified.advisories.is_empty(), "{:?}", verified.advisories);
    assert_ne!(verified.measurements.mr_td, Digits([0; 48]));
    assert_eq!(check(&allowing(&verified), &verified), Ok("L2"));
}

/// Intel's collateral is good for 30 days: neither before nor after does it show anything.
#[test]
fn collateral_of_another_time_is_refused() {
    for at in [THEN - 30 * DAY, THEN + 90 * DAY] {
        assert!(matches!(verify(QUOTE, COLLATERAL, at), Err(TdxError::Quote(_))), "{at}");
    }
    let other = verify(QUOTE, OUTDATED_COLLATERAL, OUTDATED_THEN);
    assert!(other.is_err() || other.unwrap().status != "UpToDate");
}

/// Header, report, both signatures and the certificates within: whatever is changed is noticed. The
/// last certificate is a copy of Intel's root, and nothing reads it: ours is compiled in.
#[test]
fn a_quote_with_a_byte_changed_is_refused() {
    let begin = b"-----BEGIN";
    let root = QUOTE.windows(begin.len()).rposition(|window| window == begin).unwrap();
    let fields = 1260;
    for at in (0..fields).chain((fields..root).step_by(23)) {
        let mut changed = QUOTE.to_vec();
        changed[at] ^= 1 << (at % 8);
        assert!(verify(&changed, COLLATERAL, THEN).is_err(), "byte {at:#x}");
    }
}

#[test]
fn a_quote_that_was_cut_is_refused() {
    for length in (0..4000).step_by(97) {
        assert!(verify(&QUOTE[..length], COLLATERAL, THEN).is_err(), "{length}");
    }
}

#[test]
fn collateral_that_was_changed_is_refused() {
    let text = std::str::from_utf8(COLLATERAL).unwrap();
    for (from, to) in [
        ("2025-07-19", "2035-07-19"),
        (r#"\"tcbStatus\":\"OutOfDate\""#, r#"\"tcbStatus\":\"UpToDate\""#),
        (r#"\"version\":3"#, r#"\"version\":4"#),
    ] {
        assert!(text.contains(from), "{from}");
        let changed = text.replace(from, to);
        assert!(verify(QUOTE, changed.as_bytes(), THEN).is_err(), "{from}");
    }
    assert_eq!(verify(QUOTE, b"{}", THEN).unwrap_err(), TdxError::Collateral);
}

#[test]
fn what_is_too_long_is_not_read() {
    let long = vec![0; QUOTE_MAX + 1];
    assert_eq!(verify(&long, COLLATERAL, THEN).unwrap_err(), TdxError::TooLong("quote"));
    let long = vec![b' '; COLLATERAL_MAX + 1];
    assert_eq!(verify(QUOTE, &long, THEN).unwrap_err(), TdxError::TooLong("collateral"));
}

#[test]
fn a_policy_is_asked_about_what_the_quote_says() {
    let verified = verified();
    let processor: [u8; 16] = verified.processor.clone().try_into().unwrap();
    let mut entry = allowing(&verified);
    entry.stack = Stack::Own;
    entry.tdx.as_mut().unwrap().processors = vec![Digits(processor)];
    assert_eq!(check(&entry, &verified), Ok("L3"));
    let mut moved = verified;
    moved.migratable = true;
    assert_eq!(check(&entry, &moved), Err(Refusal::Migration));
}

/// The second sample is of a platform whose firmware Intel no longer calls good.
#[test]
fn a_platform_that_is_out_of_date_does_not_pass_by_itself() {
    match verify(OUTDATED, OUTDATED_COLLATERAL, OUTDATED_THEN) {
        Ok(verified) => {
            assert_ne!(verified.status, "UpToDate");
            let refused = check(&allowing(&verified), &verified);
            assert!(matches!(refused, Err(Refusal::Platform(_))), "{refused:?}");
        }
        Err(error) => assert!(error.to_string().contains("TCB"), "{error}"),
    }
}
