use super::*;
use crate::{checkpoint::Checkpoint, hash::Digest, note::Signer};

fn log() -> Signer {
    Signer::from_seed("log.example", KeyKind::Log, &[1; 32]).unwrap()
}

fn witness(number: u8) -> Signer {
    Signer::from_seed(&format!("w{number}.example"), KeyKind::Witness, &[10 + number; 32]).unwrap()
}

fn policy(quorum: &str) -> Policy {
    let key = |number| witness(number).verifier();
    let text = format!(
        "# the example of the specification\nlog {}\n\n\twitness a {} https://a.example/\nwitness b {}\nwitness c {}\n\
         group two 2 a b\ngroup both all two c\n{quorum}\n",
        log().verifier(),
        key(1),
        key(2),
        key(3),
    );
    text.parse().unwrap()
}

fn signed(witnesses: &[u8]) -> SignedCheckpoint {
    let top = Checkpoint { origin: "log.example".into(), size: 3, root: Digest::of(b"root") };
    let mut signed = top.sign(&log());
    let text = signed.note().text().to_owned();
    for number in witnesses {
        signed.note_mut().add(witness(*number).sign(&text, 1000 + u64::from(*number)));
    }
    signed
}

#[test]
fn a_quorum_counts_witnesses_and_groups() {
    let both = policy("quorum both");
    for (witnesses, met) in
        [(&[1, 2, 3][..], true), (&[1, 2], false), (&[1, 3], false), (&[3, 9], false), (&[], false)]
    {
        assert_eq!(both.judge(&signed(witnesses)).is_ok(), met, "{witnesses:?}");
    }
    let seen = policy("quorum none").judge(&signed(&[2, 9])).unwrap();
    assert_eq!(seen, [Seen { witness: "b".into(), unix_seconds: 1002 }]);
    assert!(!policy("quorum none").needs_witnesses() && both.needs_witnesses());
    assert_eq!(both.witnesses()[0].url.as_deref(), Some("https://a.example/"));
}

#[test]
fn a_false_cosignature_is_never_passed_over() {
    let mut false_one = signed(&[1]);
    let text = "another text\n";
    false_one.note_mut().add(witness(2).sign(text, 5));
    assert!(matches!(policy("quorum a").judge(&false_one), Err(Disbelief::Signature(_))));
}

#[test]
fn another_log_is_not_believed_and_neither_is_another_key_of_its_name() {
    let other = Signer::from_seed("log.example", KeyKind::Log, &[2; 32]).unwrap();
    let top = signed(&[]).checkpoint().clone();
    assert!(matches!(
        policy("quorum none").judge(&top.clone().sign(&other)),
        Err(Disbelief::Signature(_))
    ));
    let elsewhere = Checkpoint { origin: "other.example".into(), ..top };
    assert!(matches!(
        policy("quorum none").judge(&elsewhere.sign(&log())),
        Err(Disbelief::UnknownLog(_))
    ));
}

#[test]
fn a_policy_that_means_nothing_is_refused_with_its_line() {
    let (one, two) = (witness(1).verifier(), witness(2).verifier());
    for (text, line) in [
        ("".to_owned(), 1),
        ("quorum none\nquorum none".to_owned(), 2),
        ("quorum a".to_owned(), 1),
        (format!("witness none {one}\nquorum none"), 1),
        (format!("witness a {one}\nwitness b {one}\nquorum a"), 2),
        (format!("witness a {one}\nwitness a {two}\nquorum a"), 2),
        (format!("witness a {one}\ngroup g 2 a\nquorum g"), 2),
        (format!("witness a {one}\ngroup g 0 a\nquorum g"), 2),
        (format!("witness a {one}\ngroup g all a\ngroup h any a\nquorum g"), 3),
        (format!("log {one}\nquorum none"), 1),
        (format!("witness a {}\nquorum none", log().verifier()), 1),
        ("log x\nquorum none".to_owned(), 1),
        ("quorum none\r".to_owned(), 1),
    ] {
        let error = text.parse::<Policy>().unwrap_err();
        assert_eq!(error.line, line, "{text}: {error}");
    }
}
