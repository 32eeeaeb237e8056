//! A client of OpenBao (and of Vault, whose HTTP interface it shares) for programs that keep
//! secrets in memory.
//!
//! Requests are built and answers are read by pure modules ([`login`], [`answer`], [`transit`],
//! `kv`, [`renewal`], `dns::message`); one driver has the connection, the clock and the pauses.
//! Blocking, without a runtime. What comes from OpenBao is parsed in a buffer that is wiped, and each
//! value is copied once, into a [`cloudtaser_core::Secret`]. HTTP and TLS libraries keep buffers of
//! their own, which only the program's allocator can wipe.
//!
//! Reading order: [`client`], then [`settings`], [`login`], [`read`], [`answer`], `driver`, `retry`,
//! `dial`, [`dns`].

#![forbid(unsafe_code)]

pub mod address;
pub mod answer;
pub mod client;
pub mod deadline;
pub mod dns;
pub mod error;
pub mod health;
pub mod jitter;
pub mod login;
pub mod read;
pub mod renewal;
pub mod settings;
pub mod transit;

mod authenticate;
mod carried;
mod dial;
mod driver;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod json;
mod kv;
mod request;
mod retry;
mod store;

pub use address::{Address, Plaintext};
pub use answer::{Answer, Fields, Lease, Session};
pub use client::{Client, Decrypted, Stopper};
pub use deadline::Deadline;
pub use error::{BaoError, Failure, Operation, Place};
pub use health::Seal;
pub use jitter::{Jitter, RandomJitter};
pub use login::{Credential, Login, Method, SecretId};
pub use read::ReadSet;
pub use settings::Settings;
pub use transit::TransitKey;
