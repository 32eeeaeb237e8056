use std::{net::TcpListener, sync::Arc, time::Duration};

use super::*;
use crate::{checkpoint::Checkpoint, tree::Edge};

pub(crate) fn log_key() -> Signer {
    Signer::from_seed("log.example/test", KeyKind::Log, &[1; 32]).unwrap()
}

fn key() -> Signer {
    Signer::from_seed("dpo.example", KeyKind::Witness, &[2; 32]).unwrap()
}

fn open(folder: &Path) -> Witness {
    let clock = Clock::new(|| 1_800_000_000_000);
    Witness::open(folder, key(), vec![log_key().verifier()], clock).unwrap()
}

fn edge(leaves: u64, salt: &str) -> Edge {
    let mut edge = Edge::default();
    (0..leaves).for_each(|n| edge.push(Digest::of(format!("{salt}{n}").as_bytes())));
    edge
}

fn signed(edge: &Edge, size: u64) -> SignedCheckpoint {
    let root = tree::root(edge, size).unwrap();
    Checkpoint { origin: "log.example/test".into(), size, root }.sign(&log_key())
}

fn ask(witness: &Witness, edge: &Edge, old: u64, size: u64) -> Answer {
    let proof = tree::consistency(edge, old, size).unwrap();
    witness.add_checkpoint(request_body(old, &proof, &signed(edge, size)).as_bytes())
}

#[test]
fn a_growing_log_is_signed_and_kept_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let edge = edge(20, "");
    let witness = open(folder.path());
    for (old, size) in [(0, 0), (0, 5), (5, 5), (5, 13)] {
        let answer = ask(&witness, &edge, old, size);
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut signed = signed(&edge, size);
        signed.note_mut().add(crate::note::NoteSignature::parse(&answer.body).unwrap());
        assert_eq!(signed.note().verify_cosigned(&key().verifier()), Ok(1_800_000_000));
    }
    drop(witness);
    let witness = open(folder.path());
    let conflict = ask(&witness, &edge, 0, 20);
    assert_eq!((conflict.status, conflict.body.as_str()), (409, "13\n"));
    assert_eq!(conflict.content_type, SIZE_TYPE);
    assert_eq!(ask(&witness, &edge, 13, 20).status, 200);
    let kept = witness.checkpoint(&origin_hash("log.example/test"));
    let kept = SignedCheckpoint::parse(&kept.body).unwrap();
    kept.verify(&log_key().verifier()).unwrap();
    assert_eq!(kept.checkpoint().size, 20);
    assert_eq!(witness.checkpoint(&origin_hash("other")).status, 404);
}

/// Once the new key has signed, whoever stole the old one signs in vain.
#[test]
fn a_key_that_was_replaced_is_signed_for_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let new = Signer::from_seed("log.example/test", KeyKind::Log, &[5; 32]).unwrap();
    let keys = || vec![log_key().verifier(), new.verifier()];
    let open = || Witness::open(folder.path(), key(), keys(), Clock::new(|| 1_800_000_000_000));
    let edge = edge(20, "");
    let ask = |witness: &Witness, old, size, signers: &[&Signer]| {
        let proof = tree::consistency(&edge, old, size).unwrap();
        let root = tree::root(&edge, size).unwrap();
        let checkpoint = Checkpoint { origin: "log.example/test".into(), size, root };
        let mut signed = checkpoint.sign(signers[0]);
        let text = signed.note().text().to_owned();
        signers.iter().for_each(|signer| signed.note_mut().add(signer.sign(&text, 0)));
        witness.add_checkpoint(request_body(old, &proof, &signed).as_bytes()).status
    };
    let witness = open().unwrap();
    assert_eq!(ask(&witness, 0, 5, &[&log_key()]), 200);
    // Both at the change; the same size once more.
    assert_eq!(ask(&witness, 5, 5, &[&log_key(), &new]), 200);
    assert_eq!(ask(&witness, 5, 9, &[&log_key()]), 403);
    assert_eq!(ask(&witness, 5, 9, &[&new]), 200);
    drop(witness);
    let witness = open().unwrap();
    assert_eq!(ask(&witness, 9, 12, &[&log_key()]), 403, "it forgot");
    assert_eq!(ask(&witness, 9, 12, &[&new]), 200);
}

