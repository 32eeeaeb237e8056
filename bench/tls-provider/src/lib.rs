//! One HTTPS GET with a given crypto provider, and what it took.
//!
//! Everything but the provider is the same in both programs: ureq, rustls, TLS 1.3 alone, the CA
//! from a file. The key exchange is read from a second handshake with the same provider and
//! settings, after the figures were taken, because ureq does not tell it.

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// Longest that the server may take for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// The whole program: `PROGRAM URL CA_FILE` prints one line of JSON.
#[must_use]
pub fn run(provider: CryptoProvider) -> ExitCode {
    match measure(provider) {
        Ok(line) => match writeln!(io::stdout(), "{line}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_reader_gone) => ExitCode::FAILURE,
        },
        Err(error) => {
            // Nobody is left to tell when stderr is gone as well.
            drop(writeln!(io::stderr(), "{error}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(mut provider: CryptoProvider) -> Result<String, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [url, ca_file] = arguments.as_slice() else {
        return Err("usage: PROGRAM https://HOST:PORT/PATH CA_FILE".into());
    };
    let pem = fs::read(ca_file)?;
    provider.cipher_suites.retain(|suite| suite.version() == &TLS13);
    let provider = Arc::new(provider);

    let start = Instant::now();
    let ca = Certificate::from_pem(&pem)?;
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::clone(&provider))
        .root_certs(RootCerts::new_with_certs(std::slice::from_ref(&ca)))
        .build();
    let agent: Agent =
        Agent::config_builder().tls_config(tls).timeout_global(Some(PATIENCE)).build().into();
    let body = agent.get(url).call()?.body_mut().read_to_vec()?;
    let took = start.elapsed();

    let peak_kib = peak_memory()?;
    let group = key_exchange(provider, &ca, url)?;
    Ok(format!(
        "{{\"get_us\":{},\"body_bytes\":{},\"peak_kib\":{peak_kib},\"group\":\"{group}\"}}",
        took.as_micros(),
        body.len()
    ))
}

/// Peak resident memory so far, in KiB.
fn peak_memory() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|rest| rest.split_whitespace().next()).ok_or("no VmHWM")?;
    Ok(peak.parse()?)
}

/// The group that the server agrees to.
fn key_exchange(
    provider: Arc<CryptoProvider>,
    ca: &Certificate<'_>,
    url: &str,
) -> Result<String, Box<dyn Error>> {
    let authority = url.strip_prefix("https://").ok_or("the URL must begin with https://")?;
    let authority = authority.split('/').next().unwrap_or(authority);
    let host = authority.rsplit_once(':').map_or(authority, |(host, _port)| host);
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().into())?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())?;
    let mut connection = ClientConnection::new(Arc::new(config), name)?;
    let mut stream = TcpStream::connect(authority)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    let group = connection.negotiated_key_exchange_group().ok_or("no key exchange")?;
    Ok(format!("{:?}", group.name()))
}
