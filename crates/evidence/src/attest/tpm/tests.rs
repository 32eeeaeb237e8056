//! Against what an agent recorded in a machine with a TPM (swtpm), firmware that measures (OVMF), and
//! Debian's kernel.

use cloudtaser_core::node::{NodeEvidence, quoted_bytes};
use data_encoding::BASE64;

use super::*;
use crate::node::Document;

const RECORDED: &str = include_str!("../../../tests/vectors/node_tpm.json");

/// The parts of what was recorded.
#[derive(Clone)]
struct Parts {
    key: Vec<u8>,
    quote: Vec<u8>,
    signature: Vec<u8>,
    values: Registers,
    log: Vec<u8>,
    data: Digest,
}

fn recorded() -> Parts {
    let evidence: NodeEvidence = serde_json::from_str(RECORDED).unwrap();
    let data = Digest::of(&quoted_bytes(&evidence.statement));
    let tpm = evidence.tpm.unwrap();
    let bytes = |text: &str| BASE64.decode(text.as_bytes()).unwrap();
    let values = tpm.registers.iter().map(|(at, value)| (*at, Digest::new(*value.as_bytes())));
    Parts {
        key: bytes(&tpm.key),
        quote: bytes(&tpm.quote),
        signature: bytes(&tpm.signature),
        values: values.collect(),
        log: bytes(&tpm.log),
        data,
    }
}

fn verified(parts: &Parts) -> Result<Verified, TpmError> {
    let Parts { key, quote, signature, values, log, data } = parts;
    verify(&Evidence { key, quote, signature, values, log }, data.as_bytes())
}

/// Every bit of a part is another, one after the other.
fn bent(part: fn(&mut Parts) -> &mut Vec<u8>) -> impl Iterator<Item = (usize, Parts)> {
    let len = part(&mut recorded()).len();
    (0..len).flat_map(|at| [1, 0x80].map(|bit| (at, bit))).map(move |(at, bit)| {
        let mut parts = recorded();
        part(&mut parts)[at] ^= bit;
        (at, parts)
    })
}

#[test]
fn a_measured_boot_is_shown_and_the_log_explains_each_register() {
    let parts = recorded();
    let shown = verified(&parts).unwrap();
    assert_eq!(shown.key, Public::parse(&parts.key).unwrap().name());
    let zero = Digest::default();
    for number in [0, 2, 4, 7] {
        assert_ne!(shown.registers[&number], zero, "nothing was measured into {number}");
    }
    assert_eq!(log::replay(&parts.log).unwrap()[&4], shown.registers[&4]);
    let evidence: NodeEvidence = serde_json::from_str(RECORDED).unwrap();
    let signed = Document::of(&evidence).unwrap().verify().unwrap();
    assert_eq!(signed.tpm, Some(shown));
    let archived = Document::of(&evidence).unwrap().to_bytes().unwrap();
    assert_eq!(Document::parse(&archived).unwrap().verify(), Ok(signed));
}

#[test]
fn a_quote_or_signature_with_any_byte_changed_is_refused() {
    for (at, parts) in bent(|parts| &mut parts.quote) {
        assert_eq!(verified(&parts), Err(TpmError::Signature), "byte {at}");
    }
    for (at, parts) in bent(|parts| &mut parts.signature) {
        assert!(verified(&parts).is_err(), "byte {at}");
    }
}

#[test]
fn a_key_with_any_byte_changed_is_refused_or_has_another_name() {
    let name = verified(&recorded()).unwrap().key;
    for (at, parts) in bent(|parts| &mut parts.key) {
        assert_ne!(verified(&parts).map(|shown| shown.key), Ok(name), "byte {at}");
    }
}

#[test]
fn what_was_cut_is_refused() {
    let parts: [fn(&mut Parts) -> &mut Vec<u8>; 4] = [
        |parts| &mut parts.key,
        |parts| &mut parts.quote,
        |parts| &mut parts.signature,
        |parts| &mut parts.log,
    ];
    for part in parts {
        for end in 0..part(&mut recorded()).len() {
            let mut cut = recorded();
            part(&mut cut).truncate(end);
            assert!(verified(&cut).is_err(), "cut at {end}");
        }
        let mut longer = recorded();
        part(&mut longer).push(0);
        assert!(verified(&longer).is_err());
    }
}

#[test]
fn registers_that_are_not_the_quotes_are_refused() {
    for number in recorded().values.keys() {
        let mut parts = recorded();
        parts.values.insert(*number, Digest::of(b"another boot"));
        assert_eq!(verified(&parts), Err(TpmError::Values), "register {number}");
        let mut parts = recorded();
        parts.values.remove(number);
        assert_eq!(verified(&parts), Err(TpmError::Values), "without register {number}");
    }
    let mut more = recorded();
    more.values.insert(23, Digest::default());
    assert_eq!(verified(&more), Err(TpmError::Values));
}

#[test]
fn a_quote_over_something_else_is_refused() {
    let mut parts = recorded();
    parts.data = Digest::of(b"the statement of another session");
    assert_eq!(verified(&parts), Err(TpmError::Data));
}

/// An event's text is hashed by nobody; all else in our bank is.
#[test]
fn a_changed_log_is_refused_or_says_the_same_of_every_register() {
    let shown = verified(&recorded());
    let (mut refused, mut all) = (0, 0);
    for (_, parts) in bent(|parts| &mut parts.log).step_by(7) {
        all += 1;
        match verified(&parts) {
            Err(_) => refused += 1,
            same => assert_eq!(same, shown),
        }
    }
    assert!(refused * 20 > all, "{refused} of {all}");
    let mut none = recorded();
    none.log.clear();
    assert!(matches!(verified(&none), Err(TpmError::Log(_))), "nothing is explained");
}

#[test]
fn keys_that_leave_their_tpm_or_sign_what_they_are_told_are_refused() {
    let with = |attributes: u32| {
        let mut parts = recorded();
        parts.key[4..8].copy_from_slice(&attributes.to_be_bytes());
        verified(&parts)
    };
    assert!(with(0x0005_0472).is_ok(), "as it was recorded");
    for (what, attributes) in [
        ("it may be duplicated", 0x0005_0470),
        ("its parent may be moved", 0x0005_0462),
        ("it was made elsewhere", 0x0005_0452),
        ("it signs anything", 0x0004_0472),
        ("it signs nothing", 0x0001_0472),
        ("it decrypts as well", 0x0007_0472),
    ] {
        assert_eq!(with(attributes), Err(TpmError::Attributes), "{what}");
    }
}
