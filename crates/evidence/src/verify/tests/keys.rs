//! A log whose key was replaced: what was signed before verifies, and the old key is good for nothing.

use super::*;
use crate::{
    bundle::Earlier,
    checkpoint::Checkpoint,
    key_change::{KeyChange, KeyChangeError, tests::signer as key},
    tree::Edge,
};

/// The size at which the key changes.
const UNTIL: u64 = 4;

/// A log of three receipts, the change of its key, and two receipts more.
fn rotated() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), key(1), Options::default()).unwrap();
    (0..3).for_each(|_| drop(log.append(draft()).unwrap()));
    drop(log);
    let signed = Log::rotate(folder.path(), &key(1), key(5), Options::default()).unwrap();
    assert_eq!(signed.checkpoint().size, UNTIL);
    for seed in [1, 5] {
        signed.verify(&key(seed).verifier()).unwrap();
    }
    let log = Log::open(folder.path(), key(5), Options::default()).unwrap();
    (0..2).for_each(|_| drop(log.append(draft()).unwrap()));
    drop(log);
    folder
}

/// What an auditor believes now.
fn policy(until: u64, quorum: &str) -> Policy {
    let [old, new] = [1, 5].map(|seed| key(seed).verifier());
    let dpo = witness().verifier();
    format!("log {new}\nwas {old} {until}\nwitness dpo {dpo}\nquorum {quorum}\n").parse().unwrap()
}

fn of(folder: &Path, since: &[SignedCheckpoint]) -> Bundle {
    export(folder, &Selection::default(), Vec::new(), since).unwrap()
}

fn judged(bundle: &Bundle, policy: &Policy, given: &Given) -> Result<Report, Refusal> {
    super::super::bundle(&bundle.to_bytes().unwrap(), policy, given)
}

fn cosigned(text: &str) -> String {
    let mut signed = SignedCheckpoint::parse(text).unwrap();
    let text = signed.note().text().to_owned();
    signed.note_mut().add(witness().sign(&text, 1_800_000_000));
    signed.to_string()
}

/// A bundle of a log whose key was still the old one, and the same log later.
fn before_and_after() -> (Bundle, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), key(1), Options::default()).unwrap();
    (0..3).for_each(|_| drop(log.append(draft()).unwrap()));
    drop(log);
    let before = of(folder.path(), &[]);
    Log::rotate(folder.path(), &key(1), key(5), Options::default()).unwrap();
    (before, folder)
}

/// What somebody signs who has this key: receipts that never were.
fn forged(seed: u8, size: u64) -> Bundle {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), key(seed), Options::default()).unwrap();
    let made_up = Draft { role: name("made up"), ..draft() };
    (0..size).for_each(|_| drop(log.append(made_up.clone()).unwrap()));
    drop(log);
    of(folder.path(), &[])
}

#[test]
fn a_log_goes_on_under_its_new_key_and_all_of_it_verifies() {
    let log = rotated();
    let report = folder(log.path(), &policy(UNTIL, "none"), &Given::default()).unwrap();
    assert_eq!((report.size, report.tally.receipts), (UNTIL + 2, 5));
    assert_eq!(report.tally.loud[0].words, {
        let id = data_encoding::HEXLOWER.encode(&key(5).verifier().id());
        format!("from here on the log is signed by its key {id}")
    });
    let bundle = of(log.path(), &[]);
    for report in [report, judged(&bundle, &policy(UNTIL, "none"), &Given::default()).unwrap()] {
        let change = report.tally.keys.values().next().unwrap();
        let keys = [1, 5].map(|seed| key(seed).verifier().to_string());
        assert_eq!((change.size, change.keys.clone()), (UNTIL, Some(keys.into())));
    }
    // Who knows the new key alone believes it as well, and who knows the old one alone does not.
    let alone = |seed| format!("log {}\nquorum none\n", key(seed).verifier()).parse().unwrap();
    judged(&bundle, &alone(5), &Given::default()).unwrap();
    let refused = judged(&bundle, &alone(1), &Given::default());
    assert!(matches!(refused, Err(Refusal::Policy(Disbelief::Signature(_)))), "{refused:?}");
    assert!(matches!(
        Log::open(log.path(), key(1), Options::default()),
        Err(crate::LogError::OtherKey { .. })
    ));
}

#[test]
fn rotating_can_be_cut_anywhere_and_is_done_again() {
    let log = rotated();
    let again = Log::rotate(log.path(), &key(1), key(5), Options::default()).unwrap();
    assert_eq!(again.checkpoint().size, UNTIL + 2, "it was done, and nothing is added");
    // Cut behind the notice: what is there is as if the old key had appended it.
    let log = tempfile::tempdir().unwrap();
    let own = Log::open(log.path(), key(1), Options::default()).unwrap();
    own.append(draft()).unwrap();
    let document = KeyChange::sign(&key(1), &key(5)).unwrap();
    let document = Some(own.keep(&document).unwrap());
    let (kind, words) = (name(crate::notice::NEW_KEY), name("another key"));
    let remark = crate::Remark { kind, words, document, name: None, request: None };
    own.notice(remark).unwrap();
    drop(own);
    let journal = log.path().join("journal");
    let noticed = fs::read(&journal).unwrap();
    let rotate = || Log::rotate(log.path(), &key(1), key(5), Options::default());
    let signed = rotate().unwrap();
    assert_eq!(signed.checkpoint().size, 2, "there is one notice");
    // Cut behind the checkpoint that others read: the journal has the old key still.
    fs::write(&journal, noticed).unwrap();
    assert_eq!(rotate().unwrap(), signed);
    assert_eq!(published(log.path()).unwrap(), signed);
    Log::open(log.path(), key(5), Options::default()).unwrap().append(draft()).unwrap();
    let none = tempfile::tempdir().unwrap();
    assert!(Log::rotate(none.path(), &key(1), key(5), Options::default()).is_err());
}

