//! What is known, and what may follow what. No clock, no file, no randomness.

use std::fmt;

use cloudtaser_road::issuer::{Fingerprint, KeySet};
use cloudtaser_tls::{Digest, raw::PublicKey};
use serde::{Deserialize, Serialize};

use super::text;
use crate::proto::enrol::{InvitationId, InvitationSecret, Refusal};

/// A cluster that has not asked for so long after its certificate ran out has to be invited again.
pub const DORMANT_AFTER_SECONDS: u64 = 14 * 86_400;
/// Longest name of a cluster.
pub const MAX_NAME_LEN: usize = 64;

const SECRET_CONTEXT: &[u8] = b"cte1/secret";

/// All that is known.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Counts acts.
    pub revision: u64,
    /// The audit line of the last act, so that a crash between the two files loses none.
    #[serde(default)]
    pub last_line: Option<String>,
    /// All invitations, used ones as well: one that is not here was never made.
    #[serde(default)]
    pub invitations: Vec<Invited>,
    /// All clusters that ever joined.
    #[serde(default)]
    pub clusters: Vec<Cluster>,
}

/// An invitation, of which only the hash of its secret is known.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Invited {
    #[serde(with = "text::hex16")]
    id: [u8; 16],
    #[serde(with = "text::hex32")]
    secret_hash: [u8; 32],
    /// What the bridge's people call the cluster.
    pub name: String,
    /// Seconds since 1970.
    pub not_after: u64,
    /// Tunnels that the cluster may have at once.
    pub max_tunnels: u16,
    /// Whose key used it.
    #[serde(default, with = "text::key")]
    pub used_by: Option<PublicKey>,
    /// Whether whoever uses it is let in at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approved: bool,
}

/// A cluster that has joined.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    #[serde(with = "text::one_key")]
    key: PublicKey,
    /// What the bridge's people call it.
    pub name: String,
    /// Where it stands.
    pub standing: Standing,
    /// Tunnels that it may have at once.
    pub max_tunnels: u16,
    #[serde(with = "text::hex16")]
    invitation: [u8; 16],
    /// When it joined, in seconds since 1970.
    pub joined: u64,
    /// Until when its last certificate is good, in seconds since 1970.
    #[serde(default)]
    pub good_until: u64,
    /// The issuer's keys that it showed last. They are believed by nobody for that.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::shown")]
    pub keys: Option<KeySet>,
}

/// Where a cluster stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Somebody said yes.
    Approved,
    /// Nobody has said anything yet.
    Pending,
    /// Somebody said no.
    Revoked,
}

/// What was done, for the audit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Act {
    /// A cluster's key was found to be good.
    Approved(PublicKey),
    /// A cluster showed keys of its issuer, others than before.
    Shown(PublicKey, Fingerprint),
    /// A person found keys of an issuer to be good: they are believed from then on.
    Believed(PublicKey, Fingerprint),
    /// A certificate was given out.
    Granted(PublicKey, [u8; 16], u64),
    /// An invitation was made.
    Invited(InvitationId),
    /// An invitation was used.
    Joined(PublicKey, InvitationId),
    /// An invitation that was used already was shown by another key, secret and all.
    Replayed(PublicKey, InvitationId),
    /// A cluster was put out.
    Revoked(PublicKey),
}

/// Why a person's act cannot be done.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Impossible {
    /// A name that says too little or too much.
    #[error("a name has 1 to 64 letters, digits, dots, dashes or underscores")]
    Name,
    /// A name that another has.
    #[error("{0} is the name of another cluster or invitation: revoke that one, or take another")]
    NameTaken(String),
    /// No cluster has this key.
    #[error("no cluster has joined with the key {0}; `status` lists those that have, in full")]
    NoSuchKey(PublicKey),
    /// It has shown no keys of its issuer.
    #[error(
        "the cluster {0} has shown no keys of its issuer: its operator does so within a minute, or \
         `cloudtaser-bridge issuer-keys` takes them from a file"
    )]
    NoKeys(String),
    /// It has shown other keys than those that were compared.
    #[error(
        "the cluster {name} shows the keys {shown}, and these are not they: nothing was changed. \
         Compare again, with what its API server says at this moment; if that is not {shown}, somebody \
         between the two shows false keys"
    )]
    OtherKeys {
        /// Its name.
        name: String,
        /// What it shows.
        shown: Fingerprint,
    },
    /// It cannot follow what was before.
    #[error("the cluster {name} is {standing}: {what}")]
    Standing {
        /// Its name.
        name: String,
        /// Where it stands.
        standing: Standing,
        /// Why that is in the way.
        what: &'static str,
    },
}

