use std::fs;

use cloudtaser_core::{
    node::Hash,
    release::{
        self,
        nodes::{NodeFile, Place},
        policy::PolicyFile,
    },
};
use minicbor::bytes::ByteVec;

use super::*;
use crate::{
    bundle::Item,
    export::{Selection, export},
    key_change,
    log::{Clock, Log, Options},
    names::NameKey,
    node,
    note::{KeyKind, Signer},
    receipt::{
        Assurance, Draft, Receipt, Sealing,
        tests::{draft, name},
    },
};

fn signer() -> Signer {
    Signer::from_seed("log.example/test", KeyKind::Log, &[1; 32]).unwrap()
}

fn witness() -> Signer {
    Signer::from_seed("dpo.example", KeyKind::Witness, &[2; 32]).unwrap()
}

fn policy(quorum: &str) -> Policy {
    let (log, dpo) = (signer().verifier(), witness().verifier());
    format!("log {log}\nwitness dpo {dpo}\nquorum {quorum}\n").parse().unwrap()
}

/// A log of receipts, and a bundle of those at these positions, which the witness has signed.
fn made(count: u64, positions: &[u64]) -> (tempfile::TempDir, Bundle) {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), signer(), Options::default()).unwrap();
    (0..count).for_each(|_| drop(log.append(draft()).unwrap()));
    drop(log);
    let bundle = bundled(folder.path(), positions);
    (folder, bundle)
}

fn bundled(folder: &Path, positions: &[u64]) -> Bundle {
    let mut signed = published(folder).unwrap();
    let text = signed.note().text().to_owned();
    signed.note_mut().add(witness().sign(&text, 1_800_000_000));
    let size = signed.checkpoint().size;
    let tiles = Tiles::new(folder, size);
    let item = |index: &u64| {
        let entries = tiles.entries(index / 256).unwrap();
        let leaf = entries[usize::try_from(index % 256).unwrap()].clone();
        Item {
            index: *index,
            leaf: leaf.into(),
            path: tree::inclusion(&tiles, *index, size).unwrap(),
        }
    };
    Bundle {
        checkpoint: signed.to_string(),
        receipts: positions.iter().map(item).collect(),
        openings: Vec::new(),
        documents: Vec::new(),
        earlier: Vec::new(),
    }
}

fn judged(bundle: &Bundle, quorum: &str) -> Result<Report, Refusal> {
    super::bundle(&bundle.to_bytes().unwrap(), &policy(quorum), &Given::default())
}

fn standing(report: &Report, id: &str) -> Standing {
    report.claims.iter().find(|claim| claim.id == id).unwrap().standing
}

use claims::Standing;

#[test]
fn a_bundle_verifies_and_says_what_it_shows() {
    let (_folder, bundle) = made(10, &[2, 3, 4]);
    let report = judged(&bundle, "dpo").unwrap();
    assert_eq!((report.size, report.tally.receipts, report.tally.range), (10, 3, Some((2, 4))));
    for (id, expected) in [
        ("C1", Standing::NotProvable),
        ("C2", Standing::Pass),
        ("C3", Standing::Pass),
        ("C4", Standing::NotProvable),
        ("C5", Standing::NotProvable),
        ("C6", Standing::Pass),
        ("C7", Standing::NotProvable),
        ("C8", Standing::Pass),
    ] {
        assert_eq!(standing(&report, id), expected, "{id}");
    }
    let alone = judged(&bundle, "none").unwrap();
    assert_eq!(standing(&alone, "C6"), Standing::Pass, "a witness counts without a quorum too");
}