#[test]
fn a_fork_a_rollback_and_a_proof_of_something_else_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (edge(20, "one"), edge(20, "two"));
    let witness = open(folder.path());
    assert_eq!(ask(&witness, &one, 0, 10).status, 200);
    assert_eq!(ask(&witness, &two, 10, 15).status, 422, "a fork");
    assert_eq!(ask(&witness, &two, 10, 10).status, 422, "another root of the same size");
    let body = request_body(10, &[], &signed(&one, 8));
    assert_eq!(witness.add_checkpoint(body.as_bytes()).status, 400, "the old size is above");
    let body = request_body(8, &[], &signed(&one, 8));
    assert_eq!(witness.add_checkpoint(body.as_bytes()).status, 409, "a rollback");
    let body = request_body(10, &[], &signed(&one, 15));
    assert_eq!(witness.add_checkpoint(body.as_bytes()).status, 422, "no proof");
    assert_eq!(ask(&witness, &one, 10, 15).status, 200, "and still the right log goes on");
}

#[test]
fn only_what_the_log_signed_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let edge = edge(5, "");
    let witness = open(folder.path());
    let thief = Signer::from_seed("log.example/test", KeyKind::Log, &[9; 32]).unwrap();
    let stolen = signed(&edge, 5).checkpoint().clone().sign(&thief);
    assert_eq!(witness.add_checkpoint(request_body(0, &[], &stolen).as_bytes()).status, 403);
    let other = Checkpoint { origin: "other".into(), size: 0, root: Digest::of(b"") };
    let body = request_body(0, &[], &other.sign(&log_key()));
    assert_eq!(witness.add_checkpoint(body.as_bytes()).status, 404);
    let mut forged = signed(&edge, 5);
    let mut signature = forged.note().signatures()[0].clone();
    signature.bytes[3] ^= 1;
    forged.note_mut().add(signature);
    assert_eq!(witness.add_checkpoint(request_body(0, &[], &forged).as_bytes()).status, 403);
    for body in [&b""[..], b"old 0\n", b"old 00\n\nx", b"old -1\n\n", &[0xff; 10]] {
        assert_eq!(witness.add_checkpoint(body).status, 400);
    }
}

#[test]
fn what_it_signed_is_not_forgotten_by_damage() {
    let folder = tempfile::tempdir().unwrap();
    let edge = edge(5, "");
    assert_eq!(ask(&open(folder.path()), &edge, 0, 5).status, 200);
    let path = folder.path().join(origin_hash("log.example/test")).join("checkpoint");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace('5', "4")).unwrap();
    let logs = vec![log_key().verifier()];
    let error = Witness::open(folder.path(), key(), logs, Clock::system()).unwrap_err();
    assert!(matches!(error, WitnessError::Damaged { .. }), "{error}");
}

#[test]
fn a_clock_that_went_back_signs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let edge = edge(9, "");
    assert_eq!(ask(&open(folder.path()), &edge, 0, 5).status, 200);
    let clock = Clock::new(|| 1_800_000_000_000 - 86_400_000);
    let late = Witness::open(folder.path(), key(), vec![log_key().verifier()], clock).unwrap();
    assert_eq!(ask(&late, &edge, 5, 9).status, 503);
}

/// A witness on a port of its own, until the test's process ends.
pub(crate) fn serve(folder: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/w", listener.local_addr().unwrap());
    let witness = Arc::new(
        Witness::open(folder, key(), vec![log_key().verifier()], Clock::system()).unwrap(),
    );
    std::thread::spawn(move || http::serve(&listener, &witness));
    url
}

#[test]
fn the_wire_carries_answers_and_refuses_what_is_no_request() {
    use std::io::{Read, Write};
    let folder = tempfile::tempdir().unwrap();
    let url = serve(folder.path());
    let edge = edge(5, "");
    let body = request_body(0, &[], &signed(&edge, 5));
    let (status, answer) = http::post(&url, &body, Duration::from_secs(5)).unwrap();
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = http::post(&url, &body, Duration::from_secs(5)).unwrap();
    assert_eq!((status, answer.as_str()), (409, "5\n"));
    let address = url.trim_start_matches("http://").trim_end_matches("/w").to_owned();
    for (request, expected) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "404"),
        ("nonsense\r\n\r\n".to_owned(), "400"),
        ("POST /add-checkpoint HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n".to_owned(), "413"),
        ("POST /add-checkpoint HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), "400"),
        (
            "POST /add-checkpoint HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"
                .to_owned(),
            "400",
        ),
        (format!("GET /{} HTTP/1.1\r\n", "x".repeat(20_000)), "413"),
        (format!("GET /w/{}/checkpoint HTTP/1.1\r\n\r\n", origin_hash("log.example/test")), "200"),
    ] {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, format!("HTTP/1.1 {expected}").as_bytes(), "{request:.60}");
    }
    for wrong in ["https://x/", "x", "http://", "http://a b/"] {
        assert!(http::post(wrong, "", Duration::from_secs(1)).is_err());
    }
}
