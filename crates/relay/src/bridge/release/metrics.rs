//! What a bridge counts. No label names a tenant, a path or a pod.
//!
//! The bridge listens on nothing, so the counts are a text in a file: what Prometheus' node exporter
//! reads from its textfile folder.

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{around::Counts, books::RELEASED, receipt::Receipt};

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Decided {
    decision: String,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    decisions: Family<Decided, Counter>,
    approved: Counter,
    broken: Counter,
    unwritten: Counter,
    approvals: Gauge,
    glass: Gauge,
}

impl Metrics {
    /// Counts what was decided and written down.
    pub(super) fn decided(&self, receipt: &Receipt) {
        let decision = receipt.decision.clone();
        self.decisions.get_or_create(&Decided { decision }).inc();
        if receipt.decision != RELEASED {
            return;
        }
        let is = |act| receipt.orders.iter().any(|stood| stood.act == act);
        if is(cloudtaser_evidence::receipt::Act::Approval) {
            self.approved.inc();
        }
        if is(cloudtaser_evidence::receipt::Act::BreakGlass) {
            self.broken.inc();
        }
    }

    /// Nothing was released since nothing could be written down.
    pub(super) fn unwritten(&self) {
        self.unwritten.inc();
    }

    /// How many orders are in force.
    pub(super) fn orders(&self, approvals: usize, glass: usize) {
        let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.approvals.set(number(approvals));
        self.glass.set(number(glass));
    }

    /// The text that Prometheus reads.
    pub(super) fn text(&self, audit: Option<Counts>) -> String {
        let mut registry = Registry::with_prefix("cloudtaser_bridge");
        registry.register("decisions", "Items that were decided", self.decisions.clone());
        registry.register("approved", "Releases that people approved", self.approved.clone());
        let help = "Releases for which people set the policy aside";
        registry.register("break_glass_releases", help, self.broken.clone());
        let help = "Requests refused since nothing could be written down";
        registry.register("unwritten", help, self.unwritten.clone());
        registry.register("approvals_in_force", "Approvals in force", self.approvals.clone());
        let help = "Orders in force that set the policy aside";
        registry.register("break_glass_in_force", help, self.glass.clone());
        if let Some(Counts { lines, matched, around, unreadable }) = audit {
            for (name, help, count) in [
                ("openbao_lines", "Lines of OpenBao's audit device", lines),
                ("openbao_matched", "Reads there that a session here asked for", matched),
                ("openbao_around", "Reads there that no session here asked for", around),
                ("openbao_unreadable", "Lines there that are no audit entries", unreadable),
            ] {
                let counter = Counter::<u64>::default();
                counter.inc_by(count);
                registry.register(name, help, counter);
            }
        }
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _written = encode(&mut text, &registry);
        text
    }
}
