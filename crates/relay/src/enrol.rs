//! Who is let in at a bridge: what is known of invitations and clusters, on the bridge's disk.
//!
//! The folder is the one source of truth. Verbs of `cloudtaser-bridge` change it while the bridge
//! runs; the bridge looks whether it has changed. Every change is one act with one line of audit.
//!
//! Reading order: [`state`] (what may follow what; pure), [`store`] (how it gets to the disk and
//! survives a crash), `audit`.

pub mod state;
pub mod store;

mod audit;
mod text;

pub use state::{Act, Cluster, Invited, Standing, State};
pub use store::{Store, StoreError};