impl Standing {
    const fn word(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Pending => "pending",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Invited {
    /// Which one it is.
    #[must_use]
    pub const fn id(&self) -> InvitationId {
        InvitationId(self.id)
    }
}

impl Cluster {
    /// Its key, which is its identity.
    #[must_use]
    pub const fn key(&self) -> PublicKey {
        self.key
    }
}

/// What is kept of a secret.
#[must_use]
pub fn hash_of(digest: Digest, secret: &InvitationSecret) -> [u8; 32] {
    digest.sha256(&[SECRET_CONTEXT, secret.expose()])
}

impl State {
    /// The cluster with this key.
    #[must_use]
    pub fn cluster(&self, key: &PublicKey) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.key == *key)
    }

    /// The cluster with this key, where it is approved.
    #[must_use]
    pub fn approved(&self, key: &PublicKey) -> Option<&Cluster> {
        self.cluster(key).filter(|cluster| cluster.standing == Standing::Approved)
    }

    fn cluster_mut(&mut self, key: &PublicKey) -> Result<&mut Cluster, Impossible> {
        let found = self.clusters.iter_mut().find(|cluster| cluster.key == *key);
        found.ok_or(Impossible::NoSuchKey(*key))
    }

    /// Makes an invitation.
    ///
    /// # Errors
    /// [`Impossible`].
    pub fn invite(&mut self, invited: NewInvitation, now: u64) -> Result<Act, Impossible> {
        let NewInvitation { id, secret_hash, name, not_after, max_tunnels, approved } = invited;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if name.is_empty() || name.len() > MAX_NAME_LEN || !name.bytes().all(fits) {
            return Err(Impossible::Name);
        }
        let cluster = self
            .clusters
            .iter()
            .any(|cluster| cluster.name == name && cluster.standing != Standing::Revoked);
        let waiting = self
            .invitations
            .iter()
            .any(|other| other.name == name && other.used_by.is_none() && other.not_after > now);
        if cluster || waiting {
            return Err(Impossible::NameTaken(name));
        }
        self.invitations.push(Invited {
            id: id.0,
            secret_hash,
            name,
            not_after,
            max_tunnels,
            used_by: None,
            approved,
        });
        Ok(Act::Invited(id))
    }

    /// A cluster shows an invitation. Doing it again with the same key changes nothing.
    ///
    /// # Errors
    /// [`Refusal`]; with it an act, where people should hear of it.
    pub fn join(
        &mut self,
        key: PublicKey,
        id: InvitationId,
        secret_hash: &[u8; 32],
        now: u64,
    ) -> (Result<Standing, Refusal>, Option<Act>) {
        let found = self.invitations.iter_mut().find(|invited| invited.id == id.0);
        // SECURITY: without the secret nobody learns whether there is such an invitation.
        let Some(invited) =
            found.filter(|invited| cloudtaser_tls::digest::same(&invited.secret_hash, secret_hash))
        else {
            return (Err(Refusal::Unknown), None);
        };
        match invited.used_by {
            Some(used_by) if used_by == key => {
                let standing = self.cluster(&key).map(|cluster| cluster.standing);
                return (standing.ok_or(Refusal::Unknown), None);
            }
            Some(_) => return (Err(Refusal::Used), Some(Act::Replayed(key, id))),
            None if now >= invited.not_after => return (Err(Refusal::Expired), None),
            None => {}
        }
        let (name, max_tunnels, approved) =
            (invited.name.clone(), invited.max_tunnels, invited.approved);
        if self.clusters.iter().any(|cluster| cluster.key == key) {
            // One key, one standing: a revoked one does not come back by another invitation.
            return (Err(Refusal::Revoked), None);
        }
        invited.used_by = Some(key);
        let (standing, good_until) =
            if approved { (Standing::Approved, now) } else { (Standing::Pending, 0) };
        let invitation = id.0;
        self.clusters.push(Cluster {
            key,
            name,
            standing,
            max_tunnels,
            invitation,
            joined: now,
            good_until,
            keys: None,
        });
        (Ok(standing), Some(Act::Joined(key, id)))
    }

