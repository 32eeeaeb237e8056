//! Handshakes in memory with servers that show a certificate whose key they hold, or do not.

use std::{fs, path::Path, process::Command};

use cloudtaser_core::Secret;
use rustls::{
    ClientConnection, ServerConfig, ServerConnection,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::*;
use crate::{
    client::client_config,
    identity::Identity,
    provider::provider,
    trust::{SkipVerify, Trust},
};

#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// A certificate for `bao.example` and its key, or `None` (said aloud) without openssl.
fn identity(dir: &Path, name: &str) -> Option<Identity> {
    let args = format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out \
         {name}.pem -subj /CN=x -addext subjectAltName=DNS:bao.example"
    );
    let run = Command::new("openssl").args(args.split_whitespace()).current_dir(dir).output();
    let Ok(output) = run else {
        println!("SKIP: openssl is not installed");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let pem = fs::read(dir.join(format!("{name}.pem"))).unwrap();
    let key = Secret::new(fs::read(dir.join(format!("{name}.key"))).unwrap());
    Some(Identity::from_pem(&pem, &key).unwrap())
}

/// Shakes hands with a server that shows one's certificate and signs with another's key.
fn handshake(trust: &Trust, shown: &Identity, signs: &Identity) -> Result<(), Error> {
    let provider = provider().unwrap();
    let key = provider.key_provider.load_private_key(signs.key()).unwrap();
    let resolver = Arc::new(Shows(Arc::new(CertifiedKey::new(shown.chain(), key))));
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    let mut server = ServerConnection::new(Arc::new(config)).unwrap();
    let name = ServerName::try_from("bao.example").unwrap();
    let config = Arc::new(client_config(trust, None).unwrap());
    let mut client = ClientConnection::new(config, name).unwrap();
    while client.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn whatever_is_trusted_the_peer_must_hold_the_key_it_shows() {
    let dir = tempfile::tempdir().unwrap();
    let (Some(right), Some(other)) = (identity(dir.path(), "right"), identity(dir.path(), "other"))
    else {
        return;
    };
    let pin = SpkiPin::of_certificate(&right.chain()[0]).unwrap();
    let skip = Trust::SkipVerify(SkipVerify::anyone_may_answer());
    for trust in [Trust::PinOnly(vec![pin]), skip] {
        let forged = handshake(&trust, &right, &other);
        let refused = Err(Error::InvalidCertificate(CertificateError::BadSignature));
        assert_eq!(handshake(&trust, &right, &right), Ok(()), "{trust:?}");
        assert_eq!(forged, refused, "{trust:?}");
    }
}
