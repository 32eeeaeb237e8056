//! The second verifier, in Python, reads the same document and comes to the same verdicts.

#[cfg(test)]
mod python {
    use std::{
        fs,
        path::{Path, PathBuf},
        process::{Command, Output},
    };

    use cloudtaser_core::{
        level::Verdict,
        release::{
            order,
            policy::terms::{Relax, SignerKey},
        },
    };
    use cloudtaser_evidence::{
        Digest, Draft, Log, Remark,
        bundle::Bundle,
        checkpoint::SignedCheckpoint,
        export::{Selection, export},
        log::{Clock, Options},
        names::NameKey,
        note::{KeyKind, Signer},
        notice,
        receipt::{
            Act, Assurance, Decision, Name, Rows, Sealing, SecretEntry, SignedBefore, Workload,
        },
        verify::{self, Given, published},
    };

    /// Flips every seventh byte of a bundle, mends the hash at the end, and expects a refusal; then
    /// cuts it at some lengths. Anything but a refusal (an exception of another kind too) is told.
    const FLIPS: &str = "
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import verify_evidence as v
data = open(sys.argv[2], 'rb').read()
policy = v.parse_policy(open(sys.argv[3]).read())
def refused(bent):
    try:
        v.verify_bundle(bent, policy)
    except v.Refused:
        return True
    return False
v.verify_bundle(data, policy)
body = data[:-32]
tried = 0
for at in range(len(v.MAGIC), len(body), 7):
    bent = bytearray(body)
    bent[at] ^= 1 << at % 8
    bent += hashlib.sha256(bent).digest()
    assert refused(bytes(bent)), f'byte {at}'
    tried += 1
for cut in range(len(v.MAGIC), len(data), 97):
    assert refused(data[:cut]), f'cut {cut}'
print(tried)
";

