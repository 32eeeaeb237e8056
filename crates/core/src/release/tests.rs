use std::{env, fmt::Write as _, fs, path::Path};

use proptest::prelude::*;

use super::{message::Claims, *};
use crate::{
    Secret,
    level::{Agent, Attach, Environ, Facets, Memory, Release, Supervisor, Transport},
};

const fn facets() -> Facets {
    Facets {
        memory: Memory::Sealed,
        environ: Environ::Hidden,
        supervisor: Supervisor::Sealed,
        attach: Attach::Refused,
        transport: Transport::Hybrid,
        release: Release::Bridge,
        agent: Agent::Off,
    }
}

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

fn asks() -> Vec<(&'static str, WrapperToBridge)> {
    let claims = Claims {
        role: Some("shop".to_owned()),
        instance: "0a".repeat(32),
        sealing: "0e".repeat(8),
        proof: "0b".repeat(64),
        within_ms: 30_000,
        statement: Statement { facets: facets(), wrapper: Some("0c".repeat(32)), agent: None },
        node: None,
    };
    let items = vec![
        Item::Read { path: "secret/data/db".to_owned(), version: Some(3) },
        Item::Write { path: "pki/issue/web".to_owned(), body: "{\"ttl\":\"1h\"}".to_owned() },
        Item::Decrypt {
            mount: "transit".to_owned(),
            key: "app".to_owned(),
            batch: 25,
            texts: vec!["vault:v1:AA==".to_owned()],
        },
    ];
    vec![
        ("HELLO", WrapperToBridge::Hello(Box::new(Hello { claims, token: secret("a.b.c") }))),
        ("READ", WrapperToBridge::Read(Read { id: 1, within_ms: 30_000, items })),
        (
            "RENEW, the login",
            WrapperToBridge::Renew(Renew { id: 2, within_ms: 30_000, what: Renewing::Token }),
        ),
        (
            "RENEW, a lease",
            WrapperToBridge::Renew(Renew {
                id: 3,
                within_ms: 30_000,
                what: Renewing::Lease("database/creds/app/1".to_owned()),
            }),
        ),
        ("DONE", WrapperToBridge::Done),
        (
            "LEAVE",
            WrapperToBridge::Leave(Leave { instance: "0a".repeat(32), proof: "0b".repeat(64) }),
        ),
        ("WATCH", WrapperToBridge::Watch(Watch { id: 4 })),
    ]
}

fn paths() -> Vec<String> {
    vec!["secret/data/db".to_owned()]
}

fn answers() -> Vec<(&'static str, BridgeToWrapper)> {
    let lease = Lease { id: "database/creds/app/1".to_owned(), ttl_seconds: 60, renewable: true };
    let fields = Answer::Fields {
        path: "secret/data/db".to_owned(),
        version: Some(3),
        lease: None,
        warnings: Vec::new(),
        json: secret("{\"password\":\"hunter2\"}"),
    };
    let refused = Refused {
        id: None,
        operation: Operation::Read,
        place: Some(Place { write: false, path: "secret/data/no".to_owned() }),
        tries: 1,
        elapsed_ms: 4,
        why: Why::NotFound {
            tried: vec!["secret/data/no".to_owned()],
            written: None,
            errors: Vec::new(),
        },
    };
    let plain = Answer::Plain(vec![secret("one"), secret("two")]);
    let denied = Refused::denied(Operation::Login, Denial::Replay, "the pod is in".to_owned());
    let answers = vec![fields, plain, Answer::Refused(Box::new(refused))];
    vec![
        ("WELCOME", BridgeToWrapper::Welcome(Welcome { nonce: "0d".repeat(32) })),
        (
            "LOGGED_IN",
            BridgeToWrapper::LoggedIn(LoggedIn {
                resumed: false,
                ttl_seconds: 3600,
                renewable: true,
            }),
        ),
        ("ANSWERS", BridgeToWrapper::Answers(Answers { id: 1, answers })),
        ("RENEWED", BridgeToWrapper::Renewed(Renewed { id: 3, lease })),
        ("REFUSED", BridgeToWrapper::Refused(denied)),
        (
            "SEALED",
            BridgeToWrapper::Sealed(Sealed {
                id: 1,
                receipts: vec![Recorded { number: 7, hash: "0f".repeat(32) }],
                sealed: secret("key and ciphertext"),
            }),
        ),
        ("WATCHING", BridgeToWrapper::Watching(Watching { id: 4, paths: paths() })),
        ("CHANGED", BridgeToWrapper::Changed(Changed { paths: paths() })),
    ]
}