#[test]
fn the_bytes_of_log_and_bundle_are_these() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::new(|| 1_800_000_000_000);
    let log = Log::open(folder.path(), signer(), Options::default().clock(clock)).unwrap();
    (0..3).for_each(|_| drop(log.append(draft()).unwrap()));
    drop(log);
    let hash = |file: &str| Digest::of(&fs::read(folder.path().join(file)).unwrap()).to_string();
    assert_eq!(
        fs::read_to_string(folder.path().join("checkpoint")).unwrap(),
        "log.example/test\n3\nWJjDC/fzhIu3eN8QGbVv9Ucl6dPNSGt6bumv5uSL/Og=\n\n— log.example/test +uIDU5yr6r8zL2BYa3o1sfKdlpSI1a8/uSO14WfV1XuF6a1AJW3VD76ZUKx/SN/BYc+WyLIitrQgDwv7uJTZoLzz9gE=\n"
    );
    assert_eq!(hash("journal"), "917d3642680bc985ab3d64a4ede60c8dbbf34f43495e595f0c7a2eb4ff6a723d");
    assert_eq!(
        hash("tile/0/000.p/3"),
        "8ea15f6c347920514c6af47b58aff6e97e28d6a7d4222682e222e108de718e8c"
    );
    assert_eq!(
        hash("tile/entries/000.p/3"),
        "7c400dbd6a6ac70542576b29f63be726805b27e2d26d1e1837ccda4c1b1a8202"
    );
    let bundle = bundled(folder.path(), &[1]).to_bytes().unwrap();
    assert_eq!(
        Digest::of(&bundle).to_string(),
        "683575e7c138a85e2988ed28ff93f4f50bb05062a54b30211351b024abc653b1"
    );
}

#[test]
fn receipts_that_are_dated_after_a_witness_saw_them_are_not_vouched_for() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::new(|| (1_800_000_000 + 301) * 1000);
    let log = Log::open(folder.path(), signer(), Options::default().clock(clock)).unwrap();
    log.append(draft()).unwrap();
    drop(log);
    let report = judged(&bundled(folder.path(), &[0]), "dpo").unwrap();
    assert_eq!(standing(&report, "C6"), Standing::NotProvable);
}

#[test]
fn any_flipped_byte_of_a_bundle_is_refused() {
    let (_folder, mut bundle) = made(6, &[1, 4]);
    let key = NameKey::new([9; 32].into());
    let opened = key.open("secret/data/db", &["password"]).unwrap();
    bundle.openings.push(opened);
    let bytes = bundle.to_bytes().unwrap();
    for at in 0..bytes.len() {
        for flip in [1, 0x20, 0x80] {
            let mut bent = bytes.clone();
            bent[at] ^= flip;
            let verdict = super::bundle(&bent, &policy("dpo"), &Given::default());
            assert!(verdict.is_err(), "byte {at}");
        }
    }
    for cut in (0..bytes.len()).step_by(3) {
        let verdict = super::bundle(&bytes[..cut], &policy("dpo"), &Given::default());
        assert!(verdict.is_err(), "cut at {cut}");
    }
}

#[test]
fn a_forger_who_mends_the_hash_at_the_end_gains_nothing() {
    let (_folder, bundle) = made(6, &[1, 4]);
    let bytes = bundle.to_bytes().unwrap();
    judged(&bundle, "dpo").unwrap();
    let body = bytes.len() - 32;
    for at in 0..body {
        let mut bent = bytes[..body].to_vec();
        bent[at] ^= 1;
        let hash = Digest::of(&bent);
        bent.extend_from_slice(hash.as_bytes());
        let verdict = super::bundle(&bent, &policy("dpo"), &Given::default());
        assert!(verdict.is_err(), "byte {at}");
    }
}

#[test]
fn receipts_that_do_not_belong_are_refused() {
    let (folder, bundle) = made(5, &[1, 2]);
    let mut swapped = bundle.clone();
    swapped.receipts[0].index = 2;
    swapped.receipts[1].index = 3;
    assert!(matches!(judged(&swapped, "dpo"), Err(Refusal::NotIncluded { index: 2, .. })));
    let mut unnamed = bundle.clone();
    unnamed.documents.push(ByteVec::from(b"a statement".to_vec()));
    assert!(matches!(judged(&unnamed, "dpo"), Err(Refusal::Document(_))));
    let mut opened = bundle.clone();
    opened.openings.push(NameKey::new([3; 32].into()).open("secret/data/x", &[]).unwrap());
    assert!(matches!(judged(&opened, "dpo"), Err(Refusal::Opening(_))));
    let mut unwitnessed = bundle;
    unwitnessed.checkpoint = published(folder.path()).unwrap().to_string();
    assert!(matches!(judged(&unwitnessed, "dpo"), Err(Refusal::Policy(Disbelief::Quorum(_)))));
    assert_eq!(standing(&judged(&unwitnessed, "none").unwrap(), "C6"), Standing::NotProvable);
}

