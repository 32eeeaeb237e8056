//! Certificates of our own servers, made where they are used.
//!
//! An authority is made for one leaf: its key signs once and is gone before the function returns,
//! so that whoever trusts the authority trusts this one key, under these names, until this date.
//! No private key is ever text, and none leaves the process.

use std::{fmt, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyIdMethod, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    SanType, SerialNumber,
};
use rustls::{
    ServerConfig, SignatureScheme,
    crypto::CryptoProvider,
    server::{NoServerSessionStorage, ResolvesServerCert},
    sign::{CertifiedKey, SigningKey},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivateSec1KeyDer, ServerName};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::{
    error::TlsError,
    provider::{provider, random, sha256},
};

/// Clocks of a cluster differ; what is made now must be valid for who is behind.
const BACKDATED_SECONDS: i64 = 300;
/// ECDSA on P-256: what every API server in use accepts, those in FIPS mode included.
const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
/// `SEQUENCE { INTEGER 1, OCTET STRING (32) …` of a private key (RFC 5915).
const SEC1_PREFIX: [u8; 7] = [0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20];
/// … `[0] { OID prime256v1 } }`.
const SEC1_SUFFIX: [u8; 12] =
    [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// Length of an uncompressed point, the end of its `SubjectPublicKeyInfo`.
const POINT_LEN: usize = 65;

/// What a certificate is for, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Who makes it, for people who read certificates.
    pub issuer: &'a str,
    /// The DNS names of the server; an IP address counts as one.
    pub names: &'a [String],
    /// Now, in seconds since 1970.
    pub now: u64,
    /// For how many seconds.
    pub lifetime: u64,
}

/// A server's certificate with its key, and the authority that vouches for it alone.
#[derive(Clone)]
pub struct Issued {
    authority_pem: String,
    key: Arc<CertifiedKey>,
    not_after: u64,
}

impl Issued {
    /// Makes key, authority and certificate.
    ///
    /// # Errors
    /// [`TlsError::Cpu`], [`TlsError::Random`], [`TlsError::ServerName`] for a name that is none, or
    /// [`TlsError::Issue`] for a time out of range.
    pub fn make(terms: &Terms<'_>) -> Result<Self, TlsError> {
        // rcgen panics where a constraint is not ASCII, so nothing unusual gets that far.
        if terms.names.iter().any(|name| ServerName::try_from(name.as_str()).is_err()) {
            return Err(TlsError::ServerName);
        }
        let provider = provider()?;
        let authority_key = Key::generate(&provider)?;
        let leaf_key = Key::generate(&provider)?;
        let not_after = terms.now.saturating_add(terms.lifetime);
        let authority = authority(terms, not_after, &authority_key)?;
        let certificate = authority.self_signed(&authority_key).map_err(TlsError::Issue)?;
        let issuer = Issuer::from_params(&authority, &authority_key);
        let leaf = leaf(terms, not_after, &leaf_key)?
            .signed_by(&leaf_key, &issuer)
            .map_err(TlsError::Issue)?;
        let key = CertifiedKey::new(vec![leaf.der().clone()], leaf_key.key);
        Ok(Self { authority_pem: pem(certificate.der()), key: Arc::new(key), not_after })
    }

    /// PEM text of the authority: what clients are to trust.
    #[must_use]
    pub fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    /// What the server shows and signs with.
    #[must_use]
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }

    /// When it ends, in seconds since 1970.
    #[must_use]
    pub const fn not_after(&self) -> u64 {
        self.not_after
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// A server's configuration: TLS 1.3 alone, HTTP/1.1, nothing kept for later.
///
/// # Errors
/// [`TlsError::Cpu`].
pub fn server_config(resolver: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider()?)
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Refused)?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// An ECDSA key of the provider, as rcgen wants to use it.
struct Key {
    key: Arc<dyn SigningKey>,
    point: Vec<u8>,
}

impl Key {
    fn generate(provider: &CryptoProvider) -> Result<Self, TlsError> {
        // A scalar that is zero or not below the order is refused; the odds are one in 2^32.
        for _ in 0..4 {
            let mut scalar = Zeroizing::new([0; 32]);
            random(&mut *scalar)?;
            let der = Zeroizing::new([&SEC1_PREFIX[..], &*scalar, &SEC1_SUFFIX].concat());
            let sec1 = PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(der.to_vec()));
            let Ok(key) = provider.key_provider.load_private_key(sec1) else { continue };
            let spki = key.public_key();
            let at = spki.as_ref().and_then(|spki| spki.len().checked_sub(POINT_LEN));
            let point = spki.as_ref().zip(at).and_then(|(spki, at)| spki.get(at..));
            if let Some(point) = point {
                return Ok(Self { point: point.to_vec(), key });
            }
        }
        Err(TlsError::Random)
    }

    fn identifier(&self) -> Result<KeyIdMethod, TlsError> {
        let digest = sha256(&self.point)?;
        Ok(KeyIdMethod::PreSpecified(digest.iter().copied().take(20).collect()))
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signer = self.key.choose_scheme(&[SCHEME]).ok_or(rcgen::Error::RemoteKeyError)?;
        signer.sign(message).map_err(|_refused| rcgen::Error::RemoteKeyError)
    }
}