fn shown<M: Message>(name: &str, message: &M) -> String {
    let bytes = encode(message).unwrap();
    let (prefix, body) = bytes.split_at(frame::PREFIX_LEN);
    let mut line = format!("{name}: ");
    for byte in prefix {
        write!(line, "{byte:02x}").unwrap();
    }
    format!("{line} {}", String::from_utf8_lossy(body))
}

fn lines() -> Vec<String> {
    let asks = asks();
    let answers = answers();
    let asks = asks.iter().map(|(name, message)| shown(name, message));
    asks.chain(answers.iter().map(|(name, message)| shown(name, message))).collect()
}

/// `GOLDEN=write` writes the file anew; a change of it is a change of the protocol.
#[test]
fn the_bytes_are_those_of_the_file_and_of_the_document() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("tests/golden/release.txt");
    let text = lines().join("\n") + "\n";
    if env::var_os("GOLDEN").is_some_and(|word| word == "write") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap_or_default());
    let document = fs::read_to_string(root.join("../../docs/protocol/release.md")).unwrap();
    for line in lines() {
        let (_, bytes) = line.split_once(": ").unwrap();
        assert!(document.contains(bytes), "docs/protocol/release.md lacks {line}");
    }
}

#[test]
fn every_message_is_read_as_it_was_written_and_never_before_it_is_whole() {
    fn check<M: Message>(name: &str, message: &M) {
        let bytes = encode(message).unwrap();
        for len in 0..bytes.len() {
            assert!(decode::<M>(&bytes[..len]).unwrap().is_none(), "{name} at {len}");
        }
        let more = [&bytes[..], b"more"].concat();
        let (read, len) = decode::<M>(&more).unwrap().unwrap();
        assert_eq!(len, bytes.len());
        assert_eq!(*encode(&read).unwrap(), *bytes, "{name}");
    }
    asks().iter().for_each(|(name, message)| check(name, message));
    answers().iter().for_each(|(name, message)| check(name, message));
}

#[test]
fn no_value_and_no_token_is_in_a_head() {
    for (name, message) in answers() {
        let head = String::from_utf8(message.head()).unwrap();
        assert!(!head.contains("hunter2") && !head.contains("one"), "{name}: {head}");
    }
    for (name, message) in asks() {
        assert!(!String::from_utf8(message.head()).unwrap().contains("a.b.c"), "{name}");
    }
}

fn framed(kind: u8, head: &str, secret_len: u32, secret: &[u8]) -> Vec<u8> {
    let [_, head_len @ ..] = u32::try_from(head.len()).unwrap().to_be_bytes();
    let prefix = [&[kind][..], &head_len, &secret_len.to_be_bytes()].concat();
    [&prefix[..], head.as_bytes(), secret].concat()
}

