//! Says on a Lease how the cluster stands with its bridge, where `cloudtaser status` reads it: a
//! Lease, since the operator may write those and nothing else that people may read.

use cloudtaser_core::names::kubernetes as names;
use cloudtaser_k8s::enrolment::{Enrolment, IssuerKeys, Standing};
use cloudtaser_tls::raw::PublicKey;
use serde_json::{Value, json};
use tracing::info;

use super::member::Member;
use crate::{
    clock,
    cluster::{ApiError, Cluster},
    options::Options,
};

/// What was said last, and where.
#[derive(Debug)]
pub(super) struct Notice {
    collection: String,
    pod: String,
    bridge: String,
    said: Option<Enrolment>,
    /// How the issuer's keys stand, which is said with all else of a cluster that has a key.
    keys: Option<IssuerKeys>,
}

impl Notice {
    pub(super) fn new(options: &Options, bridge: PublicKey) -> Self {
        let collection =
            format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", options.namespace);
        Self {
            collection,
            pod: options.pod.clone(),
            bridge: bridge.to_string(),
            said: None,
            keys: None,
        }
    }

    /// Says with all else, from now on, how the issuer's keys stand.
    ///
    /// # Errors
    /// [`ApiError`].
    pub(super) fn keys(&mut self, cluster: &Cluster, keys: IssuerKeys) -> Result<(), ApiError> {
        self.keys = Some(keys);
        match self.said.clone().filter(|said| said.key.is_some()) {
            Some(said) => self.write(cluster, Enrolment { keys: self.keys.clone(), ..said }),
            None => Ok(()),
        }
    }

    /// Another replica leads, and says what is to be said.
    pub(super) fn forget(&mut self) {
        (self.said, self.keys) = (None, None);
    }

    /// Whether the bridge knows the cluster and could be asked last.
    pub(super) fn is_heard(&self) -> bool {
        self.said.as_ref().is_some_and(|said| {
            said.why.is_none() && matches!(said.standing, Standing::Enrolled | Standing::Pending)
        })
    }

    /// Says where the cluster stands.
    ///
    /// # Errors
    /// [`ApiError`].
    pub(super) fn say(
        &mut self,
        cluster: &Cluster,
        member: Option<&Member>,
        standing: Standing,
        why: Option<&str>,
    ) -> anyhow::Result<()> {
        let good_until = member.and_then(|member| member.certificate()).map(|one| one.not_after);
        self.write(
            cluster,
            Enrolment {
                standing,
                bridge: self.bridge.clone(),
                key: member.map(|member| member.key.public().to_string()),
                invitation: member.map(|member| member.invitation.clone()),
                good_until,
                why: why.map(str::to_owned),
                keys: self.keys.clone(),
            },
        )?;
        Ok(())
    }

    /// Says that an invitation was not taken.
    ///
    /// # Errors
    /// [`ApiError`].
    pub(super) fn refused(
        &mut self,
        cluster: &Cluster,
        invitation: Option<String>,
        why: &str,
    ) -> Result<(), ApiError> {
        let (standing, bridge) = (Standing::Refused, self.bridge.clone());
        let why = Some(why.to_owned());
        let enrolment = Enrolment {
            standing,
            bridge,
            key: None,
            invitation,
            good_until: None,
            why,
            keys: None,
        };
        self.write(cluster, enrolment)
    }

    /// Says that nobody has invited the cluster, unless a reason is there already why it is out.
    ///
    /// # Errors
    /// [`ApiError`].
    pub(super) fn uninvited(&mut self, cluster: &Cluster) -> Result<(), ApiError> {
        let there = match &self.said {
            Some(said) => Some(said.clone()),
            None => cluster.get(&self.path())?.as_ref().and_then(said_on),
        };
        let is_told = |there: &Enrolment| {
            there.bridge == self.bridge
                && there.key.is_none()
                && matches!(there.standing, Standing::Refused | Standing::Uninvited)
        };
        if let Some(there) = there.filter(is_told) {
            self.said = Some(there);
            return Ok(());
        }
        let (standing, bridge) = (Standing::Uninvited, self.bridge.clone());
        let enrolment = Enrolment {
            standing,
            bridge,
            key: None,
            invitation: None,
            good_until: None,
            why: None,
            keys: None,
        };
        self.write(cluster, enrolment)
    }

    fn write(&mut self, cluster: &Cluster, enrolment: Enrolment) -> Result<(), ApiError> {
        if self.said.as_ref() == Some(&enrolment) {
            return Ok(());
        }
        let path = self.path();
        let done = match cluster.get(&path)? {
            Some(there) => cluster.replace(&path, &self.lease(&there, &enrolment)),
            None => cluster.create(&self.collection, &self.lease(&json!({}), &enrolment)),
        };
        match done {
            Ok(_) => {
                info!(said = enrolment.to_text(), "the cluster stands otherwise with its bridge");
                self.said = Some(enrolment);
            }
            // Another leader has said something: said anew the next time.
            Err(error) if error.is_conflict() => self.said = None,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn path(&self) -> String {
        format!("{}/{}", self.collection, names::ENROLMENT_LEASE)
    }

    fn lease(&self, there: &Value, enrolment: &Enrolment) -> Value {
        let mut metadata = json!({
            "name": names::ENROLMENT_LEASE,
            "annotations": { names::ENROLMENT: enrolment.to_text() },
        });
        let version = there.pointer("/metadata/resourceVersion");
        if let (Some(metadata), Some(version)) = (metadata.as_object_mut(), version) {
            metadata.insert("resourceVersion".to_owned(), version.clone());
        }
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
            "spec": { "holderIdentity": self.pod, "renewTime": clock::micro_time() },
        })
    }
}

/// What a Lease says.
fn said_on(lease: &Value) -> Option<Enrolment> {
    let annotations = lease.pointer("/metadata/annotations")?;
    Enrolment::parse(annotations.get(names::ENROLMENT)?.as_str()?)
}