#[test]
fn openings_and_documents_are_matched_with_receipts() {
    let key = NameKey::new([9; 32].into());
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), signer(), Options::default()).unwrap();
    let mut draft = draft();
    draft.secrets[0].name = key.hash("secret/data/db", &["password"]).unwrap();
    draft.evidence = Some(Digest::of(b"a statement"));
    (0..3).for_each(|_| drop(log.append(draft.clone()).unwrap()));
    drop(log);
    let mut bundle = bundled(folder.path(), &[0, 1, 2]);
    bundle.openings.push(key.open("secret/data/db", &["password"]).unwrap());
    bundle.documents.push(ByteVec::from(b"a statement".to_vec()));
    let report = judged(&bundle, "dpo").unwrap();
    assert_eq!((report.names[0].path.as_str(), report.names[0].releases), ("secret/data/db", 3));
    assert_eq!((report.tally.documents, report.tally.with_evidence), (1, 3));
}

#[test]
fn what_is_exported_verifies_with_the_documents_that_were_kept() {
    let key = NameKey::new([9; 32].into());
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), signer(), Options::default()).unwrap();
    let other = Draft { cluster: name("staging"), ..draft() };
    let mut named = draft();
    named.secrets[0].name = key.hash("secret/data/db", &["password"]).unwrap();
    named.evidence = Some(log.keep(b"a statement").unwrap());
    for _ in 0..200 {
        log.append(other.clone()).unwrap();
    }
    drop(log);
    let older = published(folder.path()).unwrap();
    let log = Log::open(folder.path(), signer(), Options::default()).unwrap();
    for _ in 0..100 {
        log.append(named.clone()).unwrap();
        log.append(other.clone()).unwrap();
    }
    drop(log);
    let opening = key.open("secret/data/db", &["password"]).unwrap();
    for (selection, expected) in [
        (Selection::default(), 400),
        (Selection { from: Some(199), to: Some(203), ..Selection::default() }, 5),
        (Selection { cluster: Some("prod-fra".into()), ..Selection::default() }, 100),
        (Selection { names: vec![opening.hash()], ..Selection::default() }, 100),
        (Selection { pod: Some("another".into()), ..Selection::default() }, 0),
    ] {
        let opened = if expected == 0 { Vec::new() } else { vec![opening.clone()] };
        let bundle =
            export(folder.path(), &selection, opened, std::slice::from_ref(&older)).unwrap();
        assert_eq!(bundle.documents.len(), usize::from(expected > 0));
        let report = judged(&bundle, "none").unwrap();
        assert_eq!((report.tally.receipts, report.grown_from), (expected, vec![200]));
    }
}

#[test]
fn a_log_is_verified_whole_and_a_changed_tile_is_found() {
    let (folder, _) = made(700, &[]);
    let verify = |given: &Given| super::folder(folder.path(), &policy("none"), given);
    let report = verify(&Given::default()).unwrap();
    assert!(report.tally.whole_log && report.tally.receipts == 700);
    assert_eq!(report.tally.clusters["prod-fra"].numbers, (0, 699));
    for file in ["tile/entries/001", "tile/0/000", "tile/0/002.p/188", "tile/entries/002.p/188"] {
        let path = folder.path().join(file);
        let whole = fs::read(&path).unwrap();
        let mut bent = whole.clone();
        bent[100] ^= 1;
        fs::write(&path, bent).unwrap();
        assert!(verify(&Given::default()).is_err(), "{file}");
        fs::write(&path, whole).unwrap();
    }
    verify(&Given::default()).unwrap();
}

#[test]
fn a_fork_is_found_by_a_checkpoint_from_elsewhere() {
    let (one, bundle) = made(5, &[0]);
    let two = tempfile::tempdir().unwrap();
    let log = Log::open(two.path(), signer(), Options::default()).unwrap();
    for _ in 0..5 {
        log.append(Draft { role: name("hidden"), ..draft() }).unwrap();
    }
    drop(log);
    let seen = |folder: &tempfile::TempDir| {
        let seen = vec![published(folder.path()).unwrap()];
        Given { seen, ..Given::default() }
    };
    let bytes = bundle.to_bytes().unwrap();
    super::bundle(&bytes, &policy("dpo"), &seen(&one)).unwrap();
    let refusal = super::bundle(&bytes, &policy("dpo"), &seen(&two)).unwrap_err();
    assert!(matches!(refusal, Refusal::Forked { size: 5 }), "{refusal}");
    let refusal = folder(one.path(), &policy("none"), &seen(&two)).unwrap_err();
    assert!(matches!(refusal, Refusal::Forked { size: 5 }), "{refusal}");
}

