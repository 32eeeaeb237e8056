//! The cluster's side of the road to a bridge, for programs without an async runtime.
//!
//! What is pure here (names, tickets, the file with which a client is admitted) is shared with
//! `cloudtaser-relay`, whose beacons and bridges stand at the other ends; [`link`] and [`release`]
//! are a blocking client of `ct-release/1`.
//!
//! It keeps no secret of its own but keys, and logs nothing. Names are resolved by the caller.
//!
//! Reading order: [`rendezvous`], [`ticket`], [`admission`], [`credential`], [`invitation`], [`jwks`],
//! [`issuer`], [`broker`], [`link`], [`release`], [`seal`], [`error`].

#![forbid(unsafe_code)]

pub mod admission;
pub mod broker;
pub mod bytes;
pub mod credential;
pub mod error;
pub mod invitation;
pub mod issuer;
pub mod jwks;
pub mod link;
pub mod release;
pub mod rendezvous;
pub mod route;
pub mod seal;
pub mod stop;
pub mod ticket;

mod clock;

pub use admission::{Admission, BeaconAddress, ClientFile};
pub use error::ClientError;
pub use link::Link;
pub use release::{AskError, Login, Node, Notice, Release, Waited};
pub use route::{Resolve, Route};
pub use stop::{Stop, Until};