    /// A person says yes.
    ///
    /// # Errors
    /// [`Impossible`].
    pub fn approve(&mut self, key: &PublicKey, now: u64) -> Result<Act, Impossible> {
        let cluster = self.cluster_mut(key)?;
        let what = match cluster.standing {
            Standing::Pending => {
                cluster.standing = Standing::Approved;
                cluster.good_until = now;
                return Ok(Act::Approved(*key));
            }
            Standing::Approved => "there is nothing to approve",
            Standing::Revoked => "what was revoked stays so; invite it anew, with a new key",
        };
        let (name, standing) = (cluster.name.clone(), cluster.standing);
        Err(Impossible::Standing { name, standing, what })
    }

    /// A cluster shows its issuer's keys. The same again changes nothing.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn show(
        &mut self,
        key: &PublicKey,
        shown: KeySet,
        digest: Digest,
    ) -> Result<(String, Option<Act>), Refusal> {
        let cluster = self.cluster_mut(key).map_err(|_none| Refusal::NotEnrolled)?;
        if cluster.standing == Standing::Revoked {
            return Err(Refusal::Revoked);
        }
        let name = cluster.name.clone();
        if cluster.keys.as_ref() == Some(&shown) {
            return Ok((name, None));
        }
        let act = Act::Shown(*key, shown.fingerprint(digest));
        cluster.keys = Some(shown);
        Ok((name, Some(act)))
    }

    /// The keys that a cluster shows, where they are those that a person has compared.
    ///
    /// # Errors
    /// [`Impossible`].
    pub fn compared(
        &self,
        key: &PublicKey,
        fingerprint: Fingerprint,
        digest: Digest,
    ) -> Result<(&Cluster, &KeySet), Impossible> {
        let cluster = self.cluster(key).ok_or(Impossible::NoSuchKey(*key))?;
        if cluster.standing == Standing::Revoked {
            let (name, standing) = (cluster.name.clone(), cluster.standing);
            let what = "what was revoked stays so, and its tokens are not believed";
            return Err(Impossible::Standing { name, standing, what });
        }
        let shown = cluster.keys.as_ref();
        let shown = shown.ok_or_else(|| Impossible::NoKeys(cluster.name.clone()))?;
        match shown.fingerprint(digest) {
            found if found == fingerprint => Ok((cluster, shown)),
            found => Err(Impossible::OtherKeys { name: cluster.name.clone(), shown: found }),
        }
    }

    /// A person says no, or no longer.
    ///
    /// # Errors
    /// [`Impossible`].
    pub fn revoke(&mut self, key: &PublicKey) -> Result<Act, Impossible> {
        let cluster = self.cluster_mut(key)?;
        if cluster.standing == Standing::Revoked {
            let (name, standing) = (cluster.name.clone(), cluster.standing);
            let what = "there is nothing to revoke";
            return Err(Impossible::Standing { name, standing, what });
        }
        cluster.standing = Standing::Revoked;
        Ok(Act::Revoked(*key))
    }

    /// A cluster asks for a certificate; the caller says which it would get.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn grant(
        &mut self,
        key: &PublicKey,
        serial: [u8; 16],
        not_after: u64,
        now: u64,
    ) -> Result<(Option<u16>, Option<Act>), Refusal> {
        let cluster = self.cluster_mut(key).map_err(|_none| Refusal::NotEnrolled)?;
        match cluster.standing {
            Standing::Pending => Ok((None, None)),
            Standing::Revoked => Err(Refusal::Revoked),
            Standing::Approved
                if now > cluster.good_until.saturating_add(DORMANT_AFTER_SECONDS) =>
            {
                Err(Refusal::Dormant)
            }
            Standing::Approved => {
                cluster.good_until = not_after;
                Ok((Some(cluster.max_tunnels), Some(Act::Granted(*key, serial, not_after))))
            }
        }
    }
}

/// What an invitation is made of.
#[derive(Clone, Debug)]
pub struct NewInvitation {
    /// Random.
    pub id: InvitationId,
    /// By [`hash_of`].
    pub secret_hash: [u8; 32],
    /// What people call the cluster.
    pub name: String,
    /// Seconds since 1970.
    pub not_after: u64,
    /// Tunnels that the cluster may have at once.
    pub max_tunnels: u16,
    /// Whether people have said yes beforehand, to whoever uses it.
    pub approved: bool,
}

#[cfg(test)]
mod tests;
