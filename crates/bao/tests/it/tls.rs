//! Who may answer, against a real OpenBao and against servers that should not be believed.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crate::support::{bao, free_port, openssl, session, soon};
use cloudtaser_bao::{Address, BaoError, Client, Deadline, Failure, Plaintext, Settings};
use cloudtaser_core::Blame;
use cloudtaser_tls::{Authorities, SkipVerify, SpkiPin, TlsClient, TlsOptions, Trust};

const OTHER_PIN: &str = "sha256//uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=";

fn trust(ca: &Path, pins: &[SpkiPin]) -> Trust {
    Trust::Authorities { sources: vec![Authorities::File(ca.to_owned())], pins: pins.to_vec() }
}

/// The pin as OpenSSL computes it, so that ours is compared with somebody else's.
fn pin(certificate: &Path) -> SpkiPin {
    let script = format!(
        "openssl x509 -in {} -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64 -A",
        certificate.display()
    );
    let output = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
    SpkiPin::parse(&format!("sha256//{}", String::from_utf8(output.stdout).unwrap())).unwrap()
}

fn client(address: &str, trust: Trust, server_name: Option<&str>) -> Client {
    let options = TlsOptions { trust, server_name: server_name.map(str::to_owned), identity: None };
    let mut settings = Settings::new(Address::parse(address).unwrap());
    settings.tls = Some(TlsClient::new(&options).unwrap());
    Client::new(settings).unwrap()
}

fn fail(client: &Client) -> BaoError {
    let login =
        cloudtaser_bao::Login::new(cloudtaser_bao::Method::Token(crate::support::value("root")));
    client.login(&login, &soon()).unwrap_err()
}

#[test]
fn a_pinned_key_is_trusted_alone_and_demanded_beside_a_ca() {
    let Some(bao) = bao() else { return };
    let dir = tempfile::tempdir().unwrap();
    if !openssl(dir.path(), "version") {
        return;
    }
    let (right, wrong) = (pin(&bao.server_certificate()), SpkiPin::parse(OTHER_PIN).unwrap());
    for good in [Trust::PinOnly(vec![wrong, right]), trust(&bao.ca(), &[right])] {
        session(&client(&bao.url(), good, None), "root");
    }
    for bad in [Trust::PinOnly(vec![wrong]), Trust::PinOnly(vec![]), trust(&bao.ca(), &[wrong])] {
        let error = fail(&client(&bao.url(), bad, None));
        assert_eq!((error.blame(), error.tries()), (Blame::Attack, 1), "{error}");
        assert!(error.to_string().contains(&right.to_string()), "{error}");
    }
}

#[test]
fn a_wrong_ca_a_wrong_name_and_an_override_of_it() {
    let Some(bao) = bao() else { return };
    let dir = tempfile::tempdir().unwrap();
    if !openssl(
        dir.path(),
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -out ca.pem -subj /CN=x",
    ) {
        return;
    }
    let error = fail(&client(&bao.url(), trust(&dir.path().join("ca.pem"), &[]), None));
    assert!(error.to_string().contains("signed by no trusted CA"), "{error}");
    assert_eq!((error.blame(), error.tries()), (Blame::Configuration, 1));

    let error = fail(&client(&bao.url(), trust(&bao.ca(), &[]), Some("bao.example")));
    assert!(error.to_string().contains("is not for bao.example but for "), "{error}");
    session(&client(&bao.url(), trust(&bao.ca(), &[]), Some("localhost")), "root");
    let skip = Trust::SkipVerify(SkipVerify::anyone_may_answer());
    session(&client(&bao.url(), skip, Some("bao.example")), "root");
    let dir_trust = Trust::Authorities {
        sources: vec![Authorities::Dir(bao.ca().parent().unwrap().to_owned())],
        pins: vec![],
    };
    session(&client(&bao.url(), dir_trust, None), "root");
}

#[test]
fn plain_http_where_tls_is_spoken_and_the_other_way_round() {
    let Some(bao) = bao() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut hello = [0; 4096];
            if stream.read(&mut hello).is_ok() {
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
            }
        }
    });
    let error = fail(&client(&format!("https://127.0.0.1:{port}"), trust(&bao.ca(), &[]), None));
    assert!(error.to_string().contains("answers without TLS"), "{error}");
    let plain = Settings::new(Address::parse(&bao.url().replace("https", "http")).unwrap());
    let error = fail(&Client::new(plain).unwrap());
    assert!(error.to_string().contains("TLS is spoken at this port: write https"), "{error}");
}

