//! The road between a cluster and an OpenBao that opens no port.
//!
//! A *bridge* beside OpenBao dials out to a public *beacon*; a client in the cluster dials the same
//! beacon; the beacon joins the two connections. What goes through is one TLS 1.3 session between
//! client and bridge, whose first bytes the beacon reads and whose keys it never has.
//!
//! Without the feature `bridge` there is no part of it that stands in the EU: the operator links the
//! cluster's side alone.
//!
//! Reading order: [`proto`] (what all three agree on), [`beacon`], [`bridge`], [`client`],
//! [`enrol`] (at the bridge), [`cluster`] and [`broker`] (in the cluster), [`mod@file`], [`program`], [`log`].

#![forbid(unsafe_code)]

pub mod beacon;
#[cfg(feature = "bridge")]
pub mod bridge;
pub mod broker;
pub mod client;
pub mod cluster;
#[cfg(feature = "bridge")]
pub mod enrol;
pub mod file;
pub mod log;
pub mod panics;
#[cfg(feature = "bridge")]
pub mod program;
pub mod proto;

mod admin;
mod backoff;
mod clock;
mod control;
mod counted;
mod net;
