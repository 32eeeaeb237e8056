//! The keys by which this cluster signs tokens: read at the API server, shown to the bridge.
//!
//! The bridge believes tokens by keys that people there compared; Kubernetes replaces its keys now and
//! then. So what the API server publishes is shown again and again: another set, and what people decided
//! about it, is noticed within a minute. Nothing is believed here: people are told what to compare
//! (`docs/adr/0059`).

use std::time::{Duration, Instant};

use cloudtaser_k8s::enrolment::{Belief, IssuerKeys};
use cloudtaser_relay::{broker::keeper::NotEnrolled, client::ClientError, proto::enrol};
use cloudtaser_road::issuer::{Fingerprint, KeySet};
use cloudtaser_tls::raw::PublicKey;
use tracing::{info, warn};

use super::{bridge::Bridge, member::Member};
use crate::{cluster::Cluster, log::chain};

/// Before keys that wait are shown again, to hear of what people decided.
const WAITS_PAUSE: Duration = Duration::from_secs(10);

/// What else a session may have ended for.
const OLDER: &str = "; a bridge of an earlier version hears of no keys: carry them by file";

/// What was shown last.
#[derive(Debug)]
pub(super) struct Issuer {
    every: Duration,
    not_before: Option<Instant>,
    /// In whose name.
    key: Option<PublicKey>,
    said: Option<IssuerKeys>,
}

impl Issuer {
    pub(super) const fn new(every: Duration) -> Self {
        Self { every, not_before: None, key: None, said: None }
    }

    /// People have decided something: it is looked again at once.
    pub(super) fn hurry(&mut self) {
        self.not_before = None;
    }

    /// Another leads, or it is shown in another name: all is shown anew.
    pub(super) fn forget(&mut self) {
        *self = Self::new(self.every);
    }

    /// Looks, where it is time to; how the keys stand, where that is another than the last time.
    pub(super) fn look(
        &mut self,
        cluster: &Cluster,
        bridge: &Bridge,
        member: &Member,
    ) -> Option<IssuerKeys> {
        let (now, key) = (Instant::now(), member.key.public());
        if self.key != Some(key) {
            self.forget();
            self.key = Some(key);
        }
        if self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        let read = KeySet::ask(|path| cluster.get(path).map_err(|error| chain(&error)));
        let keys = match read {
            Ok((shown, print)) => show(bridge, member, &shown, print),
            Err(why) => {
                let (issuer, fingerprint) = (None, None);
                IssuerKeys { standing: Belief::NotShown, issuer, fingerprint, why: Some(why) }
            }
        };
        let waits = keys.standing == Belief::Waits;
        let pause = if waits { self.every.min(WAITS_PAUSE) } else { self.every };
        self.not_before = Some(Instant::now() + pause);
        if self.said.as_ref() == Some(&keys) {
            return None;
        }
        let IssuerKeys { standing, issuer, fingerprint, why } = &keys;
        match standing {
            Belief::Believed | Belief::NotNeeded => {
                info!(?standing, issuer, fingerprint, "the bridge was shown the keys");
            }
            _ => {
                let what = "tokens of this cluster are not believed by the keys that sign them";
                warn!(?standing, issuer, fingerprint, why, "{what}");
            }
        }
        self.said = Some(keys.clone());
        Some(keys)
    }
}

fn show(bridge: &Bridge, member: &Member, shown: &KeySet, print: Fingerprint) -> IssuerKeys {
    let (standing, why) = match bridge.show(member, shown) {
        Ok(enrol::Belief::Believed) => (Belief::Believed, None),
        Ok(enrol::Belief::NoIssuer) => (Belief::NoIssuer, None),
        Ok(enrol::Belief::NotNeeded) => (Belief::NotNeeded, None),
        Ok(_) => (Belief::Waits, None),
        Err(error) => {
            let is_deaf = matches!(
                error,
                NotEnrolled::Client(ClientError::Session(_) | ClientError::Silence { .. })
            );
            let older = if is_deaf { OLDER } else { "" };
            (Belief::NotShown, Some(format!("{}{older}", chain(&error))))
        }
    };
    stands(shown, print, standing, why)
}

fn stands(shown: &KeySet, print: Fingerprint, standing: Belief, why: Option<String>) -> IssuerKeys {
    let (issuer, fingerprint) = (Some(shown.issuer().to_owned()), Some(print.to_string()));
    IssuerKeys { standing, issuer, fingerprint, why }
}
