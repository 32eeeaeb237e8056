//! A broker that bridges dial: what its public address lets in, and what it does not.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use cloudtaser_relay::{
    beacon::{
        Beacon,
        config::{Bridges, Config, Limits},
    },
    bridge::admit,
    broker::reverse,
    client::{Client, ClientError},
    cluster::Given,
    proto::leg::FIRST_BYTE,
};
use cloudtaser_road::admission::Admission;
use cloudtaser_tls::raw::KeyPair;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::support::{
    Keys, PATIENCE, Place, Served, echo, echoes, get, is_closed_in_silence, refused,
};

/// A beacon that waits for the bridge of these keys, and the way into it.
fn endpoint(keys: &Keys) -> (Place, cloudtaser_relay::beacon::Entrance, Served) {
    let (key, _) = KeyPair::generate().unwrap();
    let free = "127.0.0.1:0".parse().unwrap();
    let bridge = keys.bridge.public();
    let ((address, entrance), served) = Served::begin(|stopped| {
        let (beacon, entrance) = reverse::listen(free, key.clone(), bridge, 64).unwrap();
        ((beacon.address().unwrap(), entrance), beacon.serve(stopped))
    });
    (Place { key, address, admin: free }, entrance, served)
}

async fn until_counted(entrance: &cloudtaser_relay::beacon::Entrance, line: &str) {
    let began = std::time::Instant::now();
    while !entrance.metrics().lines().any(|found| found == line) {
        assert!(began.elapsed() < PATIENCE, "{line} is not in\n{}", entrance.metrics());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_in_from_inside_and_nobody_from_outside() {
    let keys = Keys::new();
    let (place, entrance, _served) = endpoint(&keys);
    let outside = keys.client(&[&place]);
    let inside = Arc::new(keys.client(&[&place]).within(entrance.clone()));
    let none = refused(&inside).await;
    assert!(matches!(none, ClientError::Beacon { .. }), "{none}");
    assert!(format!("{none:?}").contains("no bridge has dialled in"), "{none:?}");

    let _bridge = keys.bridge(&[&place], echo().await);
    assert!(reverse::until_dialled(&entrance, PATIENCE).await);
    let mut session = inside.open(PATIENCE).await.unwrap();
    echoes(&mut session, b"through the broker's own beacon").await;

    // With a true ticket, a true key, and by the public address.
    let error = refused(&outside).await;
    assert!(matches!(error, ClientError::Silence { .. }), "{error}");
    until_counted(&entrance, "cloudtaser_beacon_refused_total{reason=\"Door\"} 1").await;
    // And what bridges say is not for the way of clients.
    let mut leg = TcpStream::connect(entrance.address()).await.unwrap();
    leg.write_all(&[FIRST_BYTE; 64]).await.unwrap();
    is_closed_in_silence(&mut leg).await;
    let bridge = Place { key: place.key.clone(), address: entrance.address(), admin: place.admin };
    let _lost = keys.bridge(&[&bridge], echo().await);
    until_counted(&entrance, "cloudtaser_beacon_refused_total{reason=\"Door\"} 3").await;
    assert_eq!(entrance.bridges(), 1);
    echoes(&mut session, b"and it goes on").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beacon_with_an_address_of_its_own_for_clients_lets_in_bridges_alone_at_the_other() {
    let keys = Keys::new();
    let (key, free) = (KeyPair::generate().unwrap().0, "127.0.0.1:0".parse().unwrap());
    let config = Config {
        listen: free,
        clients: Some(free),
        admin: Some(free),
        handover_socket: None,
        key: key.clone(),
        bridges: Bridges::Only([keys.bridge.public()].into()),
        limits: Limits::default(),
    };
    let ((place, clients), _served) = Served::begin(|stopped| {
        let beacon = Beacon::bind(config).unwrap();
        let (address, admin) = (beacon.address().unwrap(), beacon.admin_address().unwrap());
        let clients = beacon.clients_address().unwrap();
        ((Place { key, address, admin }, clients), beacon.serve(stopped))
    });
    let _bridge = keys.bridge(&[&place], echo().await);
    until_line(place.admin, "cloudtaser_beacon_legs 2").await;

    // What the bridge tells its clients is where they get in.
    let mut of_bridge = keys.config(&[&place], free);
    of_bridge.beacons[0].clients = Some(clients.to_string());
    let file = admit::client_file(&of_bridge, &keys.client.public(), 2, 32).unwrap();
    assert_eq!(file.beacon[0].address, clients.to_string());
    let given = Given { admission: Admission::new(file).unwrap(), certificate: None };
    let inside = Client::new(&keys.client, given).unwrap();
    echoes(&mut inside.open_once().await.unwrap(), b"by the clients' address").await;

    // With the same ticket and key, by the bridges' address.
    let error = refused(&keys.client(&[&place])).await;
    assert!(matches!(error, ClientError::Silence { .. }), "{error}");
    until_line(place.admin, "cloudtaser_beacon_refused_total{reason=\"Door\"} 1").await;
    // And what bridges say is not for the way of clients.
    let mut leg = TcpStream::connect(clients).await.unwrap();
    leg.write_all(&[FIRST_BYTE; 64]).await.unwrap();
    is_closed_in_silence(&mut leg).await;
    let elsewhere = Place { key: place.key.clone(), address: clients, admin: place.admin };
    let _lost = keys.bridge(&[&elsewhere], echo().await);
    until_line(place.admin, "cloudtaser_beacon_refused_total{reason=\"Door\"} 3").await;
    until_line(place.admin, "cloudtaser_beacon_bridges 1").await;
}

async fn until_line(admin: SocketAddr, line: &str) {
    let began = std::time::Instant::now();
    loop {
        let text = get(admin, "/metrics").await;
        if text.lines().any(|found| found == line) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{line} is not in\n{text}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_bridge_is_not_let_in() {
    let (keys, other) = (Keys::new(), Keys::new());
    let (place, entrance, _served) = endpoint(&keys);
    let _stranger = other.bridge(&[&place], echo().await);
    until_counted(&entrance, "cloudtaser_beacon_refused_total{reason=\"Control\"} 1").await;
    assert_eq!(entrance.bridges(), 0);
    assert!(!reverse::until_dialled(&entrance, Duration::ZERO).await);
    let client: Client = other.client(&[&place]).within(entrance);
    assert!(matches!(refused(&client).await, ClientError::Beacon { .. }));
}
