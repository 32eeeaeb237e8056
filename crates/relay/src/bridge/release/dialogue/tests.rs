//! The dialogue against a double of OpenBao on the loopback.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Mutex, OnceLock},
    thread,
};

use cloudtaser_core::{
    Secret,
    level::{Agent, Attach, Environ, Facets, Memory, Release, Supervisor, Transport},
    release::{Hello, Leave, LoggedIn, Purpose, Statement, decode, message::Claims},
};
use cloudtaser_evidence::{Digest as LogDigest, Log, log::Options, note::Signer};
use cloudtaser_road::seal::Recipient;
use cloudtaser_tls::raw::KeyPair;
use serde_json::json;

use super::*;
use crate::{
    bridge::release::{
        config::{LogConfig, LoginLimits, ReleaseConfig, Trust, Unclean, Unsealed},
        ledger::Ledger,
        receipt::ReceiptSink,
        token::{fuzz::issuer, tests::signed},
    },
    clock::unix_seconds,
};

mod nodes;

const POLICY: &str = r#"
[[rule]]
name = "all"
paths = ["secret/app", "database/creds/app"]
identities = ["eu:shop/web"]
"#;

/// What was asked of the double, one line each.
type Asked = Arc<Mutex<Vec<String>>>;

/// Answers each request of a login, a read, a renewal and a revocation.
fn openbao() -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let kept = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let kept = Arc::clone(&kept);
            thread::spawn(move || answer(stream, &kept));
        }
    });
    (address, asked)
}

fn answer(stream: TcpStream, asked: &Asked) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        let (mut first, mut len) = (String::new(), 0);
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                len = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; len];
        reader.read_exact(&mut body).unwrap();
        let line = first.split(' ').take(2).collect::<Vec<_>>().join(" ");
        asked.lock().unwrap().push(line.clone());
        let lease = |id: &str| {
            json!({ "lease_id": id, "lease_duration": 60, "renewable": true,
                "data": { "password": "dynamic" } })
        };
        let (status, answer) = match &*line {
            "POST /v1/auth/jwt/login" => (
                200,
                json!({ "auth": { "client_token": "s.x", "lease_duration": 60, "renewable": true } }),
            ),
            "POST /v1/auth/token/renew-self" => (
                200,
                json!({ "auth": { "client_token": "s.x", "lease_duration": 90, "renewable": true } }),
            ),
            "GET /v1/secret/app" => (200, json!({ "data": { "password": "static" } })),
            "GET /v1/database/creds/app" => (200, lease("database/creds/app/1")),
            "POST /v1/sys/leases/renew" => (200, lease("database/creds/app/1")),
            "POST /v1/auth/token/revoke-self" => (204, json!(null)),
            _ => (403, json!({ "errors": ["permission denied"] })),
        };
        let body = if status == 204 { String::new() } else { answer.to_string() };
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
        writer.write_all(format!("{head}{body}").as_bytes()).unwrap();
    }
}

fn config_in(folder: &std::path::Path, openbao: String) -> ReleaseConfig {
    ReleaseConfig {
        openbao,
        trust: Trust::default(),
        namespace: None,
        policy_file: folder.join("policy.toml"),
        state_dir: folder.join("state"),
        unsealed: Unsealed::Allow,
        doors: Vec::new(),
        limits: LoginLimits { at_once: 1, restarts: 1, unclean: Unclean::Refuse },
        linger_seconds: 60,
        statement_seconds: 3600,
        issuers: vec![issuer().unwrap()],
        log: LogConfig {
            name: "log.example".to_owned(),
            dir: folder.join("state/log"),
            key_file: folder.join("state/log.key"),
            witnesses: None,
        },
        audit: None,
        openbao_audit: None,
        hardware_dir: None,
        metrics_file: None,
    }
}

struct Place {
    folder: tempfile::TempDir,
    releaser: Arc<Releaser>,
    asked: Asked,
}

impl Place {
    fn new() -> Self {
        Self::with(Unsealed::Allow, |releaser| releaser)
    }