#[test]
fn what_was_signed_before_is_believed_where_something_shows_that_it_is_the_past() {
    let (before, log) = before_and_after();
    let nobody = policy(UNTIL, "none");
    let refused = judged(&before, &nobody, &Given::default());
    assert!(matches!(refused, Err(Refusal::Policy(Disbelief::Former))), "{refused:?}");
    // By a bundle that grew from it, under the new key.
    let since = SignedCheckpoint::parse(&before.checkpoint).unwrap();
    let later = of(log.path(), &[since]).to_bytes().unwrap();
    let past = past(&later, &nobody).unwrap();
    let given = Given { past, ..Given::default() };
    assert_eq!(judged(&before, &nobody, &given).unwrap().tally.receipts, 3);
    // By a witness whom the policy counts.
    let mut witnessed = before.clone();
    witnessed.checkpoint = cosigned(&before.checkpoint);
    judged(&witnessed, &policy(UNTIL, "dpo"), &Given::default()).unwrap();
    let refused = judged(&before, &policy(UNTIL, "dpo"), &Given::default());
    assert!(matches!(refused, Err(Refusal::Policy(Disbelief::Quorum(_)))), "{refused:?}");
}

#[test]
fn a_thief_of_the_old_key_gains_nothing() {
    let (before, log) = before_and_after();
    let nobody = policy(UNTIL, "none");
    let since = SignedCheckpoint::parse(&before.checkpoint).unwrap();
    let later = of(log.path(), &[since]).to_bytes().unwrap();
    let given = Given { past: past(&later, &nobody).unwrap(), ..Given::default() };
    // Another future, whoever witnesses it; another past, which no bundle and no witness shows.
    for size in [1, 3, UNTIL] {
        let refused = judged(&forged(1, size), &nobody, &given);
        assert!(matches!(refused, Err(Refusal::Policy(Disbelief::Former))), "{refused:?}");
    }
    let mut witnessed = forged(1, UNTIL + 1);
    witnessed.checkpoint = cosigned(&witnessed.checkpoint);
    let refused = judged(&witnessed, &policy(UNTIL, "dpo"), &given);
    assert!(
        matches!(refused, Err(Refusal::Policy(Disbelief::Replaced { size: 5, until: UNTIL }))),
        "{refused:?}"
    );
    // A change to a key of his own is signed by no key that anybody believes.
    let thiefs = forged(6, 5);
    let refused = judged(&thiefs, &nobody, &given);
    assert!(matches!(refused, Err(Refusal::Policy(Disbelief::Signature(_)))), "{refused:?}");
    // His checkpoints are no alarm, and no past of the log.
    let mut edge = Edge::default();
    (0..9_u8).for_each(|leaf| edge.push(Digest::of(&[leaf])));
    let root = tree::root(&edge, 9).unwrap();
    let origin = "log.example/test".to_owned();
    let his = Checkpoint { origin, size: 9, root }.sign(&key(1));
    let seen = Given { seen: vec![his], ..Given::default() };
    assert!(folder(log.path(), &nobody, &seen).is_err());
    let mut bundle = of(log.path(), &[]);
    let small = forged(1, 2).checkpoint;
    let path = tree::consistency(&Tiles::new(log.path(), UNTIL), 2, UNTIL).unwrap();
    bundle.earlier.push(Earlier { checkpoint: small, path });
    assert!(matches!(judged(&bundle, &nobody, &given), Err(Refusal::Forked { size: 2 })));
}

#[test]
fn a_change_elsewhere_than_the_policy_says_or_of_another_log_is_refused() {
    let log = rotated();
    for until in [UNTIL - 1, UNTIL + 1] {
        let refused = folder(log.path(), &policy(until, "none"), &Given::default());
        let Err(Refusal::KeyChange { source }) = refused else { panic!("{refused:?}") };
        assert_eq!(source, KeyChangeError::Place { until, size: UNTIL });
    }
    // A document that is named and is none.
    let mut bundle = of(log.path(), &[]);
    let own = tempfile::tempdir().unwrap();
    let begun = Log::open(own.path(), key(5), Options::default()).unwrap();
    let document = Some(begun.keep(b"no change").unwrap());
    let (kind, words) = (name(crate::notice::NEW_KEY), name("another key"));
    begun.notice(crate::Remark { kind, words, document, name: None, request: None }).unwrap();
    drop(begun);
    let refused = folder(own.path(), &policy(UNTIL, "none"), &Given::default());
    assert!(matches!(refused, Err(Refusal::KeyChange { .. })), "{refused:?}");
    // One that is left out is known to be missing, and the log still verifies.
    bundle.documents.clear();
    let report = judged(&bundle, &policy(UNTIL, "none"), &Given::default()).unwrap();
    assert!(report.tally.keys.values().all(|change| change.keys.is_none()));
}
