use std::io;

use rustls::{ClientConnection, HandshakeKind, ServerConnection};

use super::*;

/// Carries bytes to and fro until neither has any to send.
fn handshake(client: &mut ClientConnection, server: &mut ServerConnection) -> io::Result<()> {
    while client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes)?;
        }
        server.read_tls(&mut &bytes[..])?;
        server.process_new_packets().map_err(io::Error::other)?;
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes)?;
        }
        client.read_tls(&mut &bytes[..])?;
        client.process_new_packets().map_err(io::Error::other)?;
    }
    Ok(())
}

fn pair(peers: Peers, expected: Option<PublicKey>) -> (KeyPair, KeyPair, io::Result<PublicKey>) {
    let (server_key, _) = KeyPair::generate().unwrap();
    let (client_key, _) = KeyPair::generate().unwrap();
    let server = server_config(&server_key, peers, &[b"a"]).unwrap();
    let mut client =
        client_config(&client_key, expected.unwrap_or_else(|| server_key.public())).unwrap();
    client.alpn_protocols = vec![b"x".to_vec(), b"a".to_vec()];
    let name = "abc.r.example".try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let seen = handshake(&mut client, &mut server).map(|()| {
        let group = server.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, NamedGroup::X25519MLKEM768);
        assert_eq!(client.alpn_protocol(), Some(&b"a"[..]));
        assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
        peer_key(server.peer_certificates()).unwrap()
    });
    (server_key, client_key, seen)
}

#[test]
fn both_prove_their_keys_by_the_hybrid_exchange() {
    let (_, client, seen) = pair(Peers::AnyKey, None);
    assert_eq!(seen.unwrap(), client.public());
}

#[test]
fn a_client_whose_key_is_not_known_is_refused() {
    let (_, client, seen) = pair(Peers::Only(BTreeSet::new()), None);
    let error = seen.unwrap_err().to_string();
    assert!(error.contains(&client.public().to_string()), "{error}");
}

#[test]
fn a_server_with_another_key_is_refused_and_its_key_named() {
    let (server, _, seen) = pair(Peers::AnyKey, Some(PublicKey::from_bytes([7; 32])));
    let error = seen.unwrap_err().to_string();
    assert!(error.contains(&server.public().to_string()), "{error}");
}

#[test]
fn a_client_without_the_hybrid_exchange_is_refused() {
    let (server_key, _) = KeyPair::generate().unwrap();
    let server = server_config(&server_key, Peers::AnyKey, &[]).unwrap();
    let mut classical = (*provider().unwrap()).clone();
    classical.kx_groups.retain(|group| group.name() == NamedGroup::X25519);
    let classical = Arc::new(classical);
    let verifier = Arc::new(RawVerifier::new(Peers::AnyKey, &classical));
    let client = ClientConfig::builder_with_provider(classical)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let name = "abc.r.example".try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    assert!(handshake(&mut client, &mut server).is_err());
}

#[test]
fn keys_are_read_as_they_are_written() {
    let (pair, pem) = KeyPair::generate().unwrap();
    assert_eq!(KeyPair::from_pem(&pem).unwrap().public(), pair.public());
    let text = pair.public().to_string();
    assert_eq!(text.parse::<PublicKey>().unwrap(), pair.public());
    assert!(!format!("{pair:?}").contains("PRIVATE"));
    for odd in ["", "ed25519:", "ed25519:AAAA", "sha256//AAAA"] {
        assert!(matches!(odd.parse::<PublicKey>(), Err(TlsError::PublicKey)), "{odd}");
    }
    let odd =
        Secret::from("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----".to_owned());
    assert!(matches!(KeyPair::from_pem(&odd), Err(TlsError::PrivateKey)));
}

#[test]
fn a_signature_is_of_one_key_and_one_message() {
    let [(one, _), (other, _)] = [(); 2].map(|()| KeyPair::generate().unwrap());
    let signature = one.sign(b"words").unwrap();
    assert!(one.public().verifies(b"words", &signature).unwrap());
    assert!(!one.public().verifies(b"other words", &signature).unwrap());
    assert!(!other.public().verifies(b"words", &signature).unwrap());
    assert!(!one.public().verifies(b"words", &signature[1..]).unwrap());
}
