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

/// Bytes that repeat after a prime number of them, so that none can be lost, doubled or moved
/// without all that follow being others.
struct Pattern(Vec<u8>);

impl Pattern {
    fn new(seed: u64) -> Self {
        Self(noise(4_194_319, seed))
    }

    /// At most so many bytes from this place on.
    fn at(&self, place: u64, most: usize) -> &[u8] {
        let from = usize::try_from(place % self.0.len() as u64).unwrap();
        &self.0[from..self.0.len().min(from + most)]
    }
}

const GIB: u64 = 1 << 30;

async fn write_pattern(mut to: tokio::net::tcp::OwnedWriteHalf, seed: u64) {
    let pattern = Pattern::new(seed);
    let (mut place, mut size) = (0_u64, 1_usize);
    while place < GIB {
        let left = usize::try_from(GIB - place).unwrap();
        let part = pattern.at(place, size.min(left));
        to.write_all(part).await.unwrap();
        place += part.len() as u64;
        // From a byte to a megabyte, in no order.
        size = size * 7919 % 1_000_003 + 1;
    }
    to.shutdown().await.unwrap();
}

async fn read_pattern(mut from: tokio::net::tcp::OwnedReadHalf, seed: u64) {
    let pattern = Pattern::new(seed);
    let (mut place, mut size) = (0_u64, 1_usize);
    let mut part = vec![0; 1_000_003];
    loop {
        let len = timeout(PATIENCE, from.read(&mut part[..size])).await.unwrap().unwrap();
        if len == 0 {
            break;
        }
        let mut read = &part[..len];
        while !read.is_empty() {
            let wanted = pattern.at(place, read.len());
            let (same, rest) = read.split_at(wanted.len());
            assert!(same == wanted, "other bytes at {place}");
            place += same.len() as u64;
            read = rest;
        }
        size = size * 6151 % 1_000_003 + 1;
    }
    assert_eq!(place, GIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_each_way_in_random_pieces_is_exact_to_its_end() {
    let Tunnel { client, leg, _bridge, _beacon } = tunnel(Limits::default()).await;
    let ((client_read, client_write), (leg_read, leg_write)) =
        (client.into_split(), leg.into_split());
    let all = [
        tokio::spawn(write_pattern(client_write, 21)),
        tokio::spawn(write_pattern(leg_write, 22)),
        tokio::spawn(read_pattern(leg_read, 21)),
        tokio::spawn(read_pattern(client_read, 22)),
    ];
    for one in all {
        one.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beacon_that_is_killed_in_the_middle_of_bulk_is_a_failure_at_both_ends() {
    let Tunnel { mut client, mut leg, _bridge, _beacon } = tunnel(Limits::default()).await;
    let flood = tokio::spawn(async move {
        let part = noise(1 << 20, 6);
        while client.write_all(&part).await.is_ok() {}
        client
    });
    leg.read_exact(&mut vec![0; 4 << 20]).await.unwrap();
    _beacon.kill();
    let mut rest = vec![0; 1 << 20];
    let end = loop {
        match timeout(PATIENCE, leg.read(&mut rest)).await.unwrap() {
            Ok(0) => break Ok(()),
            Ok(_) => {}
            Err(error) => break Err(error.kind()),
        }
    };
    // TCP cannot tell a killed process's end from another; the session inside can.
    println!("the leg ends with {end:?}");
    timeout(PATIENCE, flood).await.expect("the client is told").unwrap();
}
