//! What people signed: found in receipts, and believed as far as it goes.

use cloudtaser_core::release::{
    order::{self, KeptOrder, Order, signed_bytes},
    policy::terms::{Relax, SignerKey},
};
use ed25519_dalek::{Signer as _, SigningKey};

use super::{super::orders::OrderRefused, *};
use crate::{
    notice::{self, Remark},
    receipt::{Act, SignedBefore},
};

const HOUR: u64 = 3600;

fn kept(key: &SigningKey, from: u64, act: order::Act) -> KeptOrder {
    let text = data_encoding::BASE64.encode(key.verifying_key().as_bytes());
    let public = SignerKey::try_from(format!("ed25519:{text}")).unwrap();
    let (by, id, reason) = ("anna".to_owned(), "ab".repeat(16), "INC-1".to_owned());
    let order = Order { bridge: public, by, id, from, until: from + HOUR, reason, act };
    let order = order.to_text().unwrap();
    let signature = data_encoding::HEXLOWER.encode(&key.sign(&signed_bytes(&order)).to_bytes());
    KeptOrder { order, signature, key: public }
}

fn glass() -> order::Act {
    order::Act::BreakGlass { rule: "pay".to_owned(), relax: vec![Relax::Level] }
}

fn now() -> u64 {
    Clock::system().now_ms() / 1000
}

/// A log with one release that stood on this document, and its bundle.
fn stood_on(document: &[u8], act: Act) -> (tempfile::TempDir, Bundle) {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), signer(), Options::default()).unwrap();
    let hash = log.keep(document).unwrap();
    log.append(draft()).unwrap();
    let said = (name(notice::BREAK_GLASS), name("anna sets level aside"));
    let (kind, words) = said;
    if act == Act::BreakGlass {
        let document = Some(hash);
        log.notice(Remark { kind, words, document, name: None, request: None }).unwrap();
    }
    let orders = Some(vec![SignedBefore { act, order: hash }]);
    log.append(Draft { orders, ..draft() }).unwrap();
    drop(log);
    let mut bundle = export(folder.path(), &Selection::default(), Vec::new(), &[]).unwrap();
    let mut signed = SignedCheckpoint::parse(&bundle.checkpoint).unwrap();
    let text = signed.note().text().to_owned();
    signed.note_mut().add(witness().sign(&text, now()));
    bundle.checkpoint = signed.to_string();
    (folder, bundle)
}

fn whole(log: &Path) -> Result<Report, Refusal> {
    folder(log, &policy("none"), &Given::default())
}

fn refused(document: &KeptOrder, act: Act) -> OrderRefused {
    let (folder, bundle) = stood_on(&document.to_bytes(), act);
    let of_folder = folder_refused(folder.path());
    match judged(&bundle, "dpo") {
        Err(Refusal::Order { source, .. }) => {
            assert_eq!(source, of_folder);
            source
        }
        other => panic!("{other:?}"),
    }
}

fn folder_refused(path: &Path) -> OrderRefused {
    match whole(path) {
        Err(Refusal::Order { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn break_glass_is_told_first_with_who_signed_it_and_why() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let document = kept(&key, now() - 60, glass());
    let (folder, bundle) = stood_on(&document.to_bytes(), Act::BreakGlass);
    let of_folder = whole(folder.path());
    for report in [judged(&bundle, "dpo").unwrap(), of_folder.unwrap()] {
        let tally = &report.tally;
        assert_eq!((tally.break_glass, tally.approved, tally.released), (1, 0, 2));
        assert_eq!((tally.loud_total, tally.notices[notice::BREAK_GLASS]), (2, 1));
        assert!(tally.loud[0].words.contains("anna sets level aside"));
        let order = tally.orders.values().next().unwrap();
        let said = order.said.as_ref().unwrap();
        assert_eq!((said.by.as_str(), said.reason.as_str(), order.decisions), ("anna", "INC-1", 1));
        assert!(said.about.contains("pay") && said.about.contains("level"), "{}", said.about);
        let decided = report.claims.iter().find(|claim| claim.id == "C3").unwrap();
        assert!(decided.because.contains("1 releases people set the policy aside"));
    }
}

#[test]
fn an_order_that_was_not_kept_is_counted_and_known_to_be_missing() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let act = order::Act::Approve { name: "ab".repeat(32), workload: "eu:shop/web".to_owned() };
    let document = kept(&key, now() - 60, act);
    let (_folder, mut bundle) = stood_on(&document.to_bytes(), Act::Approval);
    bundle.documents.clear();
    let report = judged(&bundle, "dpo").unwrap();
    assert_eq!((report.tally.approved, report.tally.loud_total), (1, 0));
    assert!(report.tally.orders.values().all(|order| order.said.is_none()));
}

#[test]
fn an_order_that_says_something_else_than_receipts_do_is_refused() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let good = kept(&key, now() - 60, glass());
    let forged = KeptOrder { order: good.order.replace("INC-1", "INC-2"), ..good.clone() };
    assert_eq!(refused(&forged, Act::BreakGlass), OrderRefused::Signature);
    let other = kept(&SigningKey::from_bytes(&[8; 32]), now() - 60, glass());
    let swapped = KeptOrder { key: other.key, ..good.clone() };
    assert_eq!(refused(&swapped, Act::BreakGlass), OrderRefused::Signature);
    assert_eq!(refused(&good, Act::Approval), OrderRefused::Kind);
    let ended = kept(&key, now() - 2 * HOUR, glass());
    assert_eq!(refused(&ended, Act::BreakGlass), OrderRefused::Time);
    let early = kept(&key, now() + HOUR, glass());
    assert_eq!(refused(&early, Act::BreakGlass), OrderRefused::Time);
}

#[test]
fn notices_have_a_sequence_of_their_own_without_a_gap() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let (folder, _) = stood_on(&kept(&key, now() - 60, glass()).to_bytes(), Act::BreakGlass);
    let log = Log::open(folder.path(), signer(), Options::default()).unwrap();
    let remark = |words| Remark {
        kind: name(notice::AROUND),
        words: name(words),
        document: None,
        name: None,
        request: Some(name("r-1")),
    };
    assert_eq!(log.notice(remark("root read")).unwrap().entry.sequence(), 1);
    let taken = Draft { cluster: name(notice::STREAM), ..draft() };
    assert!(log.append(taken).is_err(), "a cluster has the name of the notices");
    drop(log);
    // Another run goes on where this one was.
    let log = Log::open(folder.path(), signer(), Options::default()).unwrap();
    assert_eq!(log.notice(remark("root read again")).unwrap().entry.sequence(), 2);
    assert_eq!(log.append(draft()).unwrap().entry.sequence(), 2);
    drop(log);
    let report = whole(folder.path()).unwrap();
    assert_eq!((report.tally.receipts, report.tally.notices.len()), (3, 2));
    assert_eq!(report.tally.missing(), 0);
    assert_eq!(standing(&report, "C7"), Standing::Fail, "a release without a receipt was heard");
    // Of a bundle without the one in the middle it is known that it is missing.
    let all = export(folder.path(), &Selection::default(), Vec::new(), &[]).unwrap();
    let mut bundle = bundled(folder.path(), &[0, 1, 4]);
    bundle.documents = all.documents;
    let report = judged(&bundle, "dpo").unwrap();
    assert_eq!(report.tally.missing_notices, 1);
}
