//! Which replica writes: the holder of one Lease, as client-go elects it.
//!
//! Whether a holder is gone is judged by how long its Lease did not change under our eyes, never by
//! the times that stand in it. A holder that could not renew stops acting before others may take
//! over.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    clock,
    cluster::{ApiError, Cluster},
};

/// How long a Lease lasts after its last change.
pub(crate) const LASTS: Duration = Duration::from_secs(15);
/// How long a holder that cannot renew goes on.
const ACTS: Duration = Duration::from_secs(10);
/// How often a holder renews.
const RENEWS: Duration = Duration::from_secs(5);

/// One candidate.
#[derive(Debug)]
pub(crate) struct Election {
    collection: String,
    name: String,
    me: String,
    /// The Lease of somebody else, and since when it looks like that.
    watched: Option<(Value, Instant)>,
    /// When we last renewed.
    renewed: Option<Instant>,
}

/// Whether this replica leads, for the other parts of the program. Copies share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leading(Arc<AtomicBool>);

impl Leading {
    pub(crate) fn set(&self, leads: bool) {
        self.0.store(leads, Ordering::Relaxed);
    }

    pub(crate) fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is to be done about a Lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// Nothing yet.
    Keep,
    /// Ours: say that we are here.
    Renew,
    /// Nobody's: take it.
    Take,
    /// Somebody's: look again later.
    Wait,
}

impl Election {
    pub(crate) fn new(collection: &str, name: &str, me: &str) -> Self {
        Self {
            collection: collection.to_owned(),
            name: name.to_owned(),
            me: me.to_owned(),
            watched: None,
            renewed: None,
        }
    }