#[test]
fn an_older_checkpoint_is_proved_or_the_log_was_rewritten() {
    let (folder, older) = made(5, &[0]);
    let log = Log::open(folder.path(), signer(), Options::default()).unwrap();
    (0..4).for_each(|_| drop(log.append(draft()).unwrap()));
    drop(log);
    let mut bundle = bundled(folder.path(), &[0, 8]);
    let path = tree::consistency(&Tiles::new(folder.path(), 9), 5, 9).unwrap();
    bundle.earlier.push(crate::bundle::Earlier { checkpoint: older.checkpoint, path });
    assert_eq!(judged(&bundle, "dpo").unwrap().grown_from, [5]);
    bundle.earlier[0].path[0] = Digest::of(b"another past");
    assert!(matches!(judged(&bundle, "dpo"), Err(Refusal::Forked { size: 5 })));
}

#[test]
fn a_gap_and_a_chain_that_does_not_fit_are_found() {
    let receipt = |number: u64, previous| Receipt::new(draft(), number, 7, previous);
    let leaf = |receipt: &Receipt| Digest::leaf(&receipt.to_bytes().unwrap());
    let first = receipt(0, None);
    let add = |tally: &mut Tally, index, receipt: &Receipt| {
        tally.add(index, &receipt.clone().into(), leaf(receipt))
    };
    let mut begun = Tally::default();
    add(&mut begun, 0, &first).unwrap();
    let other = Some(Digest::of(b"another"));
    assert_eq!(add(&mut begun.clone(), 1, &receipt(1, other)), Err(ChainError::Previous));
    assert_eq!(add(&mut begun.clone(), 1, &receipt(2, other)), Err(ChainError::Gap));
    assert_eq!(add(&mut begun.clone(), 1, &receipt(0, None)), Err(ChainError::Number));
    assert_eq!(add(&mut begun.clone(), 1, &receipt(3, None)), Err(ChainError::First));
    assert_eq!(add(&mut Tally::default(), 0, &receipt(3, other)), Err(ChainError::Gap));
    let earlier = Receipt::new(draft(), 1, 6, Some(leaf(&first)));
    assert_eq!(add(&mut begun.clone(), 1, &earlier), Err(ChainError::Time));
    // Where positions are left out, so may numbers be, and they are counted.
    add(&mut begun, 9, &receipt(4, other)).unwrap();
    assert_eq!((begun.missing(), begun.is_contiguous()), (3, false));
}

#[test]
fn a_single_proof_is_enough_for_a_single_release() {
    let (folder, _) = made(3, &[]);
    let log = Log::open(folder.path(), signer(), Options::default()).unwrap();
    let appended = log.append(draft()).unwrap();
    let text = appended.proof.with_entry(&appended.leaf);
    let report = proof(&text, &policy("none"), &Given::default()).unwrap();
    assert_eq!(report.tally.range, Some((3, 3)));
    for at in 0..text.len() {
        let mut bent = text.clone().into_bytes();
        bent[at] ^= 1;
        let Ok(bent) = String::from_utf8(bent) else { continue };
        assert!(proof(&bent, &policy("none"), &Given::default()).is_err(), "byte {at}");
    }
    assert!(matches!(
        proof(&appended.proof.to_string(), &policy("none"), &Given::default()),
        Err(Refusal::NoReceipt)
    ));
}

/// Renews the files that the fuzzers start from: `CLOUDTASER_WRITE_CORPUS=1 cargo test corpus`.
#[test]
fn the_corpus_is_of_things_that_verify() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let (folder, bundle) = made(3, &[0, 2]);
    let log = Log::open(folder.path(), signer(), Options::default()).unwrap();
    let appended = log.append(draft()).unwrap();
    drop(log);
    let proof = appended.proof.with_entry(&appended.leaf);
    let signed = published(folder.path()).unwrap();
    let body = crate::witness::request_body(1, &appended.proof.path, &signed);
    let keys = signer();
    let policy = format!(
        "log {}\nwitness dpo {} http://localhost/\ngroup g any dpo\nquorum g\n",
        keys.verifier(),
        witness().verifier()
    );
    let change = key_change::KeyChange::sign(&signer(), &key_change::tests::signer(5)).unwrap();
    let was = key_change::tests::signer(5).verifier();
    let rotated = format!("{policy}was {was} 4\n");
    let files: [(&str, Vec<u8>); 11] = [
        ("evidence_node/key-change", change),
        ("evidence_note/policy-rotated", rotated.into_bytes()),
        ("evidence_receipt/release", appended.leaf),
        ("evidence_bundle/bundle", bundle.to_bytes().unwrap()),
        ("evidence_bundle/proof", proof.into_bytes()),
        ("evidence_note/checkpoint", bundle.checkpoint.into_bytes()),
        ("evidence_note/key", keys.verifier().to_string().into_bytes()),
        ("evidence_note/secret-key", keys.to_secret().as_bytes().to_vec()),
        ("evidence_note/policy", policy.into_bytes()),
        ("evidence_witness/request", body.into_bytes()),
        (
            "evidence_journal/journal",
            fs::read(folder.path().join("journal")).unwrap()[8..].to_vec(),
        ),
    ];
    for (name, bytes) in files {
        let path = fuzz.join(name);
        if std::env::var_os("CLOUDTASER_WRITE_CORPUS").is_some() {
            fs::write(&path, bytes).unwrap();
        }
        assert!(path.exists(), "{}", path.display());
    }
}

