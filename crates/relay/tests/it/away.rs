//! Parties that go away, and come back.

use std::{sync::Arc, time::Duration};

use cloudtaser_relay::{beacon::config::Limits, client::ClientError};
use tokio::{
    io::AsyncReadExt as _,
    time::{Instant, timeout},
};

use super::support::{Keys, PATIENCE, Road, any, beacon, echo, echoes, get, refused};

#[tokio::test(flavor = "multi_thread")]
async fn a_beacon_that_was_killed_is_found_again_by_the_bridge() {
    let road = Road::new().await;
    let mut session = road.session().await;
    echoes(&mut session, b"before").await;
    let Road { keys, place, beacon: first, bridge: _bridge, client, .. } = road;
    first.kill();
    drop(session);
    // The port is free when the killed one's tasks are gone.
    let (_, _again) = loop {
        let free = std::net::TcpListener::bind(place.address);
        if free.is_ok() {
            drop(free);
            break beacon(Limits::default(), any(), Some(&place));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let mut session = client.open(PATIENCE).await.unwrap();
    echoes(&mut session, b"after").await;
    drop(keys);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_beacon_the_client_says_which_it_cannot_reach() {
    let keys = Keys::new();
    let (place, served) = beacon(Limits::default(), any(), None);
    served.stop().await;
    let error = refused(&keys.client(&[&place])).await;
    assert!(matches!(error, ClientError::Beacon { .. }), "{error:?}");
    assert!(error.to_string().contains(&place.address.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_beacons_one_is_enough() {
    let keys = Keys::new();
    let openbao = echo().await;
    let (first, first_served) = beacon(Limits::default(), any(), None);
    let (second, _second_served) = beacon(Limits::default(), any(), None);
    let _bridge = keys.bridge(&[&first, &second], openbao);
    let client = Arc::new(keys.client(&[&first, &second]));
    echoes(&mut client.open(PATIENCE).await.unwrap(), b"both").await;
    first_served.stop().await;
    for _ in 0..20 {
        echoes(&mut client.open(PATIENCE).await.unwrap(), b"one").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_goes_is_not_waited_for() {
    let road = Road::new().await;
    road.bridge.stop().await;
    let began = Instant::now();
    let error = refused(&road.client).await;
    assert!(matches!(error, ClientError::Silence { .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn openbao_that_ends_a_connection_ends_the_session() {
    let road = Road::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let keys = Keys::new();
    let _bridge = keys.bridge(&[&road.place], listener.local_addr().unwrap());
    let client = keys.client(&[&road.place]);
    let mut session = client.open(PATIENCE).await.unwrap();
    drop(listener.accept().await.unwrap());
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, session.read_to_end(&mut rest)).await;
    assert!(ended.is_ok() && rest.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_takes_nothing_new_and_lets_tunnels_end() {
    let limits = Limits { drain_seconds: 20, ..Limits::default() };
    let road = Road::with(limits).await;
    let mut session = road.session().await;
    echoes(&mut session, b"before").await;
    let admin = road.place.admin;
    let client = Arc::clone(&road.client);
    let stopping = tokio::spawn(road.beacon.stop());
    let ready = async {
        while !get(admin, "/readyz").await.starts_with("HTTP/1.1 503") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, ready).await.expect("it says that it drains");
    assert!(matches!(refused(&client).await, ClientError::Beacon { .. }));
    echoes(&mut session, b"while it drains").await;
    assert!(!stopping.is_finished());
    drop(session);
    timeout(PATIENCE, stopping).await.expect("it ends with the last tunnel").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_the_session_breaks_and_does_not_end() {
    for victim in ["beacon", "bridge"] {
        let road = Road::new().await;
        let mut session = road.session().await;
        echoes(&mut session, b"before").await;
        let Road { beacon, bridge, .. } = road;
        let other = if victim == "beacon" {
            beacon.kill();
            bridge
        } else {
            bridge.kill();
            beacon
        };
        let end = timeout(PATIENCE, session.read_to_end(&mut Vec::new())).await.expect("an end");
        assert!(end.is_err(), "{victim}: what was cut is taken for whole");
        other.kill();
    }
}