    fn with(unsealed: Unsealed, change: impl FnOnce(Releaser) -> Releaser) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (openbao, asked) = openbao();
        let config = config_in(folder.path(), openbao);
        std::fs::write(&config.policy_file, POLICY).unwrap();
        let config = ReleaseConfig { unsealed, ..config };
        let releaser = Arc::new(change(Releaser::open(config, bridge().public()).unwrap()));
        Self { folder, releaser, asked }
    }

    /// The bridge ends, and another begins where it was.
    fn again(&mut self) {
        let config = config_in(self.folder.path(), self.releaser.config.openbao.clone());
        // The log is open once at a time.
        let nowhere = Self::new();
        self.releaser = Arc::clone(&nowhere.releaser);
        self.releaser = Arc::new(Releaser::open(config, bridge().public()).unwrap());
    }

    /// A session whose binding is this byte.
    fn session(&self, number: u8) -> Dialogue {
        let client = "one".to_owned();
        Dialogue::new(Arc::clone(&self.releaser), client, [0; 32], [number; 32])
    }

    fn audit(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("state/audit.jsonl")).unwrap()
    }

    fn asked(&self, line: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == line).count()
    }
}

/// The key of every bridge here.
fn bridge() -> &'static KeyPair {
    static BRIDGE: OnceLock<KeyPair> = OnceLock::new();
    BRIDGE.get_or_init(key)
}

fn token() -> String {
    let now = unix_seconds();
    let claims = json!({
        "iss": "joe", "aud": ["bridge"], "exp": now + 600,
        "kubernetes.io": {
            "namespace": "shop", "serviceaccount": { "name": "web" }, "pod": { "uid": "pod-1" },
        },
    });
    signed(&json!({ "alg": "ES256" }), &claims.to_string())
}

/// A HELLO by this key for the session whose binding is this byte.
fn hello(key: &KeyPair, number: u8) -> WrapperToBridge {
    let token = token();
    let hash = cloudtaser_tls::Digest::new().unwrap().sha256(&[token.as_bytes()]);
    let digest = cloudtaser_tls::Digest::new().unwrap();
    let sealing_hash = digest.sha256(&[recipient().public()]);
    let proof = key.sign(&Purpose::Hello.signed(&[number; 32], &hash, &sealing_hash)).unwrap();
    let facets = Facets {
        memory: Memory::Sealed,
        environ: Environ::Hidden,
        supervisor: Supervisor::Sealed,
        attach: Attach::Refused,
        transport: Transport::Hybrid,
        release: Release::Bridge,
        agent: Agent::Off,
    };
    let claims = Claims {
        role: Some("app".to_owned()),
        instance: HEXLOWER.encode(key.public().as_bytes()),
        sealing: HEXLOWER.encode(recipient().public()),
        proof: HEXLOWER.encode(&proof),
        within_ms: 5000,
        statement: Statement { facets, wrapper: None, agent: None },
        node: None,
    };
    WrapperToBridge::Hello(Box::new(Hello { claims, token: Secret::from(token) }))
}

fn leave(key: &KeyPair, number: u8) -> WrapperToBridge {
    let proof = key.sign(&Purpose::Leave.signed(&[number; 32], &[0; 32], &[0; 32])).unwrap();
    let instance = HEXLOWER.encode(key.public().as_bytes());
    WrapperToBridge::Leave(Leave { instance, proof: HEXLOWER.encode(&proof) })
}

fn read(paths: &[&str]) -> WrapperToBridge {
    let item = |path: &&str| Item::Read { path: (*path).to_owned(), version: None };
    let items = paths.iter().map(item).collect();
    WrapperToBridge::Read(Read { id: 7, within_ms: 5000, items })
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap().0
}

