use cloudtaser_core::{level::Agent, node};
use ed25519_dalek::{Signer as _, SigningKey};

use super::*;

pub(crate) const POD: &str = "0a1b2c3d-0000-4000-8000-000000000001";

/// A statement for this session and sealing key, signed by a node.
pub(crate) fn document(session: Digest, sealing: Digest) -> Document {
    let hash = |digest: Digest| Hash::new(*digest.as_bytes());
    let launch = node::Launch {
        wrapper: Some(hash(Digest::of(b"wrapper"))),
        pod: Some(POD.to_owned()),
        container: None,
    };
    let agent = hash(Digest::of(b"agent"));
    let statement = NodeStatement {
        at: 1_800_000_000,
        boot: "b".to_owned(),
        kernel: "6.12".to_owned(),
        state: Agent::Enforcing,
        tier: Some("lsm".to_owned()),
        ..NodeStatement::new(hash(session), hash(sealing), agent, launch)
    };
    signed(statement.to_text(), 7)
}

fn signed(text: String, seed: u8) -> Document {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let signature = key.sign(&signed_bytes(&text)).to_bytes().to_vec();
    Document::new(text, &Hash::new(key.verifying_key().to_bytes()), signature)
}

fn ours() -> Document {
    document(Digest::of(b"session"), Digest::of(b"sealing"))
}

fn launch() -> Launch<'static> {
    Launch { session: Digest::of(b"session"), sealing: Digest::of(b"sealing"), pod: POD }
}

#[test]
fn a_document_is_written_and_read_and_shows_who_signed_what() {
    let bytes = ours().to_bytes().unwrap();
    assert!(Document::is_one(&bytes) && !Document::is_one(b"a statement"));
    let read = Document::parse(&bytes).unwrap();
    assert_eq!(read, ours());
    let signed = read.verify().unwrap();
    assert_eq!(signed.statement.state, Agent::Enforcing);
    assert_eq!(signed.is_of(&launch()), Ok(()));
    assert_eq!(signed.attested().tpm, None);
}

#[test]
fn every_byte_that_is_another_is_refused() {
    let bytes = ours().to_bytes().unwrap();
    for at in 0..bytes.len() {
        for bit in [1, 0x80] {
            let mut bent = bytes.clone();
            bent[at] ^= bit;
            let shown = Document::parse(&bent).and_then(|document| document.verify());
            assert!(shown.is_err(), "byte {at}, bit {bit}");
        }
        assert!(Document::parse(&bytes[..at]).is_err(), "cut at {at}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(Document::parse(&longer).is_err());
}

#[test]
fn a_forger_needs_the_key() {
    let theirs = signed(ours().statement, 8);
    let mut forged = theirs.clone();
    forged.key = ours().key;
    assert_eq!(forged.verify(), Err(NodeError::Signature));
    assert_ne!(theirs.verify().unwrap().key, ours().key, "it is another node's word");
    // The neutral element, for which every signature holds.
    let mut weak = ours();
    let mut point = [0; 32];
    point[0] = 1;
    weak.key = Digest::new(point);
    assert_eq!(weak.verify(), Err(NodeError::Key));
    // Signed by the node for another purpose.
    let key = SigningKey::from_bytes(&[7; 32]);
    let mut other = ours();
    other.signature = key.sign(other.statement.as_bytes()).to_bytes().to_vec();
    assert_eq!(other.verify(), Err(NodeError::Signature));
    let short = Document { signature: vec![0; 63], ..ours() };
    assert_eq!(short.verify(), Err(NodeError::Signature));
}

#[test]
fn what_was_made_for_another_session_launch_or_pod_is_refused() {
    let signed = ours().verify().unwrap();
    let refused = |launch: Launch<'_>| signed.is_of(&launch).unwrap_err();
    let other = Digest::of(b"other");
    assert_eq!(refused(Launch { session: other, ..launch() }), NodeError::Session);
    assert_eq!(refused(Launch { sealing: other, ..launch() }), NodeError::Sealing);
    assert!(matches!(refused(Launch { pod: "another", ..launch() }), NodeError::Pod(_)));
    let mut outside = signed.clone();
    outside.statement.launch.pod = None;
    assert!(matches!(outside.is_of(&launch()), Err(NodeError::Pod(_))));
}

#[test]
fn an_old_statement_and_one_of_tomorrow_are_told_by_their_date() {
    let signed = ours().verify().unwrap();
    assert_eq!(signed.is_recent(1_800_000_300, 300), Ok(()));
    assert_eq!(signed.is_recent(1_799_999_700, 300), Ok(()));
    let back = NodeError::Time { seconds: 301, way: "back" };
    assert_eq!(signed.is_recent(1_800_000_301, 300), Err(back));
    let ahead = NodeError::Time { seconds: 301, way: "ahead" };
    assert_eq!(signed.is_recent(1_799_999_699, 300), Err(ahead));
}

/// Real hardware's report, of somebody else's statement: all of it holds, and it is refused.
#[test]
fn a_genuine_report_of_another_statement_is_refused_and_one_that_does_not_hold_is_left_out() {
    use crate::attest::snp::table::tests::{certificates, report};
    use cloudtaser_core::node::HardwareEvidence;
    // A statement of when the certificates were valid.
    const THEN: u64 = 1_704_067_200;
    let mut statement = NodeStatement::parse(&ours().statement).unwrap();
    statement.at = THEN;
    let plain = signed(statement.to_text(), 7);
    let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
    let given = |report: &[u8], table: &[u8]| NodeEvidence {
        statement: plain.statement.clone(),
        key: Hash::new(*plain.key.as_bytes()),
        signature: HEXLOWER.encode(&plain.signature),
        tpm: None,
        hardware: Some(HardwareEvidence {
            provider: "sev_guest".to_owned(),
            report: base64(report),
            table: base64(table),
        }),
    };
    let take = |evidence: &NodeEvidence| {
        let mut document = Document::of(evidence).unwrap();
        let taken = document.take_report(evidence, &[], THEN);
        assert_eq!(document.machine.is_some(), taken.is_ok());
        assert!(document.verify().is_ok(), "the statement itself holds");
        taken.unwrap_err()
    };
    let table = certificates().to_table();
    let binding = NodeError::Machine(MachineError::Binding);
    assert_eq!(take(&given(&report(), &table)), binding);
    let mut bent = report();
    bent[0x90] ^= 1;
    let error = take(&given(&bent, &table));
    assert!(matches!(error, NodeError::Machine(MachineError::Snp(_))), "{error}");
    let error = take(&given(&report(), b""));
    assert!(matches!(error, NodeError::Machine(MachineError::Collateral(_))), "{error}");
    // One that is in a document all the same makes all of it worth nothing.
    let archived =
        machine::Report { provider: "sev_guest".to_owned(), report: report(), collateral: table };
    let document = Document { machine: Some(archived), ..plain };
    let read = Document::parse(&document.to_bytes().unwrap()).unwrap();
    assert_eq!(read, document);
    assert_eq!(read.verify(), Err(binding));
}