/// A bundle of two receipts of one launch, with what its node signed.
fn attested(change: impl Fn(&mut Draft)) -> Bundle {
    attested_log(change).1
}

/// And the log that it is of.
fn attested_log(change: impl Fn(&mut Draft)) -> (tempfile::TempDir, Bundle) {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), signer(), Options::default()).unwrap();
    let document = node::tests::document(Digest::of(b"session"), Digest::of(b"sealing"));
    let document = document.to_bytes().unwrap();
    let suite = name("X-Wing");
    let sealing = Some(Sealing { suite, recipient: Digest::of(b"sealing") });
    let evidence = Some(log.keep(&document).unwrap());
    let mut draft = Draft { evidence, sealing, ..draft() };
    log.append(draft.clone()).unwrap();
    change(&mut draft);
    log.append(draft).unwrap();
    drop(log);
    let mut bundle = bundled(folder.path(), &[0, 1]);
    bundle.documents.push(ByteVec::from(document));
    (folder, bundle)
}

#[test]
fn what_a_node_signed_is_held_against_the_receipts_that_name_it() {
    let report = judged(&attested(|_| ()), "dpo").unwrap();
    assert_eq!((report.tally.documents, report.tally.attested), (1, 2));
    let [seen] = &report.nodes[..] else { panic!("{:?}", report.nodes) };
    assert_eq!((seen.state, seen.releases, seen.statements), ("enforcing", 2, 1));
    assert_eq!((seen.assurance, seen.name.as_deref()), (Assurance::L0, None));
    assert_eq!(standing(&report, "C4"), Standing::NotProvable, "a key in software is no hardware");
    let other = Digest::of(b"other");
    for (what, bundle) in [
        ("another session", attested(|draft| draft.session = other)),
        ("another recipient", attested(|draft| draft.sealing = None)),
        ("another pod", attested(|draft| draft.workload.pod = name("another"))),
    ] {
        let refused = judged(&bundle, "dpo");
        assert!(matches!(refused, Err(Refusal::Statement { .. })), "{what}: {refused:?}");
    }
    let overstated = judged(&attested(|draft| draft.assurance = Assurance::L1), "dpo").unwrap();
    assert_eq!(standing(&overstated, "C4"), Standing::Fail);
}

#[test]
fn a_node_has_the_name_that_the_policy_which_decided_gives_it() {
    let bundle = attested(|_| ());
    let key = node::Document::parse(&bundle.documents[0]).unwrap().key;
    let (name, key) = ("worker-1".to_owned(), Hash::new(*key.as_bytes()));
    let node = NodeFile { name, key, tpm: None, place: Place::Provider };
    let file = PolicyFile { node: vec![node], ..PolicyFile::default() };
    let policy_of = release::policy::Policy::compile(file).unwrap();
    let seen = |hash| {
        let given = ReleasePolicy { hash, policy: policy_of.clone() };
        let given = Given { release_policies: vec![given], ..Given::default() };
        let bytes = bundle.to_bytes().unwrap();
        let report = super::bundle(&bytes, &policy("dpo"), &given).unwrap();
        report.nodes[0].name.clone()
    };
    assert_eq!(seen(Digest::of(b"policy")).as_deref(), Some("worker-1"));
    assert_eq!(seen(Digest::of(b"a later policy")), None, "it did not decide");
}

mod folders;
mod keys;
mod orders;
