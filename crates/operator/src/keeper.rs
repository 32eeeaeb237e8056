//! Sees to it that the API server trusts the certificate that this replica shows.
//!
//! Each replica makes its own key and never shows it to anyone. A new certificate is announced
//! first; when both webhook configurations trust it, and a moment later, it is taken into use. So
//! no handshake meets an authority that is not trusted yet, and there is no private key in etcd.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cloudtaser_tls::issue::{Issued, Terms};
use serde_json::Value;
use tracing::{info, warn};

use crate::{
    bundle::Bundle,
    clock,
    cluster::{ApiError, Cluster},
    election::{Election, Leading},
    log::chain,
    metrics::Metrics,
    options::Options,
    replicas::{Me, Replicas},
    serving::Serving,
    stop::Stop,
    trouble::Trouble,
};

/// How often is looked while something is on its way.
const SOON: Duration = Duration::from_millis(200);
/// How often is looked otherwise; somebody else's change of the configurations lasts this long.
const LATER: Duration = Duration::from_secs(5);
/// API servers hear of a change by their caches; what is trusted in one is trusted in all after this.
const SETTLE: Duration = Duration::from_secs(5);
/// Both kinds of webhook configuration.
const KINDS: [&str; 2] = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];

/// What one replica does for its certificate.
#[derive(Debug)]
pub(crate) struct Keeper {
    cluster: Cluster,
    serving: Arc<Serving>,
    metrics: Arc<Metrics>,
    leading: Leading,
    names: Vec<String>,
    webhooks: String,
    lifetime: Duration,
    current: Issued,
    next: Option<Next>,
    election: Election,
    replicas: Replicas,
}

/// A certificate that is announced.
#[derive(Debug)]
struct Next {
    issued: Issued,
    /// Since when the configurations trust it.
    trusted: Option<Instant>,
}

impl Keeper {
    /// Makes the first certificate and shows it.
    ///
    /// # Errors
    /// Where no certificate can be made, or the API server is not known.
    pub(crate) fn new(
        options: &Options,
        serving: Arc<Serving>,
        metrics: Arc<Metrics>,
        leading: Leading,
    ) -> anyhow::Result<Self> {
        let names = vec![options.server_name()];
        let lifetime = options.certificate_lifetime.0;
        let current = issue(&names, lifetime)?;
        serving.show(current.certified_key());
        metrics.certificate_end.set(i64::try_from(current.not_after()).unwrap_or(i64::MAX));
        let leases =
            format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", options.namespace);
        let me = Me { pod: options.pod.clone(), uid: options.pod_uid.clone() };
        Ok(Self {
            cluster: Cluster::connect(options)?,
            serving,
            metrics,
            leading,
            names,
            webhooks: options.webhooks.clone(),
            lifetime,
            current,
            next: None,
            election: Election::new(&leases, &options.service, &options.pod),
            replicas: Replicas::new(&leases, me),
        })
    }

    /// Goes on until the program stops, then takes this replica's traces away.
    pub(crate) fn run(mut self, stop: &Stop) {
        let what = "the certificate cannot be looked after";
        let mut trouble = Trouble::new(Arc::clone(&self.metrics), what);
        loop {
            let pause = trouble.heed(self.turn(Instant::now())).unwrap_or_else(|| {
                self.leading.set(self.election.leads(Instant::now()));
                Duration::from_secs(1)
            });
            if stop.sleep(pause) {
                break;
            }
        }
        let left = [self.replicas.leave(&self.cluster), self.election.release(&self.cluster)];
        for error in left.into_iter().filter_map(Result::err) {
            warn!(error = chain(&error), "a Lease of this replica stays until it ends");
        }
    }

    /// One look at everything; how long until the next.
    fn turn(&mut self, now: Instant) -> anyhow::Result<Duration> {
        if self.next.is_none() && self.is_due() {
            let issued = issue(&self.names, self.lifetime)?;
            self.next = Some(Next { issued, trusted: None });
        }
        self.replicas.say(&self.cluster, &self.authorities(), now)?;
        let was_leader = self.election.leads(now);
        let leads = self.election.turn(&self.cluster, now)?;
        if leads != was_leader {
            info!(leads, "leadership changed");
        }
        self.leading.set(leads);
        self.metrics.leader.set(i64::from(leads));
        let trusted = self.configurations(leads, now)?;
        self.follow(&trusted, now);
        let is_settled = self.serving.is_ready() && self.next.is_none();
        let later = LATER.min(self.lifetime / 12);
        Ok(if is_settled { later } else { SOON })
    }

    /// What both configurations trust, after the leader has set them right.
    fn configurations(&mut self, leads: bool, now: Instant) -> Result<Bundle, ApiError> {
        let mut trusted: Option<Bundle> = None;
        let wanted = match leads {
            true => {
                let mut wanted = self.replicas.bundle(&self.cluster, now)?;
                wanted.add(&self.authorities());
                Some(wanted)
            }
            false => None,
        };
        for kind in KINDS {
            let path = format!("/apis/admissionregistration.k8s.io/v1/{kind}/{}", self.webhooks);
            let Some(mut object) = self.cluster.get(&path)? else {
                return Ok(Bundle::default());
            };
            if let Some(patch) = wanted.as_ref().and_then(|wanted| wanted.patch(&object)) {
                object = self.write(&path, &patch)?.unwrap_or(object);
            }
            let bundle = Bundle::of_configuration(&object);
            trusted = Some(match trusted {
                Some(other) => other.and(&bundle),
                None => bundle,
            });
        }
        Ok(trusted.unwrap_or_default())
    }

    /// Writes; `None` where somebody else changed the configuration meanwhile.
    fn write(&self, path: &str, patch: &Value) -> Result<Option<Value>, ApiError> {
        match self.cluster.patch(path, patch) {
            Ok(object) => {
                self.metrics.bundle_writes.inc();
                Ok(Some(object))
            }
            Err(error) if error.is_conflict() => Ok(None),
            // A patch whose `test` failed.
            Err(ApiError::Refused { status: 422, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Draws the conclusions of what is trusted.
    fn follow(&mut self, trusted: &Bundle, now: Instant) {
        if trusted.has(self.current.authority_pem()) && self.serving.set_ready() {
            info!("ready: the API server trusts this replica's certificate");
            self.metrics.ready.set(1);
        }
        let settle = SETTLE.min(self.lifetime / 12);
        let Some(next) = &mut self.next else { return };
        if !trusted.has(next.issued.authority_pem()) {
            next.trusted = None;
            return;
        }
        let since = *next.trusted.get_or_insert(now);
        if now.saturating_duration_since(since) >= settle
            && let Some(next) = self.next.take()
        {
            self.serving.show(next.issued.certified_key());
            self.current = next.issued;
            self.metrics.rotations.inc();
            let end = self.current.not_after();
            self.metrics.certificate_end.set(i64::try_from(end).unwrap_or(i64::MAX));
            info!(not_after = end, "a new certificate is in use");
        }
    }

    fn authorities(&self) -> String {
        let next = self.next.as_ref().map_or("", |next| next.issued.authority_pem());
        format!("{}{next}", self.current.authority_pem())
    }

    fn is_due(&self) -> bool {
        let left = self.current.not_after().saturating_sub(clock::unix_seconds());
        left <= self.lifetime.as_secs() / 3
    }
}

fn issue(names: &[String], lifetime: Duration) -> Result<Issued, cloudtaser_tls::TlsError> {
    Issued::make(&Terms {
        issuer: "cloudtaser-operator",
        names,
        now: clock::unix_seconds(),
        lifetime: lifetime.as_secs(),
    })
}