#[test]
fn lengths_that_contradict_each_other_or_are_too_large_are_refused_at_once() {
    let ask = |bytes: &[u8]| decode::<WrapperToBridge>(bytes).map(drop).unwrap_err();
    let tell = |bytes: &[u8]| decode::<BridgeToWrapper>(bytes).map(drop).unwrap_err();
    assert_eq!(ask(&[2, 0xff, 0xff, 0xff, 0, 0, 0, 0]), FrameError::TooLong);
    assert_eq!(ask(&[1, 0, 0, 1, 0, 1, 0, 1]), FrameError::TooLong, "a token of 64 KiB and a byte");
    assert_eq!(ask(&framed(4, "{}", 1, b"x")), FrameError::Parts, "a secret where none belongs");
    assert_eq!(ask(&framed(9, "{}", 0, b"")), FrameError::Type);
    assert_eq!(ask(&framed(4, "{\"more\":1}", 0, b"")), FrameError::Head);
    let head = r#"{"id":1,"answers":[{"plain":{"lens":[5]}}]}"#;
    assert_eq!(tell(&framed(67, head, 4, b"four")), FrameError::Parts);
    assert_eq!(tell(&framed(67, head, 6, b"sixsix")), FrameError::Parts);
    let huge = r#"{"id":1,"answers":[{"plain":{"lens":[4294967295,1]}}]}"#;
    assert_eq!(tell(&framed(67, huge, 1, b"x")), FrameError::Parts);
    let many = format!(r#"{{"id":1,"answers":[{{"plain":{{"lens":[0{}]}}}}]}}"#, ",0".repeat(1024));
    assert_eq!(tell(&framed(67, &many, 0, b"")), FrameError::TooLong);
}

#[test]
fn what_the_bridge_says_is_cut_and_holds_no_control_characters() {
    let meaning = format!("\u{1b}[31m{}", "x".repeat(5000));
    let refused = Refused::denied(Operation::Read, Denial::Policy, meaning);
    let bytes = encode(&BridgeToWrapper::Refused(refused)).unwrap();
    let (read, _) = decode::<BridgeToWrapper>(&bytes).unwrap().unwrap();
    let BridgeToWrapper::Refused(Refused { why: Why::Denied { meaning, .. }, .. }) = read else {
        panic!("{read:?}")
    };
    assert!(meaning.len() <= 400 && !meaning.contains('\u{1b}'), "{meaning}");
}

#[test]
fn purposes_and_sessions_do_not_sign_for_each_other() {
    let [a, b] = [[1; 32], [2; 32]];
    assert_ne!(Purpose::Hello.signed(&a, &b, &a), Purpose::Leave.signed(&a, &b, &a));
    assert_ne!(Purpose::Hello.signed(&a, &b, &a), Purpose::Hello.signed(&b, &b, &a));
    assert_ne!(Purpose::Hello.signed(&a, &b, &a), Purpose::Hello.signed(&a, &b, &b));
    assert_ne!(sealing_info(&a, 1), sealing_info(&a, 2));
    assert_ne!(sealing_info(&a, 1), sealing_info(&b, 1));
    let recorded = |number, digits: &str| Recorded { number, hash: digits.repeat(32) };
    let data = |receipts: &[Recorded]| sealing_data(receipts).unwrap();
    assert_ne!(data(&[recorded(1, "0a")]), data(&[recorded(2, "0a")]));
    assert_ne!(data(&[recorded(1, "0a")]), data(&[recorded(1, "0b")]));
    assert_ne!(data(&[recorded(1, "0a")]), data(&[]));
    assert_eq!(sealing_data(&[recorded(1, "0A")]), None);
    assert_eq!(sealing_data(&[Recorded { number: 1, hash: "0a".to_owned() }]), None);
    let ends = |exporter, client| Ends { exporter, nonce: &[0; 32], client, bridge: &[0; 32] };
    assert_ne!(ends(&a, &b).parts().concat(), ends(&b, &a).parts().concat());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(decode::<WrapperToBridge>(&bytes));
        drop(decode::<BridgeToWrapper>(&bytes));
    }

    #[test]
    fn any_values_come_out_as_they_went_in(
        values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..5),
        id: u32,
    ) {
        let texts = values.iter().map(|value| Secret::new(value.clone())).collect();
        let sent = BridgeToWrapper::Answers(Answers { id, answers: vec![Answer::Plain(texts)] });
        let bytes = encode(&sent).unwrap();
        let (read, len) = decode::<BridgeToWrapper>(&bytes).unwrap().unwrap();
        prop_assert_eq!(len, bytes.len());
        let back = read.secrets().iter().map(|secret| secret.expose().to_vec()).collect::<Vec<_>>();
        prop_assert_eq!(back, values);
    }
}
