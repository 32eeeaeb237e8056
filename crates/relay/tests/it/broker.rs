//! A broker that carries the sessions of programs, and cannot open one.

use std::{
    fs,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use cloudtaser_relay::{
    broker::{Broker, Desk, Limits},
    client::Client,
    proto::{
        broker::{self, Answer, Pass},
        credential::{Credential, ENROLLED_PROTOCOL, Presentation, Reception},
        session::PROXY_PROTOCOL,
    },
};
use cloudtaser_tls::raw::{self, KeyPair, PublicKey};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::{
    abuse::send,
    enrolled::{Enrolled, Realm, now},
    support::{PATIENCE, Place, echoes, get, is_closed_in_silence},
};

/// A broker of the cluster.
async fn broker(cluster: &Enrolled, limits: Limits) -> (SocketAddr, SocketAddr) {
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
    let (at, admin) = broker(&cluster, Limits::default()).await;
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
    let (at, admin) = broker(&waiting, Limits::default()).await;
    let answer = ask_broker(at, key.public()).await.map(drop).unwrap_err();
    assert_eq!(answer, Answer::NotEnrolled);
    assert!(get(admin, "/readyz").await.starts_with("HTTP/1.1 503"));

    let cluster = realm.enrolled("prod").await;
    let limits = Limits { connections: 1, ..Limits::default() };
    let (at, _) = broker(&cluster, limits).await;
    let _first = ask_broker(at, key.public()).await.unwrap();
    let answer = ask_broker(at, key.public()).await.map(drop).unwrap_err();
    assert_eq!(answer, Answer::Busy);

    // One source has its share, and others theirs.
    let limits = Limits { per_source: 2, ..Limits::default() };
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

    let (at, admin) = broker(&cluster, Limits::default()).await;
    let garbage = &mut send(&Place { key, address: at, admin }, &[b'x'; 36]).await;
    is_closed_in_silence(garbage).await;
    realm.beacon.kill();
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
    let bound = Broker::bind(desk, free, None, Limits::default());
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
    let (at, _) = broker(&cluster, Limits::default()).await;
    // The other one dials the broker as if it were the beacon.
    let folder = other.folder.path().join("cluster/cluster.json");
    let text = fs::read_to_string(&folder).unwrap();
    let text = text.replace(&realm.place.address.to_string(), &at.to_string());
    fs::write(&folder, text).unwrap();
    let client = Client::new(other.home.key(), other.home.given().unwrap()).unwrap();
    echoes(&mut client.open(PATIENCE).await.unwrap(), b"its own ticket").await;
}
