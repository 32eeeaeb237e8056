//! Entries for the fuzzers: what must hold for any bytes that a log, a witness, a bundle or an audit
//! log may bring.
//!
//! Each function panics where a promise is broken and says nothing otherwise. None is in a build
//! that is shipped.

use crate::{
    attest::{machine, snp, tdx, tpm},
    bundle::Bundle,
    checkpoint::SignedCheckpoint,
    key_change::KeyChange,
    log::journal_for_fuzzing,
    names::NameKey,
    node::Document,
    note::{Note, Signer, VerifierKey},
    notice::Leaf,
    policy::Policy,
    proof::Proof,
    reconcile::reconcile,
    tiles,
    verify::{self, Given, tally::Tally},
    witness,
};

/// A policy whose log's key nobody has used: nothing may verify under it.
const STRANGER: &str =
    "log example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\nquorum none\n";

/// Any bytes as a receipt: what is read is written again, byte for byte.
pub fn receipt(bytes: &[u8]) {
    if let Ok(leaf) = Leaf::parse(bytes) {
        assert_eq!(leaf.to_bytes().as_deref(), Ok(bytes));
        let text = serde_json::to_string(&leaf).unwrap_or_default();
        assert!(!text.is_empty() && !text.contains('\n'));
    }
}

/// Any bytes as a bundle and as a proof: what is read is written again, and nothing verifies that
/// the log did not sign.
pub fn bundle(bytes: &[u8]) {
    let policy = STRANGER.parse().unwrap_or_default();
    if let Ok(bundle) = Bundle::parse(bytes) {
        assert_eq!(bundle.to_bytes().as_deref(), Ok(bytes));
    }
    assert!(verify::bundle(bytes, &policy, &Given::default()).is_err());
    let text = String::from_utf8_lossy(bytes);
    if let Ok((proof, extra)) = Proof::parse(&text) {
        let written = extra.map_or_else(|| proof.to_string(), |extra| proof.with_entry(&extra));
        assert_eq!(written, text);
        assert!(verify::proof(&text, &policy, &Given::default()).is_err());
    }
}

/// Any text as a note, a checkpoint, a key and a policy.
pub fn note(text: &str) {
    if let Ok(note) = Note::parse(text) {
        assert_eq!(note.to_string(), text);
    }
    if let Ok(signed) = SignedCheckpoint::parse(text) {
        assert_eq!(signed.to_string(), text);
    }
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(signer) = Signer::parse(text) {
        assert_eq!(*signer.to_secret(), text.trim_end_matches('\n'));
    }
    if let Ok(policy) = text.parse::<Policy>() {
        assert!(policy.logs().len() <= 64 && policy.witnesses().len() <= 64);
    }
    drop(NameKey::parse(text));
}

/// Any bytes as a request to a witness.
pub fn witness(body: &[u8]) {
    if let Some((old, proof, signed)) = witness::parse_for_fuzzing(body) {
        assert_eq!(witness::request_body(old, &proof, &signed).as_bytes(), body);
    }
}

/// Any bytes as records of a journal and as tiles: never more is read than there is.
pub fn journal(bytes: &[u8]) {
    journal_for_fuzzing(bytes);
    let width = u64::from(bytes.first().copied().unwrap_or(0)) + 1;
    let rest = bytes.get(1..).unwrap_or_default();
    if let Some(entries) = tiles::decode_entries(rest, width) {
        assert_eq!(tiles::encode_entries(entries.iter().map(Vec::as_slice)), rest);
    }
    if let Some(hashes) = tiles::decode_hashes(rest, width) {
        assert_eq!(hashes.len() * 32, rest.len());
    }
}

/// Any bytes as OpenBao's audit log: each line is counted, and no list grows without end.
pub fn audit(bytes: &[u8]) {
    let Ok(found) = reconcile(&Tally::default(), bytes, &[]) else { return };
    assert!(found.answered + found.unreadable_total <= found.lines);
    assert!(found.unreceipted.len() <= 100 && found.unreadable.len() <= 100);
    assert_eq!(found.agrees(), found.unreceipted_total == 0 && found.unreadable_total == 0);
}

