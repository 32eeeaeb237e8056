//! Receipts of releases in an append-only log, and their offline verification.
//!
//! Each release, and each refusal, is a leaf of a Merkle tree that is on the disk before the answer
//! leaves. The log signs what it has, witnesses sign that it never had anything else, and whoever
//! gets a bundle verifies all of it without a network and without trusting this machine.
//! `docs/protocol/evidence.md` says each byte.
//!
//! Reading order: [`receipt`] and [`notice`] (what is written down), [`names`] (what is hidden), [`hash`] and
//! [`tree`] (RFC 6962), [`note`], [`checkpoint`], [`proof`] and [`tiles`] (C2SP), and [`log`], which
//! writes them; then [`bundle`] and [`mod@export`] (what an auditor gets), [`policy`] (whom to believe), [`verify`],
//! [`reconcile`], and [`witness`]; beside them [`node`] (what a node signed) and [`attest`].

#![forbid(unsafe_code)]

pub mod attest;
pub mod bundle;
pub mod checkpoint;
pub mod date;
pub mod export;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod hash;
pub mod key_change;
pub mod keys;
pub mod log;
pub mod names;
pub mod node;
pub mod note;
pub mod notice;
pub mod policy;
pub mod proof;
pub mod receipt;
pub mod reconcile;
pub mod tiles;
pub mod tree;
pub mod verify;
pub mod witness;

pub use hash::Digest;
pub use log::{Appended, Log, LogError};
pub use notice::{Leaf, Notice, Remark};
pub use receipt::{Draft, Receipt};
