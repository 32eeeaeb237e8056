use super::*;
use crate::attest::snp::table::tests::{certificates, report};

const QUOTE: &[u8] = include_bytes!("../../../tests/vectors/tdx_quote");
const COLLATERAL: &[u8] = include_bytes!("../../../tests/vectors/tdx_quote_collateral.json");
const OTHERS: &[u8] = include_bytes!("../../../tests/vectors/tdx_quote_outdated_collateral.json");
/// 2024-01-01, when the certificates of the report were valid.
const THEN: u64 = 1_704_067_200;
/// 2025-06-20, when the collateral of the quote was.
const QUOTED: u64 = 1_750_420_800;

/// What each was made for: another statement than any of ours.
fn named(report: &Report) -> [u8; REPORT_DATA_LEN] {
    let from = if report.provider == SNP { 0x50 } else { 48 + 520 };
    report.report[from..from + REPORT_DATA_LEN].try_into().unwrap()
}

#[test]
fn reports_of_both_kinds_are_genuine_and_of_what_they_were_made_for_alone() {
    let snp = complete(SNP, report(), certificates().to_table(), &[], THEN).unwrap();
    let tdx = complete(TDX, QUOTE.to_vec(), Vec::new(), &[COLLATERAL.to_vec()], QUOTED).unwrap();
    for (report, kind, at) in [(snp, "SEV-SNP", THEN), (tdx, "TDX", QUOTED)] {
        let mut data = named(&report);
        assert_eq!(report.verify(&data, at).unwrap().as_str(), kind);
        data[63] ^= 1;
        assert_eq!(report.verify(&data, at), Err(MachineError::Binding), "{kind}");
        let swapped = Report { provider: "csv_guest".to_owned(), ..report.clone() };
        assert_eq!(swapped.verify(&data, at), Err(MachineError::Kind));
        let mixed = if kind == "TDX" { SNP } else { TDX };
        let mixed = Report { provider: mixed.to_owned(), ..report };
        assert!(mixed.verify(&data, at).is_err(), "{kind} in the other's name");
    }
}

#[test]
fn what_did_not_come_along_is_taken_from_files_and_what_is_nowhere_is_said() {
    let found = certificates();
    let files = [b"{}".to_vec(), found.ask.clone(), found.vek.clone(), COLLATERAL.to_vec()];
    let from_files = complete(SNP, report(), Vec::new(), &files, THEN).unwrap();
    assert_eq!(from_files.collateral, found.to_table());
    let several = [OTHERS.to_vec(), COLLATERAL.to_vec()];
    let quote = complete(TDX, QUOTE.to_vec(), Vec::new(), &several, QUOTED).unwrap();
    assert_eq!(quote.collateral, COLLATERAL);
    let nowhere = complete(SNP, report(), Vec::new(), &[], THEN).unwrap_err();
    assert!(nowhere.to_string().contains("no file has them"), "{nowhere}");
    let nowhere = complete(TDX, QUOTE.to_vec(), Vec::new(), &[], QUOTED).unwrap_err();
    assert!(nowhere.to_string().contains("no file has Intel's"), "{nowhere}");
    // A month later.
    let old = complete(TDX, QUOTE.to_vec(), Vec::new(), &several, QUOTED + 90 * 86_400);
    assert!(matches!(old, Err(MachineError::Tdx(_))), "{old:?}");
    assert_eq!(complete("sev", report(), Vec::new(), &files, THEN), Err(MachineError::Kind));
}
