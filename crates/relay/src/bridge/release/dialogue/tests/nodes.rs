//! What a node signed, as a launch brings it: what is not of this very launch is refused, and what a
//! policy demands it demands of a signature.

use cloudtaser_core::node::{self, Hash, Lockdown, NodeEvidence, NodeStatement, signed_bytes};
use cloudtaser_evidence::node::Document;

use super::*;

/// Demands an agent that enforces, on the node whose key is put in.
const DEMANDS: &str = r#"
[[node]]
name = "worker-1"
key = "KEY"

[[rule]]
name = "all"
paths = ["secret/app"]
identities = ["eu:shop/web"]
[rule.node]
agent = "enforcing"
tiers = ["lsm"]
"#;

/// The key of the node.
fn node_key() -> &'static KeyPair {
    static KEY: OnceLock<KeyPair> = OnceLock::new();
    KEY.get_or_init(key)
}

pub(super) fn public(key: &KeyPair) -> Hash {
    Hash::new(*key.public().as_bytes())
}

/// What the node states of a launch in the session whose binding is this byte.
pub(super) fn statement(number: u8) -> NodeStatement {
    let digest = cloudtaser_tls::Digest::new().unwrap();
    let sealing = Hash::new(digest.sha256(&[recipient().public()]));
    let pod = Some("pod-1".to_owned());
    let launch = node::Launch { wrapper: None, pod, container: None };
    NodeStatement {
        at: unix_seconds(),
        lockdown: Lockdown::Integrity,
        state: Agent::Enforcing,
        tier: Some("lsm".to_owned()),
        ..NodeStatement::new(Hash::new([number; 32]), sealing, Hash::new([3; 32]), launch)
    }
}

pub(super) fn signed_by(key: &KeyPair, text: String) -> NodeEvidence {
    let signature = HEXLOWER.encode(&key.sign(&signed_bytes(&text)).unwrap());
    NodeEvidence { statement: text, key: public(key), signature, tpm: None, hardware: None }
}

pub(super) fn with(number: u8, node: NodeEvidence) -> WrapperToBridge {
    let WrapperToBridge::Hello(mut hello) = hello(&key(), number) else { unreachable!() };
    hello.claims.node = Some(node);
    WrapperToBridge::Hello(hello)
}

/// A HELLO with what the node signed after this change.
fn stating(number: u8, change: impl FnOnce(&mut NodeStatement)) -> WrapperToBridge {
    let mut statement = statement(number);
    change(&mut statement);
    with(number, signed_by(node_key(), statement.to_text()))
}

fn place() -> Place {
    let place = Place::new();
    demand(&place, &public(node_key()).to_string());
    place
}

fn demand(place: &Place, key: &str) {
    let text = DEMANDS.replace("KEY", key);
    std::fs::write(place.folder.path().join("policy.toml"), text).unwrap();
    place.releaser.reload().unwrap();
}

/// What a session that said this gets for one path.
fn asked(place: &Place, number: u8, hello: WrapperToBridge) -> String {
    let mut session = place.session(number);
    entered(session.next(hello));
    match answers(session.next(read(&["secret/app"])), number).remove(0) {
        Answer::Refused(refused) => match refused.why {
            Why::Denied { denial: Denial::Level, meaning } => meaning,
            other => panic!("{other:?}"),
        },
        _ => "released".to_owned(),
    }
}