    fn script() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol/verify_evidence.py")
    }

    /// None, and a printed reason, where there is no Python.
    fn python(arguments: &[&str]) -> Option<Output> {
        match Command::new("python3").arg("-B").args(arguments).output() {
            Ok(output) => Some(output),
            Err(error) => {
                println!("SKIP: python3 cannot be run here ({error})");
                None
            }
        }
    }

    fn name(text: &str) -> Name {
        Name::try_from(text).unwrap()
    }

    fn log_key() -> Signer {
        Signer::from_seed("log.example/python", KeyKind::Log, &[3; 32]).unwrap()
    }

    fn witness(number: u8) -> Signer {
        let name = format!("witness{number}.example");
        Signer::from_seed(&name, KeyKind::Witness, &[40 + number; 32]).unwrap()
    }

    fn policy() -> String {
        let mut text = format!("# two of three\nlog {}\n", log_key().verifier());
        for number in 1..=3 {
            text.push_str(&format!("witness w{number} {}\n", witness(number).verifier()));
        }
        text + "group\ttwo 2 w1 w2 w3\nquorum two\n"
    }

    fn draft(number: u64, key: &NameKey) -> Draft {
        let decision = match number % 4 {
            3 => Decision::Refused(name("level-too-low")),
            _ => Decision::Released,
        };
        let path = ["secret/data/db", "secret/data/ünïcode"][usize::try_from(number % 2).unwrap()];
        Draft {
            cluster: name(["prod", "staging"][usize::try_from(number % 3 / 2).unwrap()]),
            workload: Workload {
                namespace: name("shop"),
                service_account: name("api"),
                pod: name("0a1b2c3d-0000-4000-8000-000000000001"),
            },
            role: name("shop"),
            secrets: vec![SecretEntry {
                name: key.hash(path, &["user", "password"]).unwrap(),
                version: number.is_multiple_of(2).then_some(number << 33),
                request: Some(name("8f2c5b1e-1111-2222-3333-444455556666")),
            }],
            policy: Digest::of(b"policy"),
            protection: Rows::new([Verdict::Partial; 6]),
            assurance: Assurance::L1,
            wrapper: number.is_multiple_of(2).then(|| Digest::of(b"wrapper")),
            session: Digest::of(&number.to_be_bytes()),
            evidence: (number == 2).then(|| Digest::of(b"a statement")),
            decision,
            bridge: Some(Digest::of(b"bridge")),
            key_exchange: Some(name("X25519MLKEM768")),
            sealing: number
                .is_multiple_of(5)
                .then(|| Sealing { suite: name("X-Wing"), recipient: Digest::of(b"key") }),
            orders: (number == 2).then(|| {
                let acts = [(Act::Approval, approval()), (Act::BreakGlass, glass())];
                let named =
                    |(act, order): (_, Vec<u8>)| SignedBefore { act, order: Digest::of(&order) };
                acts.map(named).to_vec()
            }),
        }
    }

    /// An order as a log keeps it.
    fn kept(act: order::Act) -> Vec<u8> {
        let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
        let text = data_encoding::BASE64.encode(key.verifying_key().as_bytes());
        let public = SignerKey::try_from(format!("ed25519:{text}")).unwrap();
        // Days, so that the log's own clock is within them while a test runs.
        let from = Clock::system().now_ms() / 1000 / 7200 * 7200;
        let order = order::Order {
            bridge: public,
            by: "anna".to_owned(),
            id: "ab".repeat(16),
            from,
            until: from + 12 * 3600,
            reason: "the pump stands — \"all\" of it".to_owned(),
            act,
        };
        let order = order.to_text().unwrap();
        let signature = ed25519_dalek::Signer::sign(&key, &order::signed_bytes(&order));
        let signature = data_encoding::HEXLOWER.encode(&signature.to_bytes());
        order::KeptOrder { order, signature, key: public }.to_bytes()
    }

    fn approval() -> Vec<u8> {
        let workload = "eu:shop/api".to_owned();
        kept(order::Act::Approve { name: "ab".repeat(32), workload })
    }

    fn glass() -> Vec<u8> {
        kept(order::Act::BreakGlass { rule: "pay".to_owned(), relax: vec![Relax::Level] })
    }

    struct Evidence {
        folder: tempfile::TempDir,
        bundle: Bundle,
        proof: String,
    }

    /// A log, a bundle that two witnesses signed, and a single proof.
    fn evidence() -> Evidence {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let key = NameKey::new([7; 32].into());
        let open = || Log::open(&path, log_key(), Options::default()).unwrap();
        let log = open();
        log.keep(b"a statement").unwrap();
        for order in [approval(), glass()] {
            log.keep(&order).unwrap();
        }
        (0..3).for_each(|number| drop(log.append(draft(number, &key)).unwrap()));
        let words = name("anna sets level of rule pay aside");
        let document = Some(Digest::of(&glass()));
        let kind = name(notice::BREAK_GLASS);
        log.notice(Remark { kind, words, document, name: None, request: None }).unwrap();
        (3..6).for_each(|number| drop(log.append(draft(number, &key)).unwrap()));
        drop(log);
        let older = published(&path).unwrap();
        let log = open();
        let appended: Vec<_> =
            (6..299).map(|number| log.append(draft(number, &key)).unwrap()).collect();
        drop(log);
        let selection = Selection { from: Some(2), to: Some(4), ..Selection::default() };
        let opening = key.open("secret/data/db", &["password", "user"]).unwrap();
        let mut bundle = export(&path, &selection, vec![opening], &[older]).unwrap();
        let mut signed = SignedCheckpoint::parse(&bundle.checkpoint).unwrap();
        let text = signed.note().text().to_owned();
        for number in [1, 3] {
            let when = 1_800_000_000 + u64::from(number);
            signed.note_mut().add(witness(number).sign(&text, when));
        }
        bundle.checkpoint = signed.to_string();
        let last = appended.last().unwrap();
        let proof = last.proof.with_entry(&last.leaf);
        fs::write(folder.path().join("policy"), policy()).unwrap();
        fs::write(folder.path().join("bundle"), bundle.to_bytes().unwrap()).unwrap();
        fs::write(folder.path().join("proof"), &proof).unwrap();
        Evidence { folder, bundle, proof }
    }

    impl Evidence {
        fn path(&self, file: &str) -> String {
            self.folder.path().join(file).display().to_string()
        }
    }

    fn json(output: &Output) -> serde_json::Value {
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{problem}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[test]
    fn both_verifiers_see_the_same_in_a_bundle() {
        let evidence = evidence();
        let arguments =
            [&script().display().to_string(), &evidence.path("bundle"), &evidence.path("policy")];
        let Some(output) = python(&arguments.map(String::as_str)) else { return };
        let theirs = json(&output);
        let bytes = evidence.bundle.to_bytes().unwrap();
        let ours = verify::bundle(&bytes, &policy().parse().unwrap(), &Given::default()).unwrap();
        assert_eq!(theirs["log"], ours.log);
        assert_eq!(theirs["size"], ours.size);
        assert_eq!(theirs["root"], ours.root.to_string());
        assert_eq!(theirs["receipts"], ours.tally.receipts);
        assert_eq!(theirs["released"], ours.tally.released);
        assert_eq!(theirs["missing"], ours.tally.missing());
        assert_eq!(theirs["grown_from"], serde_json::json!(ours.grown_from));
        assert_eq!(theirs["notices"], 1);
        assert_eq!(ours.tally.notices.values().sum::<u64>(), 1);
        assert_eq!((ours.tally.approved, ours.tally.break_glass), (1, 1));
        assert!(ours.tally.orders.values().all(|order| order.said.is_some()));
        assert_eq!(ours.tally.documents, 1);
        let times: serde_json::Map<_, _> = ours
            .witnesses
            .iter()
            .map(|seen| (seen.witness.clone(), seen.unix_seconds.into()))
            .collect();
        assert_eq!(theirs["witnesses"], serde_json::Value::Object(times));
        assert_eq!(theirs["names"]["secret/data/db#password,user"], ours.names[0].releases);
    }

    #[test]
    fn the_second_verifier_refuses_what_the_first_does() {
        let evidence = evidence();
        let folder = script().parent().unwrap().display().to_string();
        let (bundle, policy) = (evidence.path("bundle"), evidence.path("policy"));
        let Some(output) = python(&["-c", FLIPS, &folder, &bundle, &policy]) else { return };
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{problem}");
        let tried: usize = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
        assert!(tried > 200, "{tried}");
    }

    #[test]
    fn a_single_proof_is_read_and_one_without_its_quorum_is_refused() {
        let evidence = evidence();
        let script = script().display().to_string();
        let arguments = [&script, &evidence.path("proof"), &evidence.path("policy")];
        let Some(output) = python(&arguments.map(String::as_str)) else { return };
        assert_eq!(output.status.code(), Some(77), "no witness signed the log's own proof");
        let alone = evidence.path("alone");
        fs::write(&alone, format!("log {}\nquorum none\n", log_key().verifier())).unwrap();
        let output = python(&[&script, &evidence.path("proof"), &alone]).unwrap();
        assert_eq!(json(&output)["size"], 300);
        let mut bent = evidence.proof.into_bytes();
        bent[60] ^= 1;
        fs::write(evidence.folder.path().join("proof"), bent).unwrap();
        let path = evidence.folder.path().join("proof").display().to_string();
        assert_eq!(python(&[&script, &path, &alone]).unwrap().status.code(), Some(77));
        assert_eq!(python(&[&script]).unwrap().status.code(), Some(64));
    }
}