fn parameters(
    terms: &Terms<'_>,
    not_after: u64,
    name: &str,
    key: &Key,
) -> Result<CertificateParams, TlsError> {
    let mut parameters = CertificateParams::default();
    let seconds = |seconds: u64| {
        let signed = i64::try_from(seconds).unwrap_or(i64::MAX);
        OffsetDateTime::from_unix_timestamp(signed)
            .map_err(|_range| TlsError::Issue(rcgen::Error::Time))
    };
    parameters.not_before = seconds(terms.now)? - time::Duration::seconds(BACKDATED_SECONDS);
    parameters.not_after = seconds(not_after)?;
    let mut serial = [0; 16];
    random(&mut serial)?;
    if let Some(first) = serial.first_mut() {
        // Positive, and never shortened.
        *first = (*first & 0x7f) | 0x40;
    }
    parameters.serial_number = Some(SerialNumber::from_slice(&serial));
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.key_identifier_method = key.identifier()?;
    Ok(parameters)
}

fn authority(terms: &Terms<'_>, not_after: u64, key: &Key) -> Result<CertificateParams, TlsError> {
    // One subject per authority: verifiers find issuers by name first.
    let digest = sha256(&key.point)?;
    let mark: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let name = format!("{} {mark}", terms.issuer);
    let mut parameters = parameters(terms, not_after, &name, key)?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let dns: Vec<_> = terms.names.iter().filter(|name| ip(name).is_none()).collect();
    if dns.len() == terms.names.len() {
        let permitted = dns.into_iter().map(|name| GeneralSubtree::DnsName(name.clone()));
        parameters.name_constraints = Some(NameConstraints {
            permitted_subtrees: permitted.collect(),
            excluded_subtrees: Vec::new(),
        });
    }
    Ok(parameters)
}

fn leaf(terms: &Terms<'_>, not_after: u64, key: &Key) -> Result<CertificateParams, TlsError> {
    let first = terms.names.first().map_or("", String::as_str);
    let mut parameters = parameters(terms, not_after, first, key)?;
    for name in terms.names {
        let name = match ip(name) {
            Some(address) => SanType::IpAddress(address),
            None => SanType::DnsName(name.as_str().try_into().map_err(TlsError::Issue)?),
        };
        parameters.subject_alt_names.push(name);
    }
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    Ok(parameters)
}

fn ip(name: &str) -> Option<std::net::IpAddr> {
    name.parse().ok()
}

fn pem(der: &CertificateDer<'_>) -> String {
    let body = data_encoding::BASE64.encode(der);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};
    use rustls_pki_types::pem::PemObject as _;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn issued(names: &[&str]) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Issued::make(&Terms { issuer: "test", names: &names, now: now(), lifetime: 3600 }).unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "the verifier looks at the real clock")]
    fn now() -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.unwrap().as_secs()
    }

    /// Whether a client that trusts this authority accepts this server under this name.
    fn accepted(server: &Issued, trusted: &Issued, name: &str) -> Result<(), rustls::Error> {
        #[derive(Debug)]
        struct Always(Arc<CertifiedKey>);
        impl ResolvesServerCert for Always {
            fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
                Some(Arc::clone(&self.0))
            }
        }
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted.authority_pem().as_bytes()).unwrap())?;
        let client = ClientConfig::builder_with_provider(provider().unwrap())
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name)?;
        let config = server_config(Arc::new(Always(server.certified_key()))).unwrap();
        let mut server = ServerConnection::new(Arc::new(config))?;
        while client.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut bytes.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut bytes = Vec::new();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut bytes.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn a_client_that_trusts_the_authority_accepts_the_server_and_no_other() {
        let (one, other) = (issued(&["op.ns.svc"]), issued(&["op.ns.svc"]));
        assert_eq!(accepted(&one, &one, "op.ns.svc"), Ok(()));
        assert!(accepted(&one, &other, "op.ns.svc").is_err());
        assert!(accepted(&one, &one, "other.ns.svc").is_err());
        let address = issued(&["127.0.0.1", "localhost"]);
        assert_eq!(accepted(&address, &address, "127.0.0.1"), Ok(()));
    }

    #[test]
    fn names_that_are_none_and_times_out_of_range_are_errors() {
        let names = ["b\u{e4}d".to_owned()];
        let terms = Terms { issuer: "t", names: &names, now: NOW, lifetime: 60 };
        assert!(matches!(Issued::make(&terms), Err(TlsError::ServerName)));
        let names = ["a".to_owned()];
        let terms = Terms { issuer: "t", names: &names, now: u64::MAX, lifetime: 60 };
        assert!(matches!(Issued::make(&terms), Err(TlsError::Issue(_))));
    }

    #[test]
    fn the_key_is_in_no_text() {
        let issued = issued(&["a"]);
        assert!(!format!("{issued:?}").contains("PRIVATE"));
        assert!(issued.authority_pem().lines().all(|line| line.len() <= 64));
    }
}
