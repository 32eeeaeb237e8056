//! Clusters that are invited, join, are approved, renewed, revoked; and those that are not.

use std::{
    fs,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use cloudtaser_relay::{
    beacon::config::Limits,
    bridge::config::Enrolment,
    broker::{
        Broker, Desk, Limits as BrokerLimits,
        keeper::{self, NotEnrolled, Standing},
    },
    client::{Client, ClientError},
    cluster::Home,
    enrol::{
        Store,
        state::{NewInvitation, hash_of},
    },
    proto::{
        broker::{self, Answer, Pass},
        credential::{Certificate, Credential, ENROLLED_PROTOCOL, Presentation, Reception},
        enrol::{Belief, DayBytes, Grant, InvitationId, InvitationSecret, KeySet, Refusal},
        invitation::Invitation,
        rendezvous::Epoch,
        session::PROXY_PROTOCOL,
        ticket::{ClientTag, TicketSecret},
    },
};
use cloudtaser_tls::{
    Digest,
    raw::{self, KeyPair, PublicKey},
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::{
    abuse::send,
    support::{DOMAIN, Keys, PATIENCE, Place, Served, any, beacon, echo, echoes, get, serve},
};

fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// A bridge at which clusters enrol.
struct Realm {
    keys: Keys,
    place: Place,
    store: Store,
    folder: tempfile::TempDir,
    _beacon: Served,
    _bridge: Served,
}

impl Realm {
    async fn new() -> Self {
        let keys = Keys::new();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("enrolment")).unwrap();
        let (place, _beacon) = beacon(Limits::default(), any(), None);
        let mut config = keys.config(&[&place], echo().await);
        config.clients.clear();
        config.enrolment =
            Some(Enrolment { folder: folder.path().join("enrolment"), certificate_hours: 24 });
        let _bridge = serve(config);
        Self { keys, place, store, folder, _beacon, _bridge }
    }

    fn tickets(&self, tag: ClientTag, max_tunnels: u16) -> Vec<(u32, DayBytes)> {
        let digest = Digest::new().unwrap();
        let today = Epoch::of(now()).0;
        let day = |day| {
            let key = TicketSecret::new(&self.keys.tickets).day(digest, day);
            (day, DayBytes::new(key.client(digest, tag, max_tunnels).expose()))
        };
        (today..=today + 1).map(day).collect()
    }

    fn invite(&self, name: &str, not_after: u64) -> Invitation {
        let mut random = [0; 48];
        cloudtaser_tls::random(&mut random).unwrap();
        let id = InvitationId(random[..16].try_into().unwrap());
        let secret = InvitationSecret::new(random[16..].try_into().unwrap());
        let digest = Digest::new().unwrap();
        let invited = NewInvitation {
            id,
            secret_hash: hash_of(digest, &secret),
            name: name.to_owned(),
            not_after,
            max_tunnels: 32,
            approved: false,
        };
        let act = |state: &mut cloudtaser_relay::enrol::State| {
            ((), Some(state.invite(invited, now()).unwrap()))
        };
        self.store.act("a test", now(), act).unwrap();
        let tag = ClientTag(random[..8].try_into().unwrap());
        Invitation {
            bridge: self.keys.bridge.public(),
            id,
            secret,
            not_after,
            tag,
            max_tunnels: 8,
            beacons: vec![(self.place.address.to_string(), DOMAIN.to_owned())],
            days: self.tickets(tag, 8),
        }
    }

    fn decide(&self, key: PublicKey, yes: bool) {
        let act = move |state: &mut cloudtaser_relay::enrol::State| {
            let act = if yes { state.approve(&key, now()) } else { state.revoke(&key) };
            ((), Some(act.unwrap()))
        };
        self.store.act("a test", now(), act).unwrap();
    }

    fn audit(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("enrolment/audit.jsonl")).unwrap();
        let act = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line.pointer("/act").unwrap().as_str().unwrap().to_owned()
        };
        text.lines().map(act).collect()
    }

    /// A certificate that the bridge could have written.
    fn grant(&self, cluster: PublicKey, times: (u64, u64)) -> Grant {
        let certificate = Certificate::issue(&self.keys.bridge, cluster, [1; 16], times).unwrap();
        let tag = ClientTag([0x66; 8]);
        Grant { certificate, tag, max_tunnels: 32, days: self.tickets(tag, 32) }
    }

    /// A cluster that was let in.
    async fn enrolled(&self, name: &str) -> Enrolled {
        let cluster = Enrolled::invited(&self.invite(name, now() + 600));
        let joined = cluster.join_until_it_answers().await;
        assert_eq!(joined, Standing::Pending);
        self.decide(cluster.key(), true);
        let granted = keeper::ask(&cluster.home, &cluster.client, None).await.unwrap();
        assert!(matches!(granted, Standing::Enrolled(_)));
        cluster
    }
}