    /// Looks at the Lease, does what is due, and says whether this replica leads.
    ///
    /// # Errors
    /// [`ApiError`]; for a while the replica leads on.
    pub(crate) fn turn(&mut self, cluster: &Cluster, now: Instant) -> Result<bool, ApiError> {
        let path = format!("{}/{}", self.collection, self.name);
        let lease = cluster.get(&path)?;
        let done = match (self.step(lease.as_ref(), now), lease) {
            (Step::Keep, _) => return Ok(self.leads(now)),
            (Step::Wait, _) => {
                self.renewed = None;
                return Ok(false);
            }
            (Step::Renew | Step::Take, Some(lease)) => cluster.replace(&path, &self.held(&lease)),
            (Step::Renew | Step::Take, None) => {
                cluster.create(&self.collection, &self.held(&json!({})))
            }
        };
        match done {
            Ok(_) => {
                self.renewed = Some(now);
                self.watched = None;
                Ok(true)
            }
            Err(error) if error.is_conflict() => {
                self.renewed = None;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether this replica may act as the leader.
    pub(crate) fn leads(&self, now: Instant) -> bool {
        self.renewed.is_some_and(|renewed| now.saturating_duration_since(renewed) < ACTS)
    }

    /// Gives the Lease up, so that the next replica need not wait for its end.
    ///
    /// # Errors
    /// [`ApiError`].
    pub(crate) fn release(&mut self, cluster: &Cluster) -> Result<(), ApiError> {
        let path = format!("{}/{}", self.collection, self.name);
        if self.renewed.take().is_none() {
            return Ok(());
        }
        let Some(mut lease) = cluster.get(&path)? else { return Ok(()) };
        if holder(&lease) != Some(self.me.as_str()) {
            return Ok(());
        }
        if let Some(spec) = lease.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert("holderIdentity".to_owned(), json!(""));
            spec.insert("leaseDurationSeconds".to_owned(), json!(1));
        }
        cluster.replace(&path, &lease).map(drop)
    }

    fn step(&mut self, lease: Option<&Value>, now: Instant) -> Step {
        let Some(lease) = lease else { return Step::Take };
        match holder(lease) {
            Some(holder) if holder == self.me => {
                let fresh = |at| now.saturating_duration_since(at) < RENEWS;
                if self.renewed.is_some_and(fresh) { Step::Keep } else { Step::Renew }
            }
            Some(_) => {
                let spec = lease.get("spec").cloned().unwrap_or_default();
                match &self.watched {
                    Some((seen, since)) if *seen == spec => {
                        let gone = now.saturating_duration_since(*since) >= LASTS;
                        if gone { Step::Take } else { Step::Wait }
                    }
                    _ => {
                        self.watched = Some((spec, now));
                        Step::Wait
                    }
                }
            }
            None => Step::Take,
        }
    }

    /// The Lease as it is when it is ours.
    fn held(&self, lease: &Value) -> Value {
        let time = clock::micro_time();
        let mut held = lease.clone();
        let old = lease.get("spec").cloned().unwrap_or_default();
        let ours = holder(lease) == Some(self.me.as_str());
        let number = |member: &str| old.get(member).and_then(Value::as_u64).unwrap_or(0);
        let acquired = if ours { old.get("acquireTime").cloned() } else { None };
        let spec = json!({
            "holderIdentity": self.me,
            "leaseDurationSeconds": LASTS.as_secs(),
            "acquireTime": acquired.unwrap_or_else(|| json!(time)),
            "renewTime": time,
            "leaseTransitions": number("leaseTransitions") + u64::from(!ours),
        });
        if let Some(members) = held.as_object_mut() {
            members.insert("apiVersion".to_owned(), json!("coordination.k8s.io/v1"));
            members.insert("kind".to_owned(), json!("Lease"));
            members.entry("metadata").or_insert_with(|| json!({"name": self.name}));
            members.insert("spec".to_owned(), spec);
        }
        held
    }
}

fn holder(lease: &Value) -> Option<&str> {
    lease.pointer("/spec/holderIdentity")?.as_str().filter(|holder| !holder.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str, time: &str) -> Value {
        json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": holder, "renewTime": time}})
    }

    #[test]
    fn a_lease_of_nobody_is_taken_and_one_of_somebody_when_it_stood_still() {
        let mut election = Election::new("/c", "l", "me");
        let start = Instant::now();
        assert_eq!(election.step(None, start), Step::Take);
        assert_eq!(election.step(Some(&held_by("", "a")), start), Step::Take);
        assert_eq!(election.step(Some(&held_by("other", "a")), start), Step::Wait);
        let later = start + LASTS;
        assert_eq!(election.step(Some(&held_by("other", "b")), later), Step::Wait, "it changed");
        assert_eq!(election.step(Some(&held_by("other", "b")), later + LASTS / 2), Step::Wait);
        assert_eq!(election.step(Some(&held_by("other", "b")), later + LASTS), Step::Take);
    }

    #[test]
    fn a_holder_renews_in_time_and_stops_acting_before_others_may_start() {
        let mut election = Election::new("/c", "l", "me");
        let start = Instant::now();
        assert_eq!(election.step(Some(&held_by("me", "a")), start), Step::Renew, "after a restart");
        election.renewed = Some(start);
        assert_eq!(election.step(Some(&held_by("me", "a")), start), Step::Keep);
        assert_eq!(election.step(Some(&held_by("me", "a")), start + RENEWS), Step::Renew);
        assert!(election.leads(start + RENEWS));
        assert!(!election.leads(start + ACTS) && ACTS < LASTS);
    }

    #[test]
    fn a_lease_that_is_taken_over_counts_the_change_and_keeps_its_version() {
        let election = Election::new("/c", "l", "me");
        let mut other = held_by("other", "a");
        other["metadata"]["resourceVersion"] = json!("7");
        other["spec"]["leaseTransitions"] = json!(2);
        let held = election.held(&other);
        assert_eq!(held["metadata"]["resourceVersion"], "7");
        assert_eq!(held["spec"]["leaseTransitions"], 3);
        assert_eq!(election.held(&held)["spec"]["leaseTransitions"], 3);
        assert_eq!(election.held(&held)["spec"]["acquireTime"], held["spec"]["acquireTime"]);
    }
}