/// Any bytes as what a node signed: what is read is written again, and nothing verifies whose key
/// is not the one that it says. And as a change of a log's key, which both keys sign.
pub fn node(bytes: &[u8]) {
    if let Ok(change) = KeyChange::verify(bytes) {
        assert_eq!(change.old.name(), change.new.name());
        assert_ne!(change.old, change.new);
    }
    if let Ok(document) = Document::parse(bytes) {
        assert!(Document::is_one(bytes));
        assert_eq!(document.to_bytes().as_deref(), Ok(bytes));
        if let Ok(signed) = document.verify() {
            let mut other = document;
            other.statement.push(' ');
            assert_ne!(other.verify().ok(), Some(signed));
        }
    }
}

/// Any bytes as evidence of hardware, with the certificates that the second sample came with: what
/// the hardware did not sign is never genuine.
pub fn hardware(bytes: &[u8]) {
    const ASK: &[u8] = include_bytes!("../tests/vectors/ask_milan.der");
    const VCEK: &[u8] = include_bytes!("../tests/vectors/vcek_milan.der");
    const THEN: u64 = 1_704_067_200;
    drop(snp::Report::parse(bytes));
    drop(tpm::Public::parse(bytes));
    drop(tpm::log::replay(bytes));
    let (key, rest) = bytes.split_at(bytes.len().min(120));
    let values = tpm::Registers::new();
    let evidence = tpm::Evidence { key, quote: rest, signature: rest, values: &values, log: rest };
    assert!(tpm::verify(&evidence, b"").is_err());
    drop(tdx::verify(bytes, b"{}", THEN));
    if let Some(found) = snp::Certificates::parse(bytes) {
        assert_eq!(snp::Certificates::parse(&found.to_table()).as_ref(), Some(&found));
        drop(snp::verify(bytes, &found.collateral(), THEN));
    }
    let files = [bytes.to_vec(), ASK.to_vec()];
    for provider in ["sev_guest", "tdx_guest"] {
        let complete = machine::complete(provider, bytes.to_vec(), bytes.to_vec(), &files, THEN);
        let verified = complete.and_then(|report| report.verify(&[0; 64], THEN));
        assert!(verified.is_err(), "{provider}");
    }
    let (first, rest) = bytes.split_at(bytes.len().min(1360));
    drop(snp::verify(rest, &snp::Collateral { ask: ASK, vek: first, crl: None }, THEN));
    drop(snp::verify(rest, &snp::Collateral { ask: ASK, vek: VCEK, crl: Some(first) }, THEN));
}

/// Any bytes as the certificate of a TPM's key, an authority and a list of revoked certificates, cut
/// apart by the first two: under a root whose key nobody has none of them is believed, but the ones
/// that the sample has.
pub fn endorsement(bytes: &[u8]) {
    const ROOT: &[u8] = include_bytes!("../tests/vectors/ek_root.der");
    const LEAF: &[u8] = include_bytes!("../tests/vectors/ek_leaf.der");
    const KEY: &[u8] = include_bytes!("../tests/vectors/ek_public.bin");
    const THEN: u64 = 1_800_000_000;
    let Ok(key) = tpm::Public::parse(KEY) else { return };
    let (first, rest) = bytes.split_at(bytes.len().min(4));
    let cut = |at: usize, rest: &[u8]| {
        let length = first.get(at..at + 2).and_then(|two| two.try_into().ok());
        usize::from(length.map_or(0, u16::from_be_bytes)).min(rest.len())
    };
    let (certificate, rest) = rest.split_at(cut(0, rest));
    let (authority, list) = rest.split_at(cut(2, rest));
    let some = |der: &[u8]| if der.is_empty() { Vec::new() } else { vec![der.to_vec()] };
    let given = tpm::endorsement::Given {
        certificate,
        between: &some(authority),
        roots: &[ROOT.to_vec()],
        revoked: &some(list),
    };
    if tpm::endorsement::verify(&given, &key, THEN).is_ok() {
        assert_eq!(certificate, LEAF, "a certificate that nobody made is believed");
    }
}

#[cfg(test)]
mod tests {
    include!("../../../fuzz/replay.rs");

    #[test]
    fn every_corpus_file_is_replayed() {
        replay("evidence_receipt", super::receipt);
        replay("evidence_bundle", super::bundle);
        replay("evidence_note", |bytes| super::note(&String::from_utf8_lossy(bytes)));
        replay("evidence_witness", super::witness);
        replay("evidence_journal", super::journal);
        replay("evidence_audit", super::audit);
        replay("evidence_hardware", super::hardware);
        replay("evidence_node", super::node);
        replay("evidence_endorsement", super::endorsement);
    }
}
