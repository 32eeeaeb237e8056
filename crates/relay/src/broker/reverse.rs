//! Reverse mode: no beacon stands between, but bridges dial the broker, at a public address of the
//! cluster.
//!
//! What bridges find there is a beacon, in the broker's own process and with a key of its own, so
//! that a bridge does what it does anywhere: it dials out, and listens on nothing. On the public
//! address nobody but the one bridge is let in, and clients not at all; the broker's programs come
//! from inside (docs/adr/0050).

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use cloudtaser_tls::raw::{KeyPair, PublicKey};
use tokio::time::{Instant, sleep};

use crate::beacon::{
    Beacon, BeaconError, Entrance,
    config::{Bridges, Config, Limits},
};

/// How often it is looked whether a bridge has come.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// One bridge dials, by a few control connections and some legs; the rest are strangers.
const PENDING: usize = 1024;
/// Tunnels end when the broker's connections do, and it has waited for them by then.
const DRAIN_SECONDS: u16 = 1;

/// Begins to listen for the bridge with this key.
///
/// # Errors
/// [`BeaconError`].
pub fn listen(
    address: SocketAddr,
    key: KeyPair,
    bridge: PublicKey,
    connections: usize,
) -> Result<(Beacon, Entrance), BeaconError> {
    let limits = Limits {
        pending: PENDING.max(connections),
        tunnels: connections,
        waiting_per_bridge: connections,
        drain_seconds: DRAIN_SECONDS,
        ..Limits::default()
    };
    let bridges = Bridges::Only(BTreeSet::from([bridge]));
    let (clients, admin, handover_socket) = (None, None, None);
    Beacon::for_bridges(Config {
        listen: address,
        clients,
        admin,
        handover_socket,
        key,
        bridges,
        limits,
    })
}

/// Waits until a bridge has dialled in; whether one did.
pub async fn until_dialled(entrance: &Entrance, patience: Duration) -> bool {
    let until = Instant::now() + patience;
    while entrance.bridges() == 0 {
        if Instant::now() >= until {
            return false;
        }
        sleep(LOOK_EVERY).await;
    }
    true
}

/// A broker's counts, and those of its beacon where it has one, as one text.
pub(super) fn with_metrics(own: String, entrance: Option<&Entrance>) -> String {
    /// What a text ends with (OpenMetrics 1.0).
    const END: &str = "# EOF\n";
    match entrance {
        None => own,
        Some(entrance) => own.trim_end_matches(END).to_owned() + &entrance.metrics(),
    }
}
