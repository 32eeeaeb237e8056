//! What a broker counts. No label names a program or an address.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use crate::proto::credential::Certificate;

/// Why a program gets no connection.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(super) enum Refusal {
    Busy,
    NoBeacon,
    NotEnrolled,
    /// It did not say in time, or not in form, what it wants.
    Request,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Reason {
    reason: Refusal,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Metrics {
    refused: Family<Reason, Counter>,
    accepted: Counter,
    carried: Counter,
    pub(super) connections: Gauge,
}

impl Metrics {
    pub(super) fn refuse(&self, reason: Refusal) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    pub(super) fn accept(&self) {
        self.accepted.inc();
    }

    pub(super) fn carry(&self, bytes: u64) {
        self.carried.inc_by(bytes);
    }

    /// The text that Prometheus reads.
    pub(super) fn text(&self, certificate: Option<&Certificate>) -> String {
        let mut registry = Registry::with_prefix("cloudtaser_broker");
        registry.register("refused", "Programs that got no connection", self.refused.clone());
        registry.register("accepted", "Connections that were taken", self.accepted.clone());
        let help = "Bytes carried through connections that have ended";
        registry.register_with_unit("carried", help, Unit::Bytes, self.carried.clone());
        registry.register("connections", "Connections", self.connections.clone());
        let help = "Connections that were lost by a defect of the program";
        let panics = Counter::<u64>::default();
        panics.inc_by(crate::panics::seen());
        registry.register("panics", help, panics);
        let until: Gauge = Gauge::default();
        let not_after = certificate.map_or(0, |certificate| certificate.not_after);
        until.set(i64::try_from(not_after).unwrap_or(i64::MAX));
        let help = "When the cluster's certificate runs out, since 1970; 0 without one";
        registry.register_with_unit("certificate_not_after", help, Unit::Seconds, until);
        let mut text = String::new();
        // Writing to a String does not fail.
        let _never = encode(&mut text, &registry);
        text
    }
}
