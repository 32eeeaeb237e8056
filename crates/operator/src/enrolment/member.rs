//! What is kept of an enrolment: the cluster's key, what the bridge gave, which invitation it was.

use std::sync::Arc;

use anyhow::Context as _;
use cloudtaser_core::Secret;
use cloudtaser_relay::{
    broker::desk::Clerk, client::Client, cluster::Papers, proto::credential::Certificate,
};
use cloudtaser_road::invitation::Invitation;
use cloudtaser_tls::raw::{KeyPair, PublicKey};
use data_encoding::HEXLOWER;

use crate::{clock, cluster::Held};

/// Fields of the Secret.
pub(super) const KEY: &str = "key";
pub(super) const PAPERS: &str = "papers";
pub(super) const NUMBER: &str = "invitation";

/// A cluster that has a key.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) key: KeyPair,
    pub(super) client: Arc<Client>,
    pub(super) invitation: String,
}

impl Member {
    /// Reads what is kept; `None` where nothing is, or where it is for another bridge.
    ///
    /// # Errors
    /// Where it is damaged.
    pub(super) fn read(held: &Held, bridge: &PublicKey) -> anyhow::Result<Option<Self>> {
        let (Some(key), Some(papers)) = (held.fields.get(KEY), held.fields.get(PAPERS)) else {
            return Ok(None);
        };
        let key = KeyPair::from_pem(key)?;
        let given = Papers::from_json(papers.expose())?.into_given()?;
        // SECURITY: who can write a Secret cannot lead pods to another bridge.
        if given.admission.bridge() != *bridge {
            return Ok(None);
        }
        let client = Arc::new(Client::new(&key, given)?);
        let number = held.fields.get(NUMBER).and_then(Secret::expose_str);
        Ok(Some(Self { key, client, invitation: number.unwrap_or_default().to_owned() }))
    }

    /// Who vouches for it at the broker.
    pub(super) fn clerk(&self) -> Clerk {
        Clerk { client: Arc::clone(&self.client), key: self.key.clone() }
    }

    pub(super) fn certificate(&self) -> Option<Certificate> {
        self.client.certificate()
    }

    /// Whether it has a certificate that did not run out.
    pub(super) fn is_good(&self) -> bool {
        let now = clock::unix_seconds();
        self.certificate().is_some_and(|certificate| certificate.not_after > now)
    }
}

/// A key that was never shown to anybody, and what an invitation gives to its holder.
///
/// # Errors
/// Where no key can be made.
pub(super) fn fresh(invitation: &Invitation) -> anyhow::Result<(Secret, Secret)> {
    let (_, key) = KeyPair::generate()?;
    let papers = Papers::invited(invitation).to_json()?;
    Ok((key, Secret::new(papers.to_vec())))
}

/// What is kept, with other papers.
///
/// # Errors
/// Where it is damaged.
pub(super) fn with(
    held: &Held,
    change: impl FnOnce(&mut Papers),
) -> anyhow::Result<Vec<(&'static str, Secret)>> {
    let field = |name| held.fields.get(name).with_context(|| format!("there is no field {name}"));
    let mut papers = Papers::from_json(field(PAPERS)?.expose())?;
    change(&mut papers);
    let copy = |name| field(name).map(|value| Secret::new(value.expose().to_vec()));
    let papers = Secret::new(papers.to_json()?.to_vec());
    Ok(vec![(KEY, copy(KEY)?), (PAPERS, papers), (NUMBER, copy(NUMBER)?)])
}

/// An invitation's number, which is no secret.
pub(super) fn number(invitation: &Invitation) -> String {
    HEXLOWER.encode(&invitation.id.0)
}