/// The cluster's side.
struct Enrolled {
    home: Arc<Home>,
    client: Arc<Client>,
    invitation: Invitation,
    _folder: tempfile::TempDir,
}

impl Enrolled {
    fn invited(invitation: &Invitation) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Arc::new(Home::prepare(&folder.path().join("cluster"), invitation).unwrap());
        let client = Arc::new(Client::new(home.key(), home.given().unwrap()).unwrap());
        Self { home, client, invitation: invitation.clone(), _folder: folder }
    }

    fn key(&self) -> PublicKey {
        self.home.key().public()
    }

    async fn join(&self) -> Result<Standing, NotEnrolled> {
        keeper::ask(&self.home, &self.client, Some(&self.invitation)).await
    }

    /// The bridge may not have found the beacon yet.
    async fn join_until_it_answers(&self) -> Standing {
        let began = Instant::now();
        loop {
            match self.join().await {
                Err(NotEnrolled::Client(error))
                    if error.is_passing() && began.elapsed() < PATIENCE =>
                {
                    sleep(Duration::from_millis(20)).await;
                }
                other => return other.unwrap(),
            }
        }
    }

    async fn refused(&self) -> ClientError {
        self.client.open_once().await.map(drop).expect_err("no session")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_let_in_when_somebody_has_said_yes_and_not_before() {
    let realm = Realm::new().await;
    let cluster = Enrolled::invited(&realm.invite("prod", now() + 600));
    assert_eq!(cluster.join_until_it_answers().await, Standing::Pending);
    let asked = keeper::ask(&cluster.home, &cluster.client, None).await.unwrap();
    assert_eq!(asked, Standing::Pending);
    assert!(matches!(cluster.refused().await, ClientError::Forbidden { .. }), "no door yet");
    realm.decide(cluster.key(), true);
    let Standing::Enrolled(until) = cluster.join().await.unwrap() else { panic!("not let in") };
    assert!(until.abs_diff(now() + 86_400) < 60);
    echoes(&mut cluster.client.open(PATIENCE).await.unwrap(), b"in").await;
    // What it was given outlives the process.
    let client = Client::new(cluster.home.key(), cluster.home.given().unwrap()).unwrap();
    echoes(&mut client.open(PATIENCE).await.unwrap(), b"again").await;
    assert_eq!(realm.audit(), ["invited", "joined", "approved", "granted"]);
}

/// The key of RFC 7515, appendix A.3, by this name.
fn shown(kid: &str) -> KeySet {
    let key = format!(
        "{{\"keys\":[{{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"{kid}\",\
         \"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\
         \"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}}]}}"
    );
    KeySet::read(br#"{"issuer":"https://a"}"#, key.as_bytes()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_an_issuer_are_kept_as_they_were_shown_by_whom_the_bridge_knows() {
    let realm = Realm::new().await;
    let stranger = Enrolled::invited(&realm.invite("prod", now() + 600));
    let error = keeper::show(&stranger.client, &shown("one")).await.unwrap_err();
    assert!(matches!(error, NotEnrolled::Refused(Refusal::NotEnrolled)), "{error:?}");
    let cluster = stranger;
    assert_eq!(cluster.join_until_it_answers().await, Standing::Pending);
    for kid in ["one", "one", "two"] {
        // This bridge verifies no token, so nobody has to say yes.
        let heard = keeper::show(&cluster.client, &shown(kid)).await.unwrap();
        assert_eq!(heard, Belief::NotNeeded);
    }
    assert_eq!(realm.audit(), ["invited", "joined", "issuer keys shown", "issuer keys shown"]);
    let state = realm.store.read().unwrap();
    assert_eq!(state.cluster(&cluster.key()).unwrap().keys, Some(shown("two")));
    realm.decide(cluster.key(), false);
    let error = keeper::show(&cluster.client, &shown("one")).await.unwrap_err();
    assert!(matches!(error, NotEnrolled::Refused(Refusal::Revoked)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_good_for_one_key_and_who_shows_it_again_is_written_down() {
    let realm = Realm::new().await;
    let invitation = realm.invite("prod", now() + 600);
    let first = Enrolled::invited(&invitation);
    assert_eq!(first.join_until_it_answers().await, Standing::Pending);
    assert_eq!(first.join().await.unwrap(), Standing::Pending, "an answer may get lost");
    let thief = Enrolled::invited(&invitation);
    let error = thief.join().await.unwrap_err();
    assert!(matches!(error, NotEnrolled::Refused(Refusal::Used)), "{error:?}");
    let asked = keeper::ask(&thief.home, &thief.client, None).await.unwrap_err();
    assert!(matches!(asked, NotEnrolled::Refused(Refusal::NotEnrolled)), "{asked:?}");
    assert_eq!(realm.audit(), ["invited", "joined", "replay refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_secret_an_old_invitation_and_a_stranger_get_nothing() {
    let realm = Realm::new().await;
    let good = Enrolled::invited(&realm.invite("one", now() + 600));
    good.join_until_it_answers().await;
    let mut guessed = realm.invite("two", now() + 600);
    guessed.secret = InvitationSecret::new([7; 32]);
    let error = Enrolled::invited(&guessed).join().await.unwrap_err();
    assert!(matches!(error, NotEnrolled::Refused(Refusal::Unknown)), "{error:?}");
    let late = Enrolled::invited(&realm.invite("three", now()));
    let error = late.join().await.unwrap_err();
    assert!(matches!(error, NotEnrolled::Refused(Refusal::Expired)), "{error:?}");
    assert_eq!(realm.audit().iter().filter(|act| *act == "joined").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_cuts_what_goes_on_and_keeps_out_what_comes() {
    let realm = Realm::new().await;
    let (cluster, other) = (realm.enrolled("prod").await, realm.enrolled("stays").await);
    let mut session = cluster.client.open(PATIENCE).await.unwrap();
    let mut others = other.client.open(PATIENCE).await.unwrap();
    echoes(&mut session, b"before").await;
    realm.decide(cluster.key(), false);
    let began = Instant::now();
    let end = timeout(PATIENCE, session.read_to_end(&mut Vec::new())).await.expect("it is cut");
    assert!(end.is_err(), "a cut looks like an end");
    println!("cut after {:?}", began.elapsed());
    let error = cluster.refused().await;
    assert!(matches!(error, ClientError::TurnedAway(Reception::Revoked)), "{error:?}");
    assert!(!error.is_passing(), "it is not tried again");
    let asked = keeper::ask(&cluster.home, &cluster.client, None).await.unwrap_err();
    assert!(matches!(asked, NotEnrolled::Refused(Refusal::Revoked)), "{asked:?}");
    echoes(&mut others, b"not meant").await;
    echoes(&mut other.client.open(PATIENCE).await.unwrap(), b"not meant").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ran_out_opens_nothing_until_it_is_renewed() {
    let realm = Realm::new().await;
    let cluster = realm.enrolled("prod").await;
    let old = realm.grant(cluster.key(), (now() - 7200, now() - 1));
    cluster.client.renew(cluster.home.take(&old).unwrap());
    let error = cluster.refused().await;
    assert!(matches!(error, ClientError::TurnedAway(Reception::Expired)), "{error:?}");
    let asked = keeper::ask(&cluster.home, &cluster.client, None).await.unwrap();
    assert!(matches!(asked, Standing::Enrolled(_)));
    echoes(&mut cluster.client.open(PATIENCE).await.unwrap(), b"renewed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_past_its_half_is_renewed_by_itself() {
    let realm = Realm::new().await;
    let cluster = realm.enrolled("prod").await;
    let waning = realm.grant(cluster.key(), (now() - 3600, now() + 600));
    cluster.client.renew(cluster.home.take(&waning).unwrap());
    let keeping =
        tokio::spawn(keeper::keep(Arc::clone(&cluster.home), Arc::clone(&cluster.client)));
    let began = Instant::now();
    while cluster.client.certificate().unwrap().not_after < now() + 3600 {
        assert!(began.elapsed() < PATIENCE, "it is not renewed");
        sleep(Duration::from_millis(20)).await;
    }
    keeping.abort();
    let kept = cluster.home.given().unwrap().certificate;
    assert_eq!(kept, cluster.client.certificate(), "it is on the disk as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_certificate_without_its_key_and_one_of_another_bridge_open_nothing() {
    let realm = Realm::new().await;
    let cluster = realm.enrolled("prod").await;
    let (thief, _) = KeyPair::generate().unwrap();
    // All that is in the cluster's folder but the key.
    let stolen = Client::new(&thief, cluster.home.given().unwrap()).unwrap();
    let error = stolen.open_once().await.map(drop).unwrap_err();
    assert!(matches!(error, ClientError::TurnedAway(Reception::Untrue)), "{error:?}");
    let (impostor, _) = KeyPair::generate().unwrap();
    let mut forged = realm.grant(cluster.key(), (now(), now() + 600));
    forged.certificate =
        Certificate::issue(&impostor, cluster.key(), [1; 16], (now(), now() + 600)).unwrap();
    cluster.client.renew(cluster.home.take(&forged).unwrap());
    let error = cluster.refused().await;
    assert!(matches!(error, ClientError::TurnedAway(Reception::Untrue)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_state_cannot_be_read_nobody_is_let_in_until_it_can() {
    let realm = Realm::new().await;
    let cluster = realm.enrolled("prod").await;
    let mut session = cluster.client.open(PATIENCE).await.unwrap();
    let path = realm.folder.path().join("enrolment/enrolment.json");
    let good = fs::read(&path).unwrap();
    fs::write(&path, b"{").unwrap();
    let end = timeout(PATIENCE, session.read_to_end(&mut Vec::new())).await.expect("it is cut");
    assert!(end.is_err());
    let error = cluster.refused().await;
    assert!(matches!(error, ClientError::TurnedAway(Reception::Revoked)), "{error:?}");
    fs::write(&path, good).unwrap();
    echoes(&mut cluster.client.open(PATIENCE).await.unwrap(), b"put back").await;
}

/// A broker of the cluster.
async fn broker(cluster: &Enrolled, limits: BrokerLimits) -> (SocketAddr, SocketAddr) {
    let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let key = cluster.home.key().clone();
    let client = Arc::clone(&cluster.client);
    let desk = Arc::new(Desk::of(client, key));
    let broker = Broker::bind(desk, free, Some(free), limits).await.unwrap();
    let addresses = (broker.address().unwrap(), broker.admin_address().unwrap());
    tokio::spawn(broker.serve(std::future::pending()));
    addresses
}

/// What a program does: shows a key, and is answered.
async fn ask_broker(at: SocketAddr, key: PublicKey) -> Result<(TcpStream, Pass), Answer> {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(&broker::request(&key)).await.unwrap();
    if let Some(answer) = Answer::of(stream.read_u8().await.unwrap()).unwrap() {
        return Err(answer);
    }
    let mut body = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut body).await.unwrap();
    Ok((stream, Pass::decode(&body).unwrap()))
}

type Opened = tokio_rustls::client::TlsStream<TcpStream>;

async fn open(
    stream: TcpStream,
    pass: &Pass,
    own: &KeyPair,
    credential: Credential,
) -> (Opened, Reception) {
    let mut config = raw::client_config(own, pass.bridge).unwrap();
    config.alpn_protocols = vec![pass.ticket.clone(), ENROLLED_PROTOCOL.to_vec()];
    let name = ServerName::try_from(pass.server_name.clone()).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let presentation = Presentation { protocol: PROXY_PROTOCOL.to_vec(), credential };
    stream.write_all(&presentation.encode()).await.unwrap();
    stream.flush().await.unwrap();
    let reception = Reception::of(stream.read_u8().await.unwrap()).unwrap();
    (stream, reception)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_gets_a_session_by_the_broker_with_a_key_of_its_own() {
    let realm = Realm::new().await;
    let cluster = realm.enrolled("prod").await;
    let (at, admin) = broker(&cluster, BrokerLimits::default()).await;
    let (own, _) = KeyPair::generate().unwrap();
    let (stream, pass) = ask_broker(at, own.public()).await.unwrap();
    assert_eq!(pass.bridge, realm.keys.bridge.public());
    let (mut session, reception) = open(stream, &pass, &own, pass.credential).await;
    assert_eq!(reception, Reception::Admitted);
    assert_eq!(session.read_u8().await.unwrap(), 0, "OpenBao is there");
    echoes(&mut session, b"through the broker").await;
    let metrics = get(admin, "/metrics").await;
    assert!(metrics.contains("cloudtaser_broker_connections 1"), "{metrics}");
    assert!(get(admin, "/readyz").await.starts_with("HTTP/1.1 200"));

    // The pass of one key is of no use to another.
    let (thief, _) = KeyPair::generate().unwrap();
    let (stream, pass) = ask_broker(at, own.public()).await.unwrap();
    let (_, reception) = open(stream, &pass, &thief, pass.credential).await;
    assert_eq!(reception, Reception::Untrue);
    // Nor is the certificate alone.
    let (stream, pass) = ask_broker(at, own.public()).await.unwrap();
    let alone = Credential { leaf: None, ..pass.credential };
    let (_, reception) = open(stream, &pass, &own, alone).await;
    assert_eq!(reception, Reception::Untrue);

    realm.decide(cluster.key(), false);
    let end = timeout(PATIENCE, session.read_to_end(&mut Vec::new())).await.expect("it is cut");
    assert!(end.is_err(), "the program's session ends with its cluster");
    let (stream, pass) = ask_broker(at, own.public()).await.unwrap();
    let (_, reception) = open(stream, &pass, &own, pass.credential).await;
    assert_eq!(reception, Reception::Revoked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_says_why_there_is_no_session() {
    let realm = Realm::new().await;
    let waiting = Enrolled::invited(&realm.invite("waits", now() + 600));
    let (key, _) = KeyPair::generate().unwrap();
    let (at, admin) = broker(&waiting, BrokerLimits::default()).await;
    let answer = ask_broker(at, key.public()).await.map(drop).unwrap_err();
    assert_eq!(answer, Answer::NotEnrolled);
    assert!(get(admin, "/readyz").await.starts_with("HTTP/1.1 503"));

    let cluster = realm.enrolled("prod").await;
    let limits = BrokerLimits { connections: 1, ..BrokerLimits::default() };
    let (at, _) = broker(&cluster, limits).await;
    let _first = ask_broker(at, key.public()).await.unwrap();
    let answer = ask_broker(at, key.public()).await.map(drop).unwrap_err();
    assert_eq!(answer, Answer::Busy);

    // One source has its share, and others theirs.
    let limits = BrokerLimits { per_source: 2, ..BrokerLimits::default() };
    let (at, _) = broker(&cluster, limits).await;
    let from = async |address: &str| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(address.parse().unwrap()).unwrap();
        let mut stream = socket.connect(at).await.unwrap();
        stream.write_all(&broker::request(&key.public())).await.unwrap();
        (Answer::of(stream.read_u8().await.unwrap()).unwrap(), stream)
    };
    let (first, second) = (from("127.0.0.9:0").await, from("127.0.0.9:0").await);
    assert_eq!((first.0, second.0), (None, None), "a pass each");
    assert_eq!(from("127.0.0.9:0").await.0, Some(Answer::Busy));
    assert_eq!(from("127.0.0.8:0").await.0, None);

    let (at, admin) = broker(&cluster, BrokerLimits::default()).await;
    let garbage = &mut send(&Place { key, address: at, admin }, &[b'x'; 36]).await;
    super::support::is_closed_in_silence(garbage).await;
    let Realm { _beacon, .. } = realm;
    _beacon.kill();
    let (key, _) = KeyPair::generate().unwrap();
    // What the beacon had begun goes on for a moment.
    let began = Instant::now();
    let answer = loop {
        match ask_broker(at, key.public()).await.map(drop) {
            Err(answer) => break answer,
            Ok(()) => assert!(began.elapsed() < PATIENCE),
        }
        sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(answer, Answer::NoBeacon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stops_takes_nothing_new_and_lets_sessions_end() {
    let realm = Realm::new().await;
    let cluster = realm.enrolled("prod").await;
    let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let key = cluster.home.key().clone();
    let desk = Arc::new(Desk::of(Arc::clone(&cluster.client), key));
    let bound = Broker::bind(desk, free, None, BrokerLimits::default());
    let broker = bound.await.unwrap();
    let at = broker.address().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(broker.serve(async { drop(stopped.await) }));
    let (own, _) = KeyPair::generate().unwrap();
    let (stream, pass) = ask_broker(at, own.public()).await.unwrap();
    let (mut session, _) = open(stream, &pass, &own, pass.credential).await;
    assert_eq!(session.read_u8().await.unwrap(), 0);
    stop.send(()).unwrap();
    let began = Instant::now();
    while TcpStream::connect(at).await.is_ok() {
        assert!(began.elapsed() < PATIENCE);
        sleep(Duration::from_millis(10)).await;
    }
    echoes(&mut session, b"while it drains").await;
    assert!(!serving.is_finished());
    drop(session);
    timeout(PATIENCE, serving).await.expect("it ends with the last session").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_with_an_admission_of_its_own_is_carried_by_a_broker_too() {
    let realm = Realm::new().await;
    let (cluster, other) = (realm.enrolled("prod").await, realm.enrolled("own").await);
    let (at, _) = broker(&cluster, BrokerLimits::default()).await;
    // The other one dials the broker as if it were the beacon.
    let folder = other._folder.path().join("cluster/cluster.json");
    let text = fs::read_to_string(&folder).unwrap();
    let text = text.replace(&realm.place.address.to_string(), &at.to_string());
    fs::write(&folder, text).unwrap();
    let client = Client::new(other.home.key(), other.home.given().unwrap()).unwrap();
    echoes(&mut client.open(PATIENCE).await.unwrap(), b"its own ticket").await;
}
