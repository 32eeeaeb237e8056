//! Configurations for connecting to a server.

use std::sync::Arc;

use rustls::{ClientConfig, client::Resumption, version::TLS13};
use rustls_pki_types::ServerName;

use crate::{
    error::TlsError, identity::Identity, provider::provider, trust::Trust, verify::Verifier,
};

/// How to connect.
#[derive(Debug, Default)]
pub struct TlsOptions {
    /// Who may answer.
    pub trust: Trust,
    /// With which certificate to prove who asks.
    pub identity: Option<Identity>,
    /// The name to expect in the certificate, where it is not the one in the address.
    pub server_name: Option<String>,
}

/// A configuration ready for use. Copies share it.
#[derive(Clone, Debug)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    verifies: bool,
}

impl TlsClient {
    /// Reads certificates and keys, and makes the configuration.
    ///
    /// # Errors
    /// Any [`TlsError`].
    pub fn new(options: &TlsOptions) -> Result<Self, TlsError> {
        let server_name = options.server_name.as_deref().map(parse_name).transpose()?;
        let config = client_config(&options.trust, options.identity.as_ref())?;
        let verifies = !matches!(options.trust, Trust::SkipVerify(_));
        Ok(Self { config: Arc::new(config), server_name, verifies })
    }

    /// The configuration for rustls.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// The name to ask for and to expect when connecting to this host.
    ///
    /// # Errors
    /// [`TlsError::ServerName`].
    pub fn name_for(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        self.server_name.as_ref().map_or_else(|| parse_name(host), |name| Ok(name.clone()))
    }

    /// Whether anything proves who answers.
    #[must_use]
    pub const fn verifies(&self) -> bool {
        self.verifies
    }
}

/// Makes the configuration: TLS 1.3 alone, no session kept for later.
///
/// # Errors
/// Any [`TlsError`] but [`TlsError::ServerName`].
pub fn client_config(trust: &Trust, identity: Option<&Identity>) -> Result<ClientConfig, TlsError> {
    let provider = provider()?;
    // The verifier is "dangerous" in the eyes of rustls because it is ours; see `verify`.
    let verifier = Arc::new(Verifier::new(trust, &provider)?);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Refused)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => builder
            .with_client_auth_cert(identity.chain(), identity.key())
            .map_err(TlsError::IdentityPair)?,
        None => builder.with_no_client_auth(),
    };
    // A connection is kept open for as long as it is used; tickets would be one more secret.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn parse_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    ServerName::try_from(bare.to_owned()).ok().ok_or(TlsError::ServerName)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::SkipVerify;

    #[test]
    fn the_name_given_wins_over_the_host() {
        let options = TlsOptions {
            trust: Trust::SkipVerify(SkipVerify::anyone_may_answer()),
            server_name: Some("bao.example".to_owned()),
            ..TlsOptions::default()
        };
        let client = TlsClient::new(&options).unwrap();
        assert_eq!(client.name_for("127.0.0.1").unwrap().to_str(), "bao.example");
        assert!(!client.verifies());
    }

    #[test]
    fn addresses_are_names_with_and_without_brackets() {
        assert!(matches!(parse_name("[::1]"), Ok(ServerName::IpAddress(_))));
        assert!(matches!(parse_name("127.0.0.1"), Ok(ServerName::IpAddress(_))));
        assert!(matches!(parse_name("a b"), Err(TlsError::ServerName)));
    }
}
