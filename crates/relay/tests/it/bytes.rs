//! What the beacon does with bytes and with ends, seen without TLS: both sides of the tunnel are the
//! test's.

use std::time::Duration;

use cloudtaser_relay::beacon::config::Limits;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{
    abuse::{FakeBridge, hello, send},
    road::noise,
    support::{Keys, PATIENCE, Served, any, beacon},
};

/// Both ends of a tunnel; what keeps it up must be kept.
struct Tunnel {
    client: TcpStream,
    leg: TcpStream,
    _bridge: FakeBridge,
    _beacon: Served,
}

async fn tunnel(limits: Limits) -> Tunnel {
    let (place, served) = beacon(limits, any(), None);
    let keys = Keys::new();
    let mut bridge = FakeBridge::connect(&place, &keys.bridge).await;
    let (session, _) = bridge.register(&keys.tickets).await.unwrap();
    let mut leg = send(&place, &bridge.preamble(session, 0)).await;
    let bytes = hello(&keys, |_| {});
    let client = send(&place, &bytes).await;
    let mut first = vec![0; 48 + bytes.len()];
    timeout(PATIENCE, leg.read_exact(&mut first)).await.unwrap().unwrap();
    assert!(first.ends_with(&bytes), "the bridge gets the hello as the client sent it");
    Tunnel { client, leg, _bridge: bridge, _beacon: served }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_every_byte_and_the_end() {
    let Tunnel { mut client, mut leg, _bridge, _beacon } = tunnel(Limits::default()).await;
    let sent = noise(24 << 20, 77);
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        client
    });
    let mut received = Vec::new();
    let mut part = vec![0; 1 << 20];
    loop {
        let len = timeout(PATIENCE, leg.read(&mut part)).await.unwrap().unwrap();
        if len == 0 {
            break;
        }
        received.extend_from_slice(&part[..len]);
        sleep(Duration::from_millis(u64::try_from(received.len() % 7).unwrap())).await;
    }
    assert!(received == expected, "{} bytes", received.len());
    // The other way is open still.
    leg.write_all(b"answer").await.unwrap();
    drop(leg);
    let mut client = writing.await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_ends_and_is_not_followed_is_cut_off_after_a_while() {
    let limits = Limits { half_open_seconds: 1, ..Limits::default() };
    let Tunnel { mut client, mut leg, _bridge, _beacon } = tunnel(limits).await;
    client.shutdown().await.unwrap();
    assert_eq!(timeout(PATIENCE, leg.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    let began = Instant::now();
    let end = timeout(PATIENCE, client.read(&mut [0; 1])).await.unwrap();
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_breaks_in_the_middle_of_bulk_breaks_the_leg() {
    let Tunnel { mut client, mut leg, _bridge, _beacon } = tunnel(Limits::default()).await;
    client.write_all(&noise(1 << 20, 5)).await.unwrap();
    client.set_zero_linger().unwrap();
    drop(client);
    let mut received = Vec::new();
    let end = timeout(PATIENCE, leg.read_to_end(&mut received)).await.unwrap();
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_grows_no_older_than_it_may() {
    let limits = Limits { tunnel_seconds: 1, ..Limits::default() };
    let Tunnel { mut client, leg: _leg, _bridge, _beacon } = tunnel(limits).await;
    let end = timeout(PATIENCE, client.read(&mut [0; 1])).await.unwrap();
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}
