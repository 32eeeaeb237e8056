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
        node::{self as core, NodeEvidence, NodeStatement},
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
        node::Document,
        note::{KeyKind, Signer},
        notice,
        receipt::{
            Act, Assurance, Decision, Name, Rows, Sealing, SecretEntry, SignedBefore, Workload,
        },
        verify::{self, Given, published},
    };

    /// Flips bytes of a bundle, mends the hash at the end, and expects a refusal; then cuts it at some
    /// lengths. Anything but a refusal (an exception of another kind too) is told.
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
for at in range(len(v.MAGIC), len(body), int(sys.argv[4])):
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

    /// What an agent recorded in a machine with a TPM.
    const RECORDED: &str = include_str!("vectors/node_tpm.json");

    /// A bundle of one release to the launch of this statement, with the statement; both verdicts.
    fn node(change: impl FnOnce(&mut NodeEvidence, &mut Draft)) -> Option<(bool, Output)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut evidence: NodeEvidence = serde_json::from_str(RECORDED).unwrap();
        let statement = NodeStatement::parse(&evidence.statement).unwrap();
        let digest = |hash: core::Hash| Digest::new(*hash.as_bytes());
        let key = NameKey::new([7; 32].into());
        let recipient = digest(statement.sealing);
        let mut draft = Draft {
            session: digest(statement.session),
            sealing: Some(Sealing { suite: name("X-Wing"), recipient }),
            wrapper: statement.launch.wrapper.map(digest),
            ..draft(0, &key)
        };
        draft.workload.pod = name(statement.launch.pod.as_deref().unwrap());
        change(&mut evidence, &mut draft);
        let document = Document::of(&evidence).unwrap().to_bytes().unwrap();
        let log = Log::open(&path, log_key(), Options::default()).unwrap();
        draft.evidence = Some(log.keep(&document).unwrap());
        log.append(draft).unwrap();
        drop(log);
        let bundle = export(&path, &Selection::default(), Vec::new(), &[]).unwrap();
        let bytes = bundle.to_bytes().unwrap();
        let policy = format!("log {}\nquorum none\n", log_key().verifier());
        fs::write(folder.path().join("policy"), &policy).unwrap();
        fs::write(folder.path().join("bundle"), &bytes).unwrap();
        let ours = verify::bundle(&bytes, &policy.parse().unwrap(), &Given::default());
        let file = |name: &str| folder.path().join(name).display().to_string();
        let arguments = [&script().display().to_string(), &file("bundle"), &file("policy")];
        Some((ours.is_ok(), python(&arguments.map(String::as_str))?))
    }

    #[test]
    fn both_verifiers_hold_what_a_node_and_its_tpm_signed_against_the_receipts() {
        let Some((ours, theirs)) = node(|_, _| ()) else { return };
        let theirs = json(&theirs);
        assert!(ours);
        assert_eq!((&theirs["nodes"], &theirs["quotes"]), (&1.into(), &1.into()));
        type Change = fn(&mut NodeEvidence, &mut Draft);
        let changes: [(&str, Change); 10] = [
            ("another session", |_, draft| draft.session = Digest::of(b"another")),
            ("another recipient", |_, draft| draft.sealing = None),
            ("another pod", |_, draft| draft.workload.pod = name("another")),
            ("another wrapper", |_, draft| draft.wrapper = Some(Digest::of(b"another"))),
            ("another key", |evidence, _| evidence.key = core::Hash::new([7; 32])),
            ("a signature that is none", |evidence, _| evidence.signature = "00".repeat(64)),
            ("another quote", |evidence, _| bend(&mut evidence.tpm.as_mut().unwrap().quote)),
            ("a quote's signature", |evidence, _| {
                bend(&mut evidence.tpm.as_mut().unwrap().signature);
            }),
            ("another register", |evidence, _| {
                let registers = &mut evidence.tpm.as_mut().unwrap().registers;
                registers.insert(4, core::Hash::new([7; 32]));
            }),
            ("a log that was cut", |evidence, _| evidence.tpm.as_mut().unwrap().log.clear()),
        ];
        for (what, change) in changes {
            let (ours, theirs) = node(change).unwrap();
            let said = String::from_utf8_lossy(&theirs.stderr).into_owned();
            assert_eq!((ours, theirs.status.code()), (false, Some(77)), "{what}: {said}");
        }
    }

    /// The last byte is another.
    fn bend(base64: &mut String) {
        let mut bytes = data_encoding::BASE64.decode(base64.as_bytes()).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        *base64 = data_encoding::BASE64.encode(&bytes);
    }

    #[test]
    fn both_verifiers_know_when_the_logs_key_was_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let key = NameKey::new([7; 32].into());
        let new = || Signer::from_seed(log_key().name(), KeyKind::Log, &[4; 32]).unwrap();
        let log = Log::open(&path, log_key(), Options::default()).unwrap();
        (0..2).for_each(|number| drop(log.append(draft(number, &key)).unwrap()));
        drop(log);
        let before = published(&path).unwrap();
        let older = export(&path, &Selection::default(), Vec::new(), &[]).unwrap();
        let size = Log::rotate(&path, &log_key(), new(), Options::default()).unwrap();
        let size = size.checkpoint().size;
        let log = Log::open(&path, new(), Options::default()).unwrap();
        log.append(draft(0, &key)).unwrap();
        drop(log);
        let newer = export(&path, &Selection::default(), Vec::new(), &[before]).unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        fs::write(file("older"), older.to_bytes().unwrap()).unwrap();
        fs::write(file("newer"), newer.to_bytes().unwrap()).unwrap();
        let (old, new) = (log_key().verifier(), new().verifier());
        let replaced = format!("log {new}\nwas {old} {size}\nquorum none\n");
        for (name, policy, later, expected) in [
            ("newer", format!("log {new}\nwas {old} {size}\nquorum none\n"), "", true),
            ("newer", format!("log {new}\nwas {old} {}\nquorum none\n", size + 1), "", false),
            ("newer", format!("log {old}\nquorum none\n"), "", false),
            // Nothing but a signature by a key that may have been stolen since.
            ("older", format!("log {new}\nwas {old} {size}\nquorum none\n"), "", false),
            ("older", format!("log {old}\nquorum none\n"), "", true),
            ("older", format!("log {old}\nwas {old} {size}\nquorum none\n"), "", false),
            ("older", replaced.clone(), "newer", true),
            ("older", replaced.clone(), "older", false),
            ("older", replaced, "policy", false),
        ] {
            fs::write(file("policy"), &policy).unwrap();
            let mut arguments = vec![script().display().to_string(), file(name), file("policy")];
            if !later.is_empty() {
                arguments.extend(["--later".to_owned(), file(later)]);
            }
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            let Some(theirs) = python(&arguments) else { return };
            let bytes = fs::read(file(name)).unwrap();
            let ours = policy.parse().map(|policy| {
                let past = match later {
                    "" => Vec::new(),
                    later => verify::past(&fs::read(file(later)).unwrap(), &policy)?,
                };
                verify::bundle(&bytes, &policy, &Given { past, ..Given::default() })
            });
            let ours = matches!(ours, Ok(Ok(_)));
            let said = String::from_utf8_lossy(&theirs.stderr).into_owned();
            let code = if expected { 0 } else { 77 };
            assert_eq!(
                (ours, theirs.status.code()),
                (expected, Some(code)),
                "{name} {policy} {later} {said}"
            );
            if expected && name == "newer" {
                assert_eq!(json(&theirs)["keys_changed"], 1);
            }
        }
    }

    #[test]
    fn the_second_verifier_refuses_what_the_first_does() {
        let evidence = evidence();
        let folder = script().parent().unwrap().display().to_string();
        let (bundle, policy) = (evidence.path("bundle"), evidence.path("policy"));
        let Some(output) = python(&["-c", FLIPS, &folder, &bundle, &policy, "7"]) else { return };
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{problem}");
        let tried: usize = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
        assert!(tried > 200, "{tried}");
    }

    /// The smallest bundle that has a receipt and a document: not one byte of it is anybody's to choose.
    #[test]
    fn both_verifiers_refuse_every_byte_that_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(&folder.path().join("log"), log_key(), Options::default()).unwrap();
        let key = NameKey::new([7; 32].into());
        let evidence = Some(log.keep(b"a statement").unwrap());
        log.append(Draft { evidence, ..draft(0, &key) }).unwrap();
        drop(log);
        let log = folder.path().join("log");
        let bytes =
            export(&log, &Selection::default(), Vec::new(), &[]).unwrap().to_bytes().unwrap();
        let policy = format!("log {}\nquorum none\n", log_key().verifier());
        let file = |name: &str| folder.path().join(name).display().to_string();
        fs::write(file("policy"), &policy).unwrap();
        fs::write(file("bundle"), &bytes).unwrap();
        let policy = policy.parse().unwrap();
        assert!(verify::bundle(&bytes, &policy, &Given::default()).is_ok());
        let end = bytes.len() - 32;
        for at in 0..end {
            let mut bent = bytes[..end].to_vec();
            bent[at] ^= 1 << (at % 8);
            let hash = Digest::of(&bent);
            bent.extend_from_slice(hash.as_bytes());
            assert!(verify::bundle(&bent, &policy, &Given::default()).is_err(), "byte {at}");
        }
        let scripts = script().parent().unwrap().display().to_string();
        let arguments = ["-c", FLIPS, &scripts, &file("bundle"), &file("policy"), "1"];
        let Some(output) = python(&arguments) else { return };
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{problem}");
        let tried: usize = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
        assert_eq!(tried, end - cloudtaser_evidence::bundle::MAGIC.len());
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
        let bundle = evidence.path("bundle");
        let mut bent = evidence.proof.into_bytes();
        bent[60] ^= 1;
        fs::write(evidence.folder.path().join("proof"), bent).unwrap();
        let path = evidence.folder.path().join("proof").display().to_string();
        assert_eq!(python(&[&script, &path, &alone]).unwrap().status.code(), Some(77));
        for slip in [vec![], vec![&*bundle], vec![&bundle, &alone, "--later"], vec![&bundle; 4]] {
            let arguments = [&[&*script][..], &slip].concat();
            assert_eq!(python(&arguments).unwrap().status.code(), Some(64), "{slip:?}");
        }
    }
}
