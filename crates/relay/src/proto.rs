//! The protocol: what beacon, bridge and client agree on, byte for byte.
//!
//! No socket, no clock, no randomness, no async. What comes from the network is parsed here and
//! nowhere else; no parser panics, and each reads a prefix of a message as "not whole yet" and
//! never as something else. `docs/protocol/relay.md` describes the same for other implementations;
//! `tests/golden.rs` holds both to the same bytes.
//!
//! Reading order: [`rendezvous`] (the name that both sides dial), [`hello`] (what the beacon sees
//! of a session), [`ticket`] (what lets a client in), [`frame`] (bridge and beacon), [`leg`] (one
//! tunnel's way to the bridge), [`credit`], [`session`] (what is said inside). How a cluster comes to
//! be known (`docs/protocol/enrolment.md`): [`invitation`], [`enrol`], [`credential`] (what it shows
//! then), [`broker`] (what it gives to the programs in it).

pub mod credit;
pub mod enrol;
pub mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod hello;
pub mod leg;
pub mod session;

pub use cloudtaser_road::{broker, credential, invitation, rendezvous, ticket};

use cloudtaser_road::bytes;
