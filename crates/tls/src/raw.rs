//! TLS between parties that know each other by key alone: raw public keys (RFC 7250), Ed25519,
//! TLS 1.3, and X25519MLKEM768 as the only key exchange.
//!
//! No certificate, so nothing expires, nothing is issued, and no name is shown. Unlike
//! [`crate::client`], which has to talk to an OpenBao as it is found, both ends here are ours, so
//! a peer without the hybrid exchange is refused and not tolerated.

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc};

use cloudtaser_core::Secret;
use data_encoding::BASE64;
use rustls::{
    ClientConfig, NamedGroup, ServerConfig, SignatureScheme,
    client::{AlwaysResolvesClientRawPublicKeys, Resumption},
    crypto::CryptoProvider,
    server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage},
    sign::{CertifiedKey, SigningKey},
    version::TLS13,
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, alg_id, pem::PemObject as _,
};
use zeroize::Zeroizing;

use crate::{error::TlsError, provider::provider, raw::verifier::RawVerifier};

mod verifier;

pub use verifier::Unknown;

/// What stands before the key in its `SubjectPublicKeyInfo` (RFC 8410).
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// What stands before the seed in PKCS#8 (RFC 8410).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const TEXT_PREFIX: &str = "ed25519:";

/// Bytes of a signature of ours.
pub const SIGNATURE_LEN: usize = 64;

/// A public key: the name of a party.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PublicKey([u8; 32]);

/// A private key, which signs and is never shown.
#[derive(Clone)]
pub struct KeyPair {
    key: Arc<dyn SigningKey>,
    public: PublicKey,
}

/// Whose keys a server accepts.
#[derive(Clone, Debug)]
pub enum Peers {
    /// Whoever proves to hold the key that is shown; the caller looks at it afterwards.
    AnyKey,
    /// The holders of these keys.
    Only(BTreeSet<PublicKey>),
}

impl PublicKey {
    /// The 32 bytes of Ed25519.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of Ed25519.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads the form that TLS carries; `None` for a key of another algorithm.
    #[must_use]
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        der.strip_prefix(&SPKI_PREFIX)?.try_into().ok().map(Self)
    }

    /// Whether the holder of this key has signed the message.
    ///
    /// # Errors
    /// [`TlsError::Cpu`].
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> Result<bool, TlsError> {
        let (scheme, kind) = (SignatureScheme::ED25519, alg_id::ED25519);
        crate::signature::verifies(scheme, kind, &self.0, message, signature)
    }

    fn spki(&self) -> CertificateDer<'static> {
        [&SPKI_PREFIX[..], &self.0].concat().into()
    }
}

impl FromStr for PublicKey {
    type Err = TlsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.trim().strip_prefix(TEXT_PREFIX).map(str::as_bytes);
        let bytes = bytes.and_then(|base64| BASE64.decode(base64).ok());
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(TlsError::PublicKey)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TEXT_PREFIX}{}", BASE64.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl KeyPair {
    /// Makes a key; also as PEM text for a file.
    ///
    /// # Errors
    /// [`TlsError::Cpu`] or [`TlsError::Random`].
    pub fn generate() -> Result<(Self, Secret), TlsError> {
        let mut seed = Zeroizing::new([0; 32]);
        crate::random(&mut *seed)?;
        let der = Zeroizing::new([&PKCS8_PREFIX[..], &*seed].concat());
        let body = Zeroizing::new(BASE64.encode(&der));
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", *body);
        Ok((Self::from_pkcs8(&der)?, Secret::from(pem)))
    }

    /// Reads PEM text, such as `openssl genpkey -algorithm ed25519` writes.
    ///
    /// # Errors
    /// [`TlsError::NoPem`], [`TlsError::PrivateKey`] or [`TlsError::Cpu`].
    pub fn from_pem(text: &Secret) -> Result<Self, TlsError> {
        // The cause is left out on purpose: it may quote a line of the key.
        let key = PrivatePkcs8KeyDer::from_pem_slice(text.expose())
            .ok()
            .ok_or(TlsError::NoPem { wanted: "PKCS#8 private key" })?;
        Self::from_pkcs8(key.secret_pkcs8_der())
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, TlsError> {
        let der = PrivateKeyDer::Pkcs8(der.to_vec().into());
        let loaded = provider()?.key_provider.load_private_key(der);
        let key = loaded.map_err(|_quotes| TlsError::PrivateKey)?;
        let public = key.public_key().and_then(|spki| PublicKey::from_spki(&spki));
        public.map(|public| Self { key, public }).ok_or(TlsError::PrivateKey)
    }

    /// The other half.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs a message that no handshake could contain; callers begin it with words of their own.
    ///
    /// # Errors
    /// [`TlsError::Refused`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TlsError> {
        let signer = self.key.choose_scheme(&[SignatureScheme::ED25519]);
        let signer = signer.ok_or(TlsError::PrivateKey)?;
        signer.sign(message).map_err(TlsError::Refused)
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        Arc::new(CertifiedKey::new(vec![self.public.spki()], Arc::clone(&self.key)))
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}

/// A server that shows this key and demands one of these from its clients.
///
/// # Errors
/// [`TlsError::Cpu`] or [`TlsError::Refused`].
pub fn server_config(
    own: &KeyPair,
    peers: Peers,
    protocols: &[&[u8]],
) -> Result<ServerConfig, TlsError> {
    let provider = hybrid_only()?;
    let verifier = Arc::new(RawVerifier::new(peers, &provider));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Refused)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(own.certified())));
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// A client that shows this key and accepts that one alone.
///
/// # Errors
/// [`TlsError::Cpu`] or [`TlsError::Refused`].
pub fn client_config(own: &KeyPair, server: PublicKey) -> Result<ClientConfig, TlsError> {
    let provider = hybrid_only()?;
    let verifier = Arc::new(RawVerifier::new(Peers::Only([server].into()), &provider));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Refused)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
            own.certified(),
        )));
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The key that the other side proved to hold.
#[must_use]
pub fn peer_key(certificates: Option<&[CertificateDer<'_>]>) -> Option<PublicKey> {
    match certificates? {
        [key] => PublicKey::from_spki(key),
        _ => None,
    }
}

/// The provider, reduced to the exchange that a recording of today withstands tomorrow.
fn hybrid_only() -> Result<Arc<CryptoProvider>, TlsError> {
    let mut provider = (*provider()?).clone();
    provider.kx_groups.retain(|group| group.name() == NamedGroup::X25519MLKEM768);
    Ok(Arc::new(provider))
}

#[cfg(test)]
mod tests;
