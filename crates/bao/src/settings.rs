//! How OpenBao is reached, with the reasons for what is usual.

use std::time::Duration;

use cloudtaser_tls::TlsClient;

use crate::{
    address::{Address, Plaintext},
    dns::Files,
    jitter::{Jitter, RandomJitter},
};

/// How OpenBao is reached.
#[derive(Debug)]
pub struct Settings {
    /// Where.
    pub address: Address,
    /// How to speak TLS; needed where the address is `https`.
    pub tls: Option<TlsClient>,
    /// Where tokens may travel unencrypted.
    pub plaintext: Plaintext,
    /// The namespace of all paths.
    pub namespace: Option<String>,
    /// The longest answer that is taken.
    pub max_body: usize,
    /// How long one try may take; the deadline bounds all of them.
    pub try_timeout: Duration,
    /// How many tries at most; as many as the deadline allows when absent.
    pub max_tries: Option<u32>,
    /// The files of the resolver.
    pub resolver: Files,
    /// What spreads retries.
    pub jitter: Box<dyn Jitter>,
}

impl Settings {
    /// OpenBao's largest entry is 1 MiB by default; a certificate chain or a batch may be larger.
    pub const MAX_BODY: usize = 8 << 20;
    /// Long enough for a slow login, short enough for three tries in a usual deadline.
    pub const TRY_TIMEOUT: Duration = Duration::from_secs(10);

    /// Settings for an address, the rest as usual.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self {
            address,
            tls: None,
            plaintext: Plaintext::default(),
            namespace: None,
            max_body: Self::MAX_BODY,
            try_timeout: Self::TRY_TIMEOUT,
            max_tries: None,
            resolver: Files::default(),
            jitter: Box::new(RandomJitter),
        }
    }
}
