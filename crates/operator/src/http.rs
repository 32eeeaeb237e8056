//! How the operator asks others: the API server and registries.

use std::time::Duration;

use ureq::{
    Agent,
    tls::{Certificate, RootCerts, TlsConfig, TlsProvider},
};

/// A client that trusts these authorities alone, follows no redirect, takes no proxy, and gives each
/// request so long.
///
/// # Errors
/// Where the cryptography does not run here.
pub(crate) fn agent(roots: &[Certificate<'static>], within: Duration) -> anyhow::Result<Agent> {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(cloudtaser_tls::provider()?)
        .root_certs(RootCerts::new_with_certs(roots))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(within))
        .user_agent(concat!("cloudtaser-operator/", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(config.into())
}