fn lines(place: &Place) -> Vec<serde_json::Value> {
    place.audit().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_signed_statement_opens_what_demands_one_and_is_kept_with_the_receipt() {
    let place = place();
    assert_eq!(asked(&place, 1, stating(1, |_| ())), "released");
    let lines = lines(&place);
    let hash = lines[1]["evidence"].as_str().unwrap();
    assert_eq!(lines[0]["evidence"], hash);
    assert_eq!(lines[1]["node"], "worker-1");
    let state = place.folder.path().join("state/log");
    let document = std::fs::read(state.join("documents").join(hash)).unwrap();
    let signed = Document::parse(&document).unwrap().verify().unwrap();
    assert_eq!(signed.statement.state, Agent::Enforcing);
    drop(place.releaser);
    let tile = std::fs::read(state.join("tile/entries/000.p/1")).unwrap();
    let leaves = cloudtaser_evidence::tiles::decode_entries(&tile, 1).unwrap();
    let receipt = cloudtaser_evidence::Receipt::parse(&leaves[0]).unwrap();
    assert_eq!(receipt.draft.evidence, Some(LogDigest::of(&document)));
    assert_eq!(receipt.draft.assurance.as_str(), "L0");
    assert_eq!(receipt.draft.session.as_bytes(), signed.statement.session.as_bytes());
}

#[test]
fn what_the_launch_says_itself_opens_nothing_that_demands_a_signature() {
    let place = Place::with(Unsealed::Allow, |releaser| releaser);
    demand(&place, &public(node_key()).to_string());
    let WrapperToBridge::Hello(mut claims) = hello(&key(), 1) else { unreachable!() };
    claims.claims.statement.facets.agent = Agent::Enforcing;
    let words = asked(&place, 1, WrapperToBridge::Hello(claims));
    assert!(words.contains("there is none"), "{words}");
}

#[test]
fn a_statement_that_says_less_opens_less() {
    let place = Place::with(Unsealed::Allow, |mut releaser| {
        releaser.ledger = Ledger::open(
            &releaser.config.state_dir.join("more.jsonl"),
            LoginLimits { at_once: 9, restarts: 9, unclean: Unclean::Refuse },
        )
        .unwrap();
        releaser
    });
    demand(&place, &public(node_key()).to_string());
    let degraded = stating(1, |said| said.state = Agent::Degraded);
    assert!(asked(&place, 1, degraded).contains("says degraded"));
    let killing = stating(2, |said| said.tier = Some("kprobe".to_owned()));
    assert!(asked(&place, 2, killing).contains("not kprobe"));
    let stranger = signed_by(&key(), statement(3).to_text());
    assert!(asked(&place, 3, with(3, stranger)).contains("none of those that the policy names"));
    // A node that is taken out of the policy is out at once, for sessions that are open too.
    let mut session = place.session(4);
    entered(session.next(stating(4, |_| ())));
    demand(&place, &"00".repeat(32));
    let [Answer::Refused(refused)] = &answers(session.next(read(&["secret/app"])), 4)[..] else {
        panic!("released")
    };
    assert!(matches!(refused.why, Why::Denied { denial: Denial::Level, .. }));
}

#[test]
fn what_is_forged_replayed_old_or_cut_lets_nobody_in() {
    let place = place();
    let good = || signed_by(node_key(), statement(1).to_text());
    let changed = |change: fn(&mut NodeEvidence)| {
        let mut evidence = good();
        change(&mut evidence);
        with(1, evidence)
    };
    let cut = |evidence: &mut NodeEvidence| {
        evidence.statement.truncate(evidence.statement.len() / 2);
    };
    let resigned = || {
        let mut text = statement(1).to_text();
        text.truncate(text.len() - 1);
        with(1, signed_by(node_key(), text))
    };
    let other = Hash::new([9; 32]);
    for (what, hello) in [
        ("another's signature", changed(|evidence| evidence.key = public(&key()))),
        ("a signature that is none", changed(|evidence| evidence.signature = "00".repeat(64))),
        ("no hexadecimal", changed(|evidence| evidence.signature = "x".to_owned())),
        ("a state that was bettered", {
            let text = NodeStatement { state: Agent::Degraded, ..statement(1) }.to_text();
            let mut evidence = signed_by(node_key(), text);
            evidence.statement = evidence.statement.replace("degraded", "enforcing");
            with(1, evidence)
        }),
        ("a statement that was cut", changed(cut)),
        ("one that was signed without its end", resigned()),
        ("another session", stating(1, |said| said.session = Hash::new([2; 32]))),
        ("another launch", stating(1, move |said| said.sealing = other)),
        ("another pod", stating(1, |said| said.launch.pod = Some("pod-2".to_owned()))),
        ("no pod", stating(1, |said| said.launch.pod = None)),
        ("another wrapper", {
            let mut statement = statement(1);
            statement.launch.wrapper = Some(other);
            let evidence = signed_by(node_key(), statement.to_text());
            let WrapperToBridge::Hello(mut hello) = with(1, evidence) else { unreachable!() };
            hello.claims.statement.wrapper = Some("08".repeat(32));
            WrapperToBridge::Hello(hello)
        }),
        ("an hour ago", stating(1, |said| said.at -= 3600)),
        ("tomorrow", stating(1, |said| said.at += 86_400)),
    ] {
        assert_eq!(denied(place.session(1).next(hello)), Denial::Evidence, "{what}");
    }
    assert!(place.asked.lock().unwrap().is_empty(), "OpenBao was asked");
    assert!(!place.folder.path().join("state/log/documents").exists(), "it was kept");
    // Recorded in one session and brought to another one with everything else of that one.
    let recorded = stating(1, |_| ());
    let WrapperToBridge::Hello(recorded) = recorded else { unreachable!() };
    let replayed = with(5, recorded.claims.node.unwrap());
    assert_eq!(denied(place.session(5).next(replayed)), Denial::Evidence);
}

#[test]
fn a_session_that_lasts_is_asked_for_another_statement_and_goes_on_with_its_login() {
    let place = Place::with(Unsealed::Allow, |mut releaser| {
        releaser.config.statement_seconds = 0;
        releaser
    });
    demand(&place, &public(node_key()).to_string());
    let launch = key();
    let hello = |number| {
        let WrapperToBridge::Hello(mut hello) = hello(&launch, number) else { unreachable!() };
        hello.claims.node = Some(signed_by(node_key(), statement(number).to_text()));
        WrapperToBridge::Hello(hello)
    };
    let mut session = place.session(1);
    entered(session.next(hello(1)));
    assert_eq!(denied(session.next(read(&["secret/app"]))), Denial::Stale);
    assert!(Denial::Stale.is_passing());
    let renew = Renew { id: 8, within_ms: 5000, what: Renewing::Token };
    assert_eq!(denied(session.next(WrapperToBridge::Renew(renew))), Denial::Stale);
    session.lost();
    assert!(entered(place.session(2).next(hello(2))).resumed);
    assert_eq!(place.asked("POST /v1/auth/jwt/login"), 1, "it is one login");
}

/// A report and certificates of a real machine, which were made for another statement.
#[test]
fn a_report_of_a_machine_counts_where_it_holds_and_is_of_this_launch() {
    const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../evidence/tests/vectors/");
    let vector = |name: &str| std::fs::read(format!("{VECTORS}{name}")).unwrap();
    let machine = format!(
        "hardware = [\"image-7\"]\n[[hardware]]\nname = \"image-7\"\n\
         [hardware.sev-snp]\nmeasurements = [\"{}\"]\n",
        "07".repeat(48)
    );
    let fresh = || {
        let place = place();
        let policy = place.folder.path().join("policy.toml");
        let text = std::fs::read_to_string(&policy).unwrap() + &machine;
        std::fs::write(&policy, text).unwrap();
        place.releaser.reload().unwrap();
        place
    };
    let words = asked(&fresh(), 1, stating(1, |_| ()));
    assert!(words.contains("no processor has signed the statement"), "{words}");

    let hex = vector("report_milan.hex");
    let digits: Vec<u8> = hex.into_iter().filter(u8::is_ascii_hexdigit).collect();
    let report = data_encoding::HEXLOWER_PERMISSIVE.decode(&digits).unwrap();
    let found = cloudtaser_evidence::attest::snp::Certificates {
        ask: vector("ask_milan.der"),
        vek: vector("vcek_milan.der"),
        crl: None,
    };
    let brought = |number: u8, report: &[u8]| {
        let mut signed = signed_by(node_key(), statement(number).to_text());
        signed.hardware = Some(node::HardwareEvidence {
            provider: "sev_guest".to_owned(),
            report: data_encoding::BASE64.encode(report),
            table: data_encoding::BASE64.encode(&found.to_table()),
        });
        with(number, signed)
    };
    // Genuine, and of another session: somebody who tries.
    let refused = format!("{:?}", fresh().session(2).next(brought(2, &report)));
    assert!(refused.contains("made for another statement"), "{refused}");
    // One that does not hold counts as none.
    let mut bent = report;
    bent[0x90] ^= 1;
    let words = asked(&fresh(), 3, brought(3, &bent));
    assert!(words.contains("no processor has signed the statement"), "{words}");
}