#[track_caller]
fn entered(next: Next) -> LoggedIn {
    match next {
        Next::Answer(BridgeToWrapper::LoggedIn(login)) => login,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn denied(next: Next) -> Denial {
    let (Next::Answer(BridgeToWrapper::Refused(refused))
    | Next::Last(BridgeToWrapper::Refused(refused))) = next
    else {
        panic!("{next:?}")
    };
    match refused.why {
        Why::Denied { denial, .. } => denial,
        other => panic!("{other:?}"),
    }
}

/// The key of every launch here.
fn recipient() -> &'static Recipient {
    static RECIPIENT: OnceLock<Recipient> = OnceLock::new();
    RECIPIENT.get_or_init(Recipient::generate)
}

fn sealed(next: Next) -> Sealed {
    match next {
        Next::Answer(BridgeToWrapper::Sealed(sealed)) => sealed,
        other => panic!("{other:?}"),
    }
}

/// Opens the answer of a session whose binding is this byte.
#[track_caller]
fn answers(next: Next, number: u8) -> Vec<Answer> {
    let Sealed { id, receipts, sealed } = sealed(next);
    let data = sealing_data(&receipts).unwrap();
    let frame = recipient().open(sealed.expose(), &sealing_info(&[number; 32], id), &data).unwrap();
    match decode(&frame).unwrap() {
        Some((BridgeToWrapper::Answers(Answers { id: 7, answers }), _)) => answers,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_read_by_whom_nobody_has_logged_in() {
    let place = Place::new();
    let mut session = place.session(1);
    assert_eq!(denied(session.next(read(&["secret/app"]))), Denial::Token);
    let renew = Renew { id: 1, within_ms: 1, what: Renewing::Token };
    assert_eq!(denied(session.next(WrapperToBridge::Renew(renew))), Denial::Token);
    assert!(place.asked.lock().unwrap().is_empty(), "OpenBao was asked");
}

#[test]
fn a_hello_of_another_session_or_of_another_token_is_refused() {
    let place = Place::new();
    let key = key();
    assert_eq!(denied(place.session(2).next(hello(&key, 1))), Denial::Proof);
    let WrapperToBridge::Hello(mut odd) = hello(&key, 2) else { unreachable!() };
    odd.token = Secret::from(format!("{}x", token()));
    assert_eq!(denied(place.session(2).next(WrapperToBridge::Hello(odd))), Denial::Proof);
    entered(place.session(2).next(hello(&key, 2)));
    assert_eq!(place.asked("POST /v1/auth/jwt/login"), 1);
}

#[test]
fn who_lost_a_connection_goes_on_where_it_was() {
    let place = Place::new();
    let key = key();
    let mut session = place.session(1);
    assert!(!entered(session.next(hello(&key, 1))).resumed);
    session.lost();
    assert!(entered(place.session(2).next(hello(&key, 2))).resumed);
    assert_eq!(place.asked("POST /v1/auth/jwt/login"), 1, "it is one login");
    assert_eq!(place.asked("POST /v1/auth/token/revoke-self"), 0);
}

#[test]
fn a_second_key_of_a_pod_is_refused_until_the_first_has_left() {
    let place = Place::new();
    let [first, second, third] = [key(), key(), key()];
    let mut session = place.session(1);
    entered(session.next(hello(&first, 1)));
    answers(session.next(read(&["secret/app"])), 1);
    assert_eq!(denied(place.session(2).next(hello(&second, 2))), Denial::Replay);
    // Only the one who holds it can give it back, and only for this session.
    assert!(matches!(place.session(3).next(leave(&second, 3)), Next::End));
    assert!(matches!(place.session(3).next(leave(&first, 4)), Next::End));
    assert_eq!(denied(place.session(2).next(hello(&second, 2))), Denial::Replay);
    assert!(matches!(session.next(leave(&first, 1)), Next::End));
    assert_eq!(place.asked("POST /v1/auth/token/revoke-self"), 1);
    let mut session = place.session(2);
    entered(session.next(hello(&second, 2)));
    answers(session.next(read(&["secret/app"])), 2);
    session.next(leave(&second, 2));
    assert_eq!(denied(place.session(3).next(hello(&third, 3))), Denial::Replay, "restarts: 1");
}

#[test]
fn a_launch_that_was_given_nothing_leaves_its_place_as_it_was() {
    let place = Place::new();
    for number in 1..=5 {
        let key = key();
        let mut session = place.session(number);
        entered(session.next(hello(&key, number)));
        session.next(leave(&key, number));
    }
}

/// A disk on which there is room for logins at most.
#[derive(Debug)]
struct Full {
    logins: bool,
}

impl ReceiptSink for Full {
    fn append(&self, receipts: Vec<Receipt>) -> std::io::Result<Vec<Recorded>> {
        let fits = |receipt: &Receipt| self.logins && receipt.event == Event::Login;
        if receipts.iter().all(fits) {
            Ok(Vec::new())
        } else {
            Err(std::io::ErrorKind::StorageFull.into())
        }
    }
}

#[test]
fn nothing_leaves_without_its_line() {
    let place = |logins| {
        let receipts = Box::new(Full { logins });
        Place::with(Unsealed::Allow, |releaser| Releaser { receipts, ..releaser })
    };
    let full = place(false);
    let [first, second] = [key(), key()];
    for (number, key) in [(1, &first), (2, &second), (3, &first)] {
        assert_eq!(denied(full.session(number).next(hello(key, number))), Denial::Record);
    }
    assert_eq!(full.asked("POST /v1/auth/token/revoke-self"), 3, "a login was left behind");
    let place = place(true);
    let mut session = place.session(1);
    entered(session.next(hello(&first, 1)));
    assert_eq!(denied(session.next(read(&["secret/app"]))), Denial::Record);
}

#[test]
fn a_heap_that_is_not_sealed_releases_nothing_unless_that_was_said() {
    let place = Place::with(Unsealed::Refuse, |releaser| releaser);
    assert_eq!(denied(place.session(1).next(hello(&key(), 1))), Denial::Busy);
    assert!(place.asked.lock().unwrap().is_empty());
    let place = Place::new();
    entered(place.session(1).next(hello(&key(), 1)));
    assert!(place.audit().contains("\"bridge\":\"wiped\""), "{}", place.audit());
}

#[test]
fn a_lease_lives_on_while_the_policy_would_release_it() {
    let place = Place::new();
    let mut session = place.session(1);
    entered(session.next(hello(&key(), 1)));
    let given = answers(session.next(read(&["database/creds/app"])), 1);
    let [Answer::Fields { lease: Some(lease), .. }] = &given[..] else { panic!("{given:?}") };
    let renew = |what| WrapperToBridge::Renew(Renew { id: 8, within_ms: 5000, what });
    let mine = || renew(Renewing::Lease(lease.id.clone()));
    let Next::Answer(BridgeToWrapper::Renewed(renewed)) = session.next(mine()) else {
        panic!("it is not renewed")
    };
    assert_eq!((renewed.id, renewed.lease.ttl_seconds), (8, 60));
    let foreign = renew(Renewing::Lease("database/creds/root/1".to_owned()));
    assert_eq!(denied(session.next(foreign)), Denial::Policy);
    std::fs::write(place.folder.path().join("policy.toml"), "").unwrap();
    place.releaser.reload().unwrap();
    assert_eq!(denied(session.next(mine())), Denial::Policy);
    assert_eq!(place.asked("POST /v1/sys/leases/renew"), 1);
    let Next::Answer(BridgeToWrapper::Renewed(token)) = session.next(renew(Renewing::Token)) else {
        panic!("it is not renewed")
    };
    assert_eq!(token.lease.ttl_seconds, 90);
}

#[test]
fn one_line_per_item_in_order_and_no_path_in_any() {
    let place = Place::new();
    let mut session = place.session(1);
    entered(session.next(hello(&key(), 1)));
    let paths = ["secret/app", "secret/none", "sys/health", "../x", "database/creds/app"];
    let given = answers(session.next(read(&paths)), 1);
    assert!(matches!(given[0], Answer::Fields { .. }) && matches!(given[4], Answer::Fields { .. }));
    let audit = place.audit();
    let lines = audit.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines = lines.collect::<Vec<serde_json::Value>>();
    let said = lines.iter().map(|line| line["decision"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(said, ["done", "released", "policy", "policy", "policy", "released"]);
    assert_eq!(lines[5]["lease_seconds"], 60);
    for text in ["secret/app", "database", "static", "dynamic", "s.x", "sys/health"] {
        assert!(!audit.contains(text), "{text} is in {audit}");
    }
}

/// What a thief needs who has the session, by whatever way: all of it, and the launch's memory.
#[test]
fn an_answer_opens_in_its_session_for_its_launch_with_its_receipts_alone() {
    let place = Place::new();
    let mut session = place.session(1);
    entered(session.next(hello(&key(), 1)));
    let Sealed { id, receipts, sealed } = sealed(session.next(read(&["secret/app"])));
    assert!(!sealed.expose().windows(6).any(|bytes| bytes == b"static"));
    let info = |binding: u8, id| sealing_info(&[binding; 32], id);
    let data = sealing_data(&receipts).unwrap();
    let open = |recipient: &Recipient, info: &[u8], data: &[u8]| {
        recipient.open(sealed.expose(), info, data).is_ok()
    };
    assert!(open(recipient(), &info(1, id), &data));
    assert!(!open(&Recipient::generate(), &info(1, id), &data), "another launch");
    assert!(!open(recipient(), &info(2, id), &data), "another session");
    assert!(!open(recipient(), &info(1, id + 1), &data), "another request");
    assert!(!open(recipient(), &info(1, id), &sealing_data(&[]).unwrap()), "no receipt");
    let mut other = receipts;
    other[0].hash = "00".repeat(32);
    assert!(!open(recipient(), &info(1, id), &sealing_data(&other).unwrap()), "another receipt");
}

/// The attack on what is attested within a handshake: the one who relays puts his own key in.
#[test]
fn a_sealing_key_that_was_exchanged_on_the_way_is_refused() {
    let place = Place::new();
    let WrapperToBridge::Hello(mut diverted) = hello(&key(), 1) else { unreachable!() };
    diverted.claims.sealing = HEXLOWER.encode(Recipient::generate().public());
    let refused = place.session(1).next(WrapperToBridge::Hello(diverted));
    assert_eq!(denied(refused), Denial::Proof);
    assert!(place.asked.lock().unwrap().is_empty(), "OpenBao was asked");
}

#[test]
fn the_log_holds_the_leaf_that_the_answer_names_and_the_file_names_it_too() {
    let place = Place::new();
    let mut session = place.session(1);
    entered(session.next(hello(&key(), 1)));
    let Sealed { receipts, .. } = sealed(session.next(read(&["secret/app", "secret/none"])));
    let [one, two] = &receipts[..] else { panic!("one released, one refused: {receipts:?}") };
    assert_eq!((one.number, two.number), (0, 1));
    let lines = place.audit();
    for leaf in &receipts {
        assert!(lines.contains(&leaf.hash), "{} is not in {lines}", leaf.hash);
    }
    assert!(!lines.contains("secret/app"), "{lines}");
    let Place { folder, releaser, .. } = place;
    drop((session, releaser));
    let state = folder.path().join("state");
    let signer = Signer::parse(&std::fs::read_to_string(state.join("log.key")).unwrap()).unwrap();
    let log = Log::open(&state.join("log"), signer, Options::default()).unwrap();
    assert_eq!(log.checkpoint().checkpoint().size, 2);
    let tile = std::fs::read(state.join("log/tile/entries/000.p/2")).unwrap();
    let leaves = cloudtaser_evidence::tiles::decode_entries(&tile, 2).unwrap();
    let hashes: Vec<_> = leaves.iter().map(|leaf| LogDigest::leaf(leaf).to_string()).collect();
    assert_eq!(hashes, [one.hash.clone(), two.hash.clone()]);
    let receipt = cloudtaser_evidence::Receipt::parse(&leaves[0]).unwrap();
    assert!(receipt.is_release());
    assert_eq!(receipt.draft.workload.namespace.as_str(), "shop");
    assert_eq!(receipt.draft.sealing.unwrap().recipient, LogDigest::of(recipient().public()));
}

mod failing;
mod killed;
mod terms;
