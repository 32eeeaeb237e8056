use super::*;

const ASK: &[u8] = include_bytes!("../../../../tests/vectors/ask_milan.der");
const OTHER: &[u8] = include_bytes!("../../../../tests/vectors/ask_genoa.der");
const VCEK: &[u8] = include_bytes!("../../../../tests/vectors/vcek_milan.der");
const OTHERS: &[u8] = include_bytes!("../../../../tests/vectors/vcek_turin.der");
/// 2024-01-01.
const THEN: u64 = 1_704_067_200;

pub(crate) fn certificates() -> Certificates {
    Certificates { ask: ASK.to_vec(), vek: VCEK.to_vec(), crl: None }
}

pub(crate) fn report() -> Vec<u8> {
    let digits = include_bytes!("../../../../tests/vectors/report_milan.hex");
    let digits: Vec<u8> = digits.iter().copied().filter(u8::is_ascii_hexdigit).collect();
    data_encoding::HEXLOWER_PERMISSIVE.decode(&digits).unwrap()
}

#[test]
fn a_table_is_read_as_it_was_written_also_with_a_root_and_pages_behind_it() {
    let both = Certificates { crl: Some(b"a list".to_vec()), ..certificates() };
    for written in [certificates(), both] {
        let mut table = written.to_table();
        assert_eq!(Certificates::parse(&table), Some(written.clone()));
        table.resize(4096 * 3, 0);
        assert_eq!(Certificates::parse(&table), Some(written));
    }
}

/// A name is at the front of the entry, and stands there in either order.
#[test]
fn names_are_known_in_either_order_of_their_bytes() {
    let table = certificates().to_table();
    assert_eq!(table[..4], [0x63, 0xda, 0x75, 0x8d]);
    let mut mixed = table.clone();
    for entry in mixed.chunks_exact_mut(ENTRY_LEN).take(2) {
        entry[..4].reverse();
        entry[4..6].reverse();
        entry[6..8].reverse();
    }
    assert_ne!(mixed, table);
    assert_eq!(Certificates::parse(&mixed), Some(certificates()));
    mixed[8] ^= 1;
    assert_eq!(Certificates::parse(&mixed), None, "another name");
}

#[test]
fn a_table_that_is_none_is_none() {
    let table = certificates().to_table();
    assert_eq!(Certificates::parse(b""), None);
    assert_eq!(Certificates::parse(&vec![0; TABLE_MAX + 1]), None);
    for end in 0..table.len() {
        assert_eq!(Certificates::parse(&table[..end]), None, "{end}");
    }
    let mut far = table;
    far[16..24].fill(0xff);
    assert_eq!(Certificates::parse(&far), None, "it ends behind everything");
}

#[test]
fn the_certificates_of_a_report_are_found_among_others() {
    let file = |bytes: &[u8]| bytes.to_vec();
    let all = [file(b"{}"), file(OTHERS), file(OTHER), file(ASK), file(b""), file(VCEK)];
    let found = Certificates::among(&all, &report(), THEN);
    assert_eq!(found, Some(certificates()));
    for lacking in [ASK, VCEK] {
        let rest: Vec<_> = all.iter().filter(|one| *one != lacking).cloned().collect();
        assert_eq!(Certificates::among(&rest, &report(), THEN), None);
    }
    assert_eq!(Certificates::among(&all, &report(), 0), None, "of no use at that time");
    let mut other_chip = report();
    other_chip[0x1a0] ^= 1;
    assert_eq!(Certificates::among(&all, &other_chip, THEN), None);
}