#[test]
fn tokens_do_not_travel_in_plaintext_unless_allowed() {
    let settings = || Settings::new(Address::parse("http://bao.example:8200").unwrap());
    let error = Client::new(settings()).unwrap_err();
    assert!(matches!(error.failure(), Failure::Plaintext), "{error}");
    Client::new(Settings { plaintext: Plaintext::Allowed, ..settings() }).unwrap();
    assert!(Client::new(Settings::new(Address::parse("https://bao.example").unwrap())).is_err());
}

/// `openssl s_server` with a certificate for 127.0.0.1, ended with the value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn s_server(dir: &Path, port: u16, options: &str) -> Server {
    let args = format!("s_server -accept 127.0.0.1:{port} -cert c.pem -key k.pem -quiet {options}");
    let child = Command::new("openssl")
        .args(args.split(' ').filter(|arg| !arg.is_empty()))
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..200 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    Server(child)
}

#[test]
fn tls_1_2_is_refused_with_advice_and_tls_1_3_with_the_pinned_key_gets_through() {
    let dir = tempfile::tempdir().unwrap();
    let make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -out c.pem -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1";
    if !openssl(dir.path(), make) {
        return;
    }
    let port = free_port();
    let old = s_server(dir.path(), port, "-tls1_2");
    let address = format!("https://127.0.0.1:{port}");
    let pinned = Trust::PinOnly(vec![pin(&dir.path().join("c.pem"))]);
    let error = fail(&client(&address, pinned.clone(), None));
    assert!(error.to_string().contains("does not speak TLS 1.3"), "{error}");
    assert_eq!(error.blame(), Blame::Peer);
    drop(old);
    let port = free_port();
    let new = s_server(dir.path(), port, "-tls1_3 -www");
    let address = format!("https://127.0.0.1:{port}");
    let error = fail(&client(&address, pinned, None));
    assert!(!matches!(error.failure(), Failure::Tls { .. }), "the handshake is done: {error}");
    drop(new);
}

#[test]
fn an_expired_certificate_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    if !openssl(
        at,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -subj /CN=ca",
    ) {
        return;
    }
    openssl(
        at,
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -out c.csr -subj /CN=s",
    );
    fs::write(at.join("ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        at,
        "x509 -req -in c.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out c.pem -days -1 -extfile ext",
    );
    let port = free_port();
    let server = s_server(at, port, "-tls1_3");
    let error =
        fail(&client(&format!("https://127.0.0.1:{port}"), trust(&at.join("ca.pem"), &[]), None));
    assert!(error.to_string().contains("has expired"), "{error}");
    drop(server);
}

#[test]
fn the_session_uses_the_hybrid_key_exchange() {
    let Some(bao) = bao() else { return };
    let options = TlsOptions { trust: trust(&bao.ca(), &[]), ..TlsOptions::default() };
    let tls = TlsClient::new(&options).unwrap();
    let name = tls.name_for("127.0.0.1").unwrap();
    let mut session = rustls::ClientConnection::new(tls.config(), name).unwrap();
    let mut socket = TcpStream::connect(("127.0.0.1", bao.port)).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut socket).unwrap();
    }
    let group = session.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
}

#[test]
fn nobody_listening_is_retried_until_the_deadline() {
    let address = format!("http://127.0.0.1:{}", free_port());
    let client = Client::new(Settings::new(Address::parse(&address).unwrap())).unwrap();
    let deadline = Deadline::after(Duration::from_millis(600));
    let root = cloudtaser_bao::Login::new(cloudtaser_bao::Method::UserPass {
        user: "a".into(),
        password: crate::support::value("p"),
    });
    let error = client.login(&root, &deadline).unwrap_err();
    assert!(error.tries() >= 3, "{error}");
    assert!(
        crate::support::chain(&error).contains("connection refused: check address and port"),
        "{error}"
    );
    assert!(error.elapsed() < Duration::from_secs(2));
}
