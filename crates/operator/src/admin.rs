//! Health, readiness and metrics, for the kubelet and for Prometheus.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode, routing::get};
use cloudtaser_core::names::kubernetes as names;
use cloudtaser_relay::broker::Counts;

use crate::{metrics::Metrics, serving::Serving};

/// What is shown.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) serving: Arc<Serving>,
    /// Where there is a broker.
    pub(crate) broker: Option<Counts>,
}

impl Admin {
    fn text(&self) -> String {
        let own = self.metrics.text();
        let Some(broker) = &self.broker else { return own };
        // The mark of the end stands once, at the end.
        format!("{}{}", own.trim_end_matches("# EOF\n"), broker.text())
    }
}

/// The routes.
pub(crate) fn routes(admin: Admin) -> Router {
    Router::new()
        .route(names::HEALTH_PATH, get(|| async { "ok\n" }))
        .route(names::READY_PATH, get(ready))
        .route(names::METRICS_PATH, get(|State(admin): State<Admin>| async move { admin.text() }))
        .with_state(admin)
}

async fn ready(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    if admin.serving.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the API server does not trust this replica yet\n")
    }
}
