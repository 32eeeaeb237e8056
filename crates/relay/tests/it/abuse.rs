//! Strangers get no byte and no reason; who breaks the protocol gets nothing from others.

use std::{sync::Arc, time::Duration};

use cloudtaser_relay::{
    beacon::config::{Bridges, Limits},
    client::ClientError,
    proto::{
        frame::{self, BeaconToBridge, BridgeToBeacon, KeyBytes, SessionId},
        leg::{EXPORTER_LABEL, Go, Preamble},
        rendezvous::{Epoch, RendezvousId},
        session::PROXY_PROTOCOL,
        ticket::{ClientTag, Ticket, TicketSecret},
    },
};
use cloudtaser_tls::{
    Digest, MacKey,
    raw::{self, KeyPair},
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::support::{
    DOMAIN, Keys, PATIENCE, Place, Road, any, beacon, echoes, is_closed_in_silence, refused,
};

fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// The hello of a client, with a ticket made as `edit` says.
pub(crate) fn hello(keys: &Keys, edit: impl FnOnce(&mut Ticket)) -> Vec<u8> {
    let config = raw::client_config(&keys.client, keys.bridge.public()).unwrap();
    hello_of(config, keys, ClientTag([3; 8]), edit)
}

/// The hello of another client.
pub(crate) fn hello_as(keys: &Keys, tag: ClientTag) -> Vec<u8> {
    let config = raw::client_config(&keys.client, keys.bridge.public()).unwrap();
    hello_of(config, keys, tag, |_| {})
}

fn hello_of(
    mut config: rustls::ClientConfig,
    keys: &Keys,
    tag: ClientTag,
    edit: impl FnOnce(&mut Ticket),
) -> Vec<u8> {
    let digest = Digest::new().unwrap();
    let day = Epoch::of(now());
    let id = RendezvousId::new(digest, &keys.bridge.public(), day);
    let mut nonce = [0; 12];
    cloudtaser_tls::random(&mut nonce).unwrap();
    let issued_at = u32::try_from(now()).unwrap();
    let mut ticket = Ticket { tag, day: day.0, max_tunnels: 32, issued_at, nonce };
    let secret = TicketSecret::new(&keys.tickets).day(digest, day.0);
    let key = secret.client(digest, tag, 32);
    edit(&mut ticket);
    let ticket = key.protocol(digest, &id, &ticket);
    config.alpn_protocols = vec![ticket, PROXY_PROTOCOL.to_vec()];
    let name = ServerName::try_from(id.server_name(DOMAIN)).unwrap();
    let mut bytes = Vec::new();
    rustls::ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut bytes).unwrap();
    bytes
}

