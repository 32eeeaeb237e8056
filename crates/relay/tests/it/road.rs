//! What comes out is what went in.

use std::time::Duration;

use cloudtaser_relay::{
    beacon::config::Limits,
    client::{ClientError, Proxy},
};
use cloudtaser_tls::raw::KeyPair;
use rustls::NamedGroup;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::support::{Keys, PATIENCE, Road, beacon, echo, echoes, get, refused, serve};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_through_by_the_hybrid_exchange() {
    let road = Road::new().await;
    let mut session = road.session().await;
    let group = session.get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    echoes(&mut session, b"hello").await;
    road.until_metric("cloudtaser_beacon_tunnels 1").await;
    session.shutdown().await.unwrap();
    let mut rest = Vec::new();
    session.read_to_end(&mut rest).await.unwrap();
    road.until_metric("cloudtaser_beacon_tunnels 0").await;
}

/// A stream of bytes that no repetition could pass for.
pub(crate) fn noise(len: usize, mut state: u64) -> Vec<u8> {
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> =
        std::iter::repeat_with(&mut next).take(len / 8 + 1).flatten().collect();
    bytes.truncate(len);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_is_spliced_and_exact_in_both_directions_at_once() {
    let road = Road::new().await;
    let sent = noise(32 << 20, 0x9e37_79b9_7f4a_7c15);
    let session = road.session().await;
    let (mut read, mut write) = tokio::io::split(session);
    let mut received = Vec::new();
    let (written, _) = tokio::join!(
        async {
            let mut rest = &sent[..];
            let mut size = 1;
            while !rest.is_empty() {
                let (part, more) = rest.split_at(size.min(rest.len()));
                write.write_all(part).await.unwrap();
                rest = more;
                size = size * 7 % 300_007 + 1;
            }
            write.shutdown().await
        },
        read.read_to_end(&mut received)
    );
    written.unwrap();
    assert!(received == sent, "{} of {} bytes came back", received.len(), sent.len());
    road.until_metric("cloudtaser_beacon_tunnels 0").await;
    let metrics = road.metrics().await;
    let spliced = metrics.lines().find_map(|line| {
        line.strip_prefix("cloudtaser_beacon_carried_bytes_total{way=\"Spliced\"} ")
    });
    let spliced: u64 = spliced.unwrap().parse().unwrap();
    println!("{spliced} bytes were spliced");
    assert!(spliced > 1 << 20, "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_clients_than_idle_legs_all_get_through() {
    let road = Road::new().await;
    let sessions = (0..20_u8).map(|number| {
        let client = std::sync::Arc::clone(&road.client);
        tokio::spawn(async move {
            let mut session = client.open(PATIENCE).await.unwrap();
            echoes(&mut session, &[number; 1000]).await;
            session
        })
    });
    for session in sessions.collect::<Vec<_>>() {
        session.await.unwrap();
    }
    road.until_metric("cloudtaser_beacon_tunnels 0").await;
    road.until_metric("cloudtaser_beacon_legs 2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_key_the_bridge_does_not_know_is_told_so_and_then_denied() {
    let road = Road::new().await;
    let (stranger, _) = KeyPair::generate().unwrap();
    let client = road.keys.client_with(&[&road.place], &stranger, 32);
    for _ in 0..5 {
        let error = client.open_once().await.map(drop).unwrap_err();
        assert!(matches!(error, ClientError::Unknown(_)), "{error:?}");
    }
    let mut last = refused(&client).await;
    for _ in 0..100 {
        if matches!(last, ClientError::Silence { .. }) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        last = refused(&client).await;
    }
    assert!(matches!(last, ClientError::Silence { .. }), "{last:?}");
    // Others are not meant.
    echoes(&mut road.session().await, b"still").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_as_many_tunnels_as_its_ticket_says() {
    let road = Road::new().await;
    let client = road.keys.client_with(&[&road.place], &road.keys.client, 2);
    let first = client.open(PATIENCE).await.unwrap();
    let _second = client.open(PATIENCE).await.unwrap();
    assert!(matches!(refused(&client).await, ClientError::Silence { .. }));
    road.until_refused("ClientLimit", 1).await;
    drop(first);
    client.open(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn openbao_that_is_away_is_named() {
    let keys = Keys::new();
    let (place, _beacon) = beacon(Limits::default(), super::support::any(), None);
    let _bridge = keys.bridge(&[&place], "127.0.0.1:1".parse().unwrap());
    let error = keys.client(&[&place]).open(Duration::from_secs(2)).await.map(drop).unwrap_err();
    assert!(matches!(error, ClientError::Unreachable), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_takes_no_more_sessions_than_it_offered() {
    let keys = Keys::new();
    let openbao = echo().await;
    let limits = Limits { pairing_seconds: 1, ..Limits::default() };
    let (place, _beacon) = beacon(limits, super::support::any(), None);
    let mut config = keys.config(&[&place], openbao);
    config.max_sessions = 2;
    let _bridge = serve(config);
    let client = keys.client(&[&place]);
    let first = client.open(PATIENCE).await.unwrap();
    let _second = client.open(PATIENCE).await.unwrap();
    assert!(matches!(refused(&client).await, ClientError::Silence { .. }));
    drop(first);
    client.open(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_is_a_door_to_openbao() {
    let road = Road::new().await;
    let client = road.keys.client(&[&road.place]);
    let free = "127.0.0.1:0".parse().unwrap();
    let proxy = Proxy::bind(client, free, PATIENCE).await.unwrap();
    let address = proxy.address().unwrap();
    let serving = tokio::spawn(proxy.serve(std::future::pending()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    echoes(&mut stream, b"GET /v1/sys/health").await;
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_on_its_own_address() {
    let road = Road::new().await;
    for path in ["/healthz", "/readyz"] {
        assert!(get(road.place.admin, path).await.starts_with("HTTP/1.1 200 OK"));
    }
    assert!(get(road.place.admin, "/").await.starts_with("HTTP/1.1 404"));
}
