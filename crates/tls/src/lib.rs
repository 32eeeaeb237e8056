//! What cloudtaser asks of TLS: one provider, TLS 1.3 alone, hybrid key exchange first, trust that
//! somebody chose.
//!
//! It opens no socket and keeps no global: it makes [`rustls::ClientConfig`]s and explains the
//! errors that come of them. No certificate is trusted by default but what [`Trust`] names, and a
//! machine that cannot run the provider gets an error before the first handshake.
//!
//! Reading order: `trust` (who may answer), `client` (the configuration), then `pin`,
//! `provider` and `explain`. `issue` makes certificates for our own servers. `raw` and `digest` are
//! for protocols of which both ends are ours, `signature` is for tokens.

#![forbid(unsafe_code)]

pub mod client;
pub mod digest;
pub mod error;
pub mod explain;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod identity;
#[cfg(feature = "issue")]
pub mod issue;
pub mod pin;
pub mod provider;
pub mod raw;
pub mod signature;
pub mod spki;
pub mod trust;

mod verify;

pub use client::{TlsClient, TlsOptions, client_config};
pub use digest::{Digest, MacKey};
pub use error::TlsError;
pub use explain::explain;
pub use identity::Identity;
pub use pin::SpkiPin;
pub use provider::{provider, random};
pub use trust::{Authorities, SkipVerify, Trust};
