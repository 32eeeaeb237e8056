use super::*;

const EXAMPLE_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const EXAMPLE: &str = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

fn signer(kind: KeyKind) -> Signer {
    Signer::from_seed("log.example/one", kind, &[7; 32]).unwrap()
}

#[test]
fn the_example_of_the_specification_verifies() {
    let key: VerifierKey = EXAMPLE_KEY.parse().unwrap();
    let note = Note::parse(EXAMPLE).unwrap();
    note.verify(&key).unwrap();
    assert_eq!(note.to_string(), EXAMPLE);
    assert_eq!(key.to_string(), EXAMPLE_KEY);
}

#[test]
fn no_byte_of_a_note_can_be_another() {
    let key: VerifierKey = EXAMPLE_KEY.parse().unwrap();
    for at in 0..EXAMPLE.len() {
        for bit in 0..8 {
            let mut bytes = EXAMPLE.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            let Ok(text) = String::from_utf8(bytes) else { continue };
            let verdict = Note::parse(&text).and_then(|note| note.verify(&key));
            assert!(verdict.is_err(), "byte {at}, bit {bit}: {text}");
        }
    }
}

#[test]
fn a_false_signature_spoils_a_note_that_has_a_right_one() {
    let (log, text) = (signer(KeyKind::Log), "text\n".to_owned());
    let right = log.sign(&text, 0);
    let mut false_one = right.clone();
    false_one.bytes[0] ^= 1;
    let note = Note::new(text, vec![right, false_one]);
    assert_eq!(note.verify(&log.verifier()), Err(NoteError::Forged("log.example/one".into())));
}

#[test]
fn a_cosignature_says_when_and_nothing_else_passes_for_it() {
    let (witness, text) = (signer(KeyKind::Witness), "text\n".to_owned());
    let key = witness.verifier();
    let signature = witness.sign(&text, 1_700_000_000);
    let note = Note::new(text.clone(), vec![signature.clone()]);
    assert_eq!(note.verify_cosigned(&key), Ok(1_700_000_000));
    for at in 0..signature.bytes.len() {
        let mut bent = signature.clone();
        bent.bytes[at] ^= 1;
        assert!(Note::new(text.clone(), vec![bent]).verify_cosigned(&key).is_err(), "byte {at}");
    }
    assert_eq!(note.verify(&key), Err(NoteError::KeyKind));
    let log = signer(KeyKind::Log);
    assert_ne!(log.verifier().id(), key.id(), "one key for two purposes has two numbers");
}

#[test]
fn keys_are_written_and_read_again() {
    for kind in [KeyKind::Log, KeyKind::Witness] {
        let signer = signer(kind);
        let again = Signer::parse(&signer.to_secret()).unwrap();
        assert_eq!(again.verifier(), signer.verifier());
        assert_eq!(signer.verifier().to_string().parse(), Ok(signer.verifier()));
        assert!(!format!("{signer:?}").contains("key"));
    }
    for wrong in ["", "a+b", "a b+00000000+AQ==", "PRIVATE+KEY+x+00000000+AQ=="] {
        assert!(wrong.parse::<VerifierKey>().is_err(), "{wrong}");
        assert!(Signer::parse(wrong).is_err(), "{wrong}");
    }
    let other_id = EXAMPLE_KEY.replace("530d903a", "530d903b");
    assert_eq!(other_id.parse::<VerifierKey>(), Err(NoteError::Key));
}
