//! The road between a cluster and an OpenBao that opens no port.
//!
//! A *bridge* beside OpenBao dials out to a public *beacon*; a client in the cluster dials the same
//! beacon; the beacon joins the two connections. What goes through is one TLS 1.3 session between
//! client and bridge, whose first bytes the beacon reads and whose keys it never has.
//!
//! Reading order: [`proto`] (what all three agree on).

#![forbid(unsafe_code)]

pub mod proto;
