//! What a beacon counts. No label names a tenant, a client or an address.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

/// Why a connection was closed without a word.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(super) enum Refusal {
    /// Neither TLS nor a leg.
    Garbage,
    /// TLS, but the hello is malformed or too long.
    Hello,
    /// No share for the hybrid key exchange.
    Classical,
    /// It did not say in time what it wants.
    Slow,
    /// It had not said what it wants when too many others came after it.
    Evicted,
    /// The name belongs to no bridge that is here.
    Name,
    /// No ticket, or one that is forged.
    Ticket,
    /// A ticket of another time.
    Stale,
    /// A ticket that was used.
    Replay,
    /// The bridge denied this client for a while.
    Denied,
    /// The client has as many tunnels as its ticket allows.
    ClientLimit,
    /// Too many connections or tunnels.
    BeaconLimit,
    /// Who comes by this listener cannot have that.
    Door,
    /// Too many clients wait for this bridge.
    BridgeLimit,
    /// The bridge sent no leg in time.
    NoLeg,
    /// A leg whose preamble is false, late or used.
    Leg,
    /// A control connection whose handshake or first frame failed.
    Control,
}

/// What a connection turned out to be.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(super) enum Kind {
    Control,
    Leg,
    Tunnel,
}

/// How bytes went.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(super) enum Way {
    Copied,
    Spliced,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct Reason {
    reason: Refusal,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct OfKind {
    kind: Kind,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ByWay {
    way: Way,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    refused: Family<Reason, Counter>,
    accepted: Family<OfKind, Counter>,
    bytes: Family<ByWay, Counter>,
    pub(super) bridges: Gauge,
    pub(super) legs: Gauge,
    pub(super) tunnels: Gauge,
}

impl Metrics {
    pub(super) fn refuse(&self, reason: Refusal) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    pub(super) fn accept(&self, kind: Kind) {
        self.accepted.get_or_create(&OfKind { kind }).inc();
    }

    pub(super) fn move_bytes(&self, way: Way, bytes: u64) {
        self.bytes.get_or_create(&ByWay { way }).inc_by(bytes);
    }

    /// The text that Prometheus reads.
    pub(super) fn text(&self) -> String {
        let mut registry = Registry::with_prefix("cloudtaser_beacon");
        let help = "Connections closed without a word";
        registry.register("refused", help, self.refused.clone());
        registry.register("accepted", "Connections that were taken", self.accepted.clone());
        let help = "Bytes carried through tunnels that have ended";
        registry.register_with_unit("carried", help, Unit::Bytes, self.bytes.clone());
        registry.register("bridges", "Control connections", self.bridges.clone());
        registry.register("legs", "Idle legs", self.legs.clone());
        registry.register("tunnels", "Tunnels", self.tunnels.clone());
        let help = "Connections that were lost by a defect of the program";
        let panics = Counter::<u64>::default();
        panics.inc_by(crate::panics::seen());
        registry.register("panics", help, panics);
        let mut text = String::new();
        // Writing to a String does not fail.
        let _never = encode(&mut text, &registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_and_kinds_are_labels() {
        let metrics = Metrics::default();
        metrics.refuse(Refusal::Ticket);
        metrics.accept(Kind::Tunnel);
        metrics.move_bytes(Way::Spliced, 7);
        let text = metrics.text();
        for line in [
            "cloudtaser_beacon_refused_total{reason=\"Ticket\"} 1",
            "cloudtaser_beacon_accepted_total{kind=\"Tunnel\"} 1",
            "cloudtaser_beacon_carried_bytes_total{way=\"Spliced\"} 7",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