pub(crate) async fn send(place: &Place, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(place.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_oversize_are_closed_at_once_and_in_silence() {
    let road = Road::new().await;
    let mut oversize = vec![22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc];
    oversize.resize(16_000, 0);
    for (bytes, reason) in
        [(&b"GET / HTTP/1.1\r\n\r\n"[..], "Garbage"), (&[0; 3000], "Garbage"), (&oversize, "Hello")]
    {
        let began = Instant::now();
        // A reset may come before everything is written.
        let mut stream = TcpStream::connect(road.place.address).await.unwrap();
        drop(stream.write_all(bytes).await);
        is_closed_in_silence(&mut stream).await;
        assert!(began.elapsed() < Duration::from_secs(2), "{reason}: {:?}", began.elapsed());
    }
    road.until_refused("Garbage", 2).await;
    road.until_refused("Hello", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_that_dribbles_or_never_comes_is_cut_at_one_deadline_and_costs_no_work() {
    let limits = Limits { hello_seconds: 1, ..Limits::default() };
    let road = Road::with(limits).await;
    let bytes = hello(&road.keys, |_| {});
    let began = Instant::now();
    let mut silent = TcpStream::connect(road.place.address).await.unwrap();
    let mut slow = TcpStream::connect(road.place.address).await.unwrap();
    slow.set_nodelay(true).unwrap();
    for byte in &bytes {
        if slow.write_all(&[*byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_millis(20)).await;
        if began.elapsed() > Duration::from_secs(10) {
            break;
        }
    }
    is_closed_in_silence(&mut slow).await;
    is_closed_in_silence(&mut silent).await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    road.until_refused("Slow", 2).await;
    // Whoever sends the same in two pieces is let in.
    let (first, second) = bytes.split_at(700);
    let mut halves = send(&road.place, first).await;
    sleep(Duration::from_millis(100)).await;
    halves.write_all(second).await.unwrap();
    let mut answer = [0; 1];
    timeout(PATIENCE, halves.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, [22], "the bridge's hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_old_or_used_ticket_is_met_with_silence() {
    let road = Road::new().await;
    let cases: [(Vec<u8>, &str); 4] = [
        (hello(&road.keys, |ticket| ticket.max_tunnels = 33), "Ticket"),
        (hello(&road.keys, |ticket| ticket.day -= 5), "Ticket"),
        (hello(&road.keys, |ticket| ticket.issued_at -= 100), "Stale"),
        (hello(&Keys::new(), |_| {}), "Name"),
    ];
    for (bytes, _) in &cases {
        is_closed_in_silence(&mut send(&road.place, bytes).await).await;
    }
    for (reason, count) in [("Ticket", 2), ("Stale", 1), ("Name", 1)] {
        road.until_refused(reason, count).await;
    }
    let good = hello(&road.keys, |_| {});
    let mut first = send(&road.place, &good).await;
    let mut answer = [0; 1];
    timeout(PATIENCE, first.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, [22]);
    is_closed_in_silence(&mut send(&road.place, &good).await).await;
    road.until_refused("Replay", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_without_the_hybrid_exchange_is_not_carried() {
    let road = Road::new().await;
    let mut classical = (*cloudtaser_tls::provider().unwrap()).clone();
    classical.kx_groups.retain(|group| group.name() == rustls::NamedGroup::X25519);
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(classical))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let bytes = hello_of(config, &road.keys, ClientTag([3; 8]), |_| {});
    is_closed_in_silence(&mut send(&road.place, &bytes).await).await;
    road.until_refused("Classical", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_do_not_keep_others_out() {
    let limits = Limits { pending_per_source: 8, pending: 64, ..Limits::default() };
    let road = Road::with(limits).await;
    // The whole loopback is one network, but each address of it is a source.
    let mut silent = Vec::new();
    for _ in 0..8 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.77:0".parse().unwrap()).unwrap();
        silent.push(socket.connect(road.place.address).await.unwrap());
    }
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.77:0".parse().unwrap()).unwrap();
    is_closed_in_silence(&mut socket.connect(road.place.address).await.unwrap()).await;
    road.until_refused("BeaconLimit", 1).await;
    echoes(&mut road.session().await, b"another source").await;
}

/// A bridge that does only what a test says.
pub(crate) struct FakeBridge {
    stream: tokio_rustls::client::TlsStream<TcpStream>,
    received: Vec<u8>,
}

impl FakeBridge {
    pub(crate) async fn connect(place: &Place, key: &KeyPair) -> Self {
        let mut config = raw::client_config(key, place.key.public()).unwrap();
        config.alpn_protocols = vec![frame::PROTOCOL.to_vec()];
        let stream = TcpStream::connect(place.address).await.unwrap();
        let name = ServerName::try_from(format!("ctl.{DOMAIN}")).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        Self { stream, received: Vec::new() }
    }

    async fn say(&mut self, frames: &[BridgeToBeacon]) {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        self.stream.write_all(&bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn hear(&mut self) -> Option<BeaconToBridge> {
        loop {
            match BeaconToBridge::decode(&mut self.received).unwrap() {
                Some(BeaconToBridge::Ping(_)) => {}
                Some(frame) => return Some(frame),
                None => match timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await {
                    Ok(Ok(0) | Err(_)) => return None,
                    Ok(Ok(_)) => {}
                    Err(_late) => panic!("the beacon says nothing"),
                },
            }
        }
    }

    pub(crate) async fn register(&mut self, tickets: &[u8; 32]) -> Option<(SessionId, u16)> {
        self.register_with(tickets, 10).await
    }

    pub(crate) async fn register_with(
        &mut self,
        tickets: &[u8; 32],
        tunnels: u32,
    ) -> Option<(SessionId, u16)> {
        let day = Epoch::of(now()).0;
        let key = TicketSecret::new(tickets).day(Digest::new().unwrap(), day);
        self.say(&[
            BridgeToBeacon::Register { version: 1, legs: 1, epochs: vec![day] },
            BridgeToBeacon::DayKey { day, key: KeyBytes(key.expose()) },
            BridgeToBeacon::Credit { tunnels },
        ])
        .await;
        match self.hear().await? {
            BeaconToBridge::Registered { session, others, .. } => Some((session, others)),
            _ => None,
        }
    }

    pub(crate) fn preamble(&self, session: SessionId, counter: u64) -> [u8; 64] {
        let (_, connection) = self.stream.get_ref();
        let key = connection.export_keying_material([0; 32], EXPORTER_LABEL, None).unwrap();
        Preamble::encode(Digest::new().unwrap(), &MacKey::new(&key), session, counter)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_may_not_register_is_told_so() {
    let (allowed, stranger) = (Keys::new(), Keys::new());
    let bridges = Bridges::Only([allowed.bridge.public()].into());
    let (place, _beacon) = beacon(Limits::default(), bridges, None);
    let mut fake = FakeBridge::connect(&place, &stranger.bridge).await;
    fake.say(&[BridgeToBeacon::Register { version: 1, legs: 1, epochs: vec![0] }]).await;
    let heard = fake.hear().await;
    assert_eq!(heard, Some(BeaconToBridge::Refused(frame::Refusal::NotAllowed)));
    assert!(FakeBridge::connect(&place, &allowed.bridge).await.register(&[1; 32]).await.is_some());
    let mut newer = FakeBridge::connect(&place, &allowed.bridge).await;
    newer.say(&[BridgeToBeacon::Register { version: 9, legs: 1, epochs: vec![0] }]).await;
    let heard = newer.hear().await;
    assert_eq!(heard, Some(BeaconToBridge::Refused(frame::Refusal::Version)));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_key_can_claim_a_bridges_name() {
    let road = Road::new().await;
    let thief = Keys::new();
    let mut fake = FakeBridge::connect(&road.place, &thief.bridge).await;
    // It may say all that the true bridge says, its tickets' secret included.
    assert_eq!(fake.register(&road.keys.tickets).await.map(|(_, others)| others), Some(0));
    for _ in 0..10 {
        echoes(&mut road.session().await, b"the true one").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_claim_of_one_key_is_counted_and_bounded_and_takes_nothing_away() {
    let limits = Limits { bridges_per_key: 2, ..Limits::default() };
    let road = Road::with(limits).await;
    let mut second = FakeBridge::connect(&road.place, &road.keys.bridge).await;
    let (_, others) = second.register(&road.keys.tickets).await.unwrap();
    assert_eq!(others, 1);
    let mut third = FakeBridge::connect(&road.place, &road.keys.bridge).await;
    assert!(third.register(&road.keys.tickets).await.is_none());
    // The second has no legs: clients are given those of the first.
    for _ in 0..10 {
        echoes(&mut road.session().await, b"one with legs").await;
        road.until_metric("cloudtaser_beacon_legs 2").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leg_is_taken_once_and_with_the_key_of_its_session_alone() {
    let (place, _beacon) = beacon(Limits::default(), any(), None);
    let keys = Keys::new();
    let mut fake = FakeBridge::connect(&place, &keys.bridge).await;
    let (session, _) = fake.register(&keys.tickets).await.unwrap();
    let mut other = FakeBridge::connect(&place, &Keys::new().bridge).await;
    other.register(&keys.tickets).await.unwrap();

    let mut leg = send(&place, &fake.preamble(session, 0)).await;
    let mut client = send(&place, &hello(&keys, |_| {})).await;
    let mut go = [0; 48];
    timeout(PATIENCE, leg.read_exact(&mut go)).await.unwrap().unwrap();
    let go = Go::decode(&go).unwrap();
    assert_eq!(go.tag, ClientTag([3; 8]));
    assert_eq!(go.client, client.local_addr().unwrap());

    is_closed_in_silence(&mut send(&place, &fake.preamble(session, 0)).await).await;
    is_closed_in_silence(&mut send(&place, &other.preamble(session, 1)).await).await;
    is_closed_in_silence(&mut send(&place, &fake.preamble(SessionId([0; 16]), 2)).await).await;
    let mut changed = fake.preamble(session, 3);
    changed[30] ^= 1;
    is_closed_in_silence(&mut send(&place, &changed).await).await;

    // The bridge breaks in the middle: the client is told by a failure and not by an end.
    leg.set_zero_linger().unwrap();
    drop(leg);
    let read = timeout(PATIENCE, client.read(&mut [0; 1])).await.unwrap();
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leg_that_died_while_it_was_idle_is_not_given_to_a_client() {
    let (place, _beacon) = beacon(Limits::default(), any(), None);
    let keys = Keys::new();
    let mut fake = FakeBridge::connect(&place, &keys.bridge).await;
    let (session, _) = fake.register(&keys.tickets).await.unwrap();
    drop(send(&place, &fake.preamble(session, 0)).await);
    drop(send(&place, &[&fake.preamble(session, 1)[..], b"early"].concat()).await);
    sleep(Duration::from_millis(300)).await;
    let _client = send(&place, &hello(&keys, |_| {})).await;
    assert_eq!(fake.hear().await, Some(BeaconToBridge::Want { legs: 1 }));
    let mut leg = send(&place, &fake.preamble(session, 2)).await;
    timeout(PATIENCE, leg.read_exact(&mut [0; 48])).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_sends_no_leg_costs_its_clients_and_nobody_else() {
    let limits = Limits { pairing_seconds: 1, waiting_per_bridge: 3, ..Limits::default() };
    let road = Road::with(limits).await;
    let keys = Keys::new();
    let mut fake = FakeBridge::connect(&road.place, &keys.bridge).await;
    fake.register(&keys.tickets).await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(send(&road.place, &hello(&keys, |_| {})).await);
    }
    echoes(&mut road.session().await, b"a neighbour").await;
    for stream in &mut waiting {
        is_closed_in_silence(stream).await;
    }
    road.until_refused("NoLeg", 3).await;
    road.until_refused("BridgeLimit", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_bridge_behind_a_false_beacon_is_not_spoken_to() {
    // The beacon gives the client to whom it likes: here to a server with another key.
    let keys = Keys::new();
    let impostor = Keys::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = Place {
        key: impostor.bridge.clone(),
        address: listener.local_addr().unwrap(),
        admin: listener.local_addr().unwrap(),
    };
    let server =
        raw::server_config(&impostor.bridge, raw::Peers::AnyKey, &[PROXY_PROTOCOL]).unwrap();
    tokio::spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            drop(acceptor.accept(stream).await);
        }
    });
    let error = refused(&keys.client(&[&place])).await;
    assert!(matches!(error, ClientError::Intercepted(_)), "{error:?}");
    assert!(!error.is_passing(), "it is not tried again");
}
