//! The cluster's certificate: asked for until somebody has approved it, and again long before it
//! runs out.

use std::{sync::Arc, time::Duration};

use cloudtaser_tls::raw::PublicKey;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::{
    backoff::between,
    client::{Client, ClientError},
    clock::unix_seconds,
    cluster::{Home, HomeError, fits},
    proto::{
        enrol::{Belief, BridgeToCluster, ClusterToBridge, Grant, KeySet, Refusal},
        invitation::{Invitation, InvitationSecret},
    },
};

/// How long to wait for a person, from one question to the next.
const PENDING_PAUSE: Duration = Duration::from_secs(5);
/// After a failure or a refusal; a revoked cluster does not hammer at the bridge.
const FAILED_PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// At most so long between two renewals, so that a clock that was set is noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotEnrolled {
    /// The bridge cannot be asked.
    #[error("the bridge cannot be asked")]
    Client(#[from] ClientError),
    /// The bridge says no.
    #[error("{0}")]
    Refused(Refusal),
    /// What came is not for this cluster, or not from that bridge.
    #[error("what the bridge gave does not fit, or a clock is wrong")]
    Unfit,
    /// It cannot be kept.
    #[error("what the bridge gave cannot be kept")]
    Home(#[from] HomeError),
}

/// Where a cluster stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It has a certificate, good until then, in seconds since 1970.
    Enrolled(u64),
    /// A person at the bridge has to say yes.
    Pending,
}

/// Says one thing; what the bridge gives for this key, or nothing while people have not decided.
///
/// # Errors
/// [`NotEnrolled`], but for what cannot be kept.
pub async fn say(
    client: &Client,
    key: &PublicKey,
    invitation: Option<&Invitation>,
) -> Result<Option<Grant>, NotEnrolled> {
    let say = match invitation {
        None => ClusterToBridge::Ask,
        Some(invitation) => {
            // What is sent is wiped with the message; the invitation may be said again.
            let secret = InvitationSecret::new(*invitation.secret.expose());
            ClusterToBridge::Join { invitation: invitation.id, secret }
        }
    };
    match client.enrol(&say).await? {
        BridgeToCluster::Pending => Ok(None),
        BridgeToCluster::Refused(refusal) => Err(NotEnrolled::Refused(refusal)),
        BridgeToCluster::Grant(grant) if fits(&grant, &client.bridge(), key, unix_seconds()) => {
            Ok(Some(grant))
        }
        BridgeToCluster::Grant(_) | BridgeToCluster::Heard(_) => Err(NotEnrolled::Unfit),
    }
}

/// Shows the issuer's keys; how they stand at the bridge.
///
/// # Errors
/// [`NotEnrolled`]; a bridge of an earlier version does not answer, or hangs up.
pub async fn show(client: &Client, shown: &KeySet) -> Result<Belief, NotEnrolled> {
    match client.enrol(&ClusterToBridge::Keys(shown.clone())).await? {
        BridgeToCluster::Heard(belief) => Ok(belief),
        BridgeToCluster::Refused(refusal) => Err(NotEnrolled::Refused(refusal)),
        BridgeToCluster::Grant(_) | BridgeToCluster::Pending => Err(NotEnrolled::Unfit),
    }
}

/// Says one thing, and keeps what comes of it.
///
/// # Errors
/// [`NotEnrolled`].
pub async fn ask(
    home: &Home,
    client: &Client,
    invitation: Option<&Invitation>,
) -> Result<Standing, NotEnrolled> {
    let Some(grant) = say(client, &home.key().public(), invitation).await? else {
        return Ok(Standing::Pending);
    };
    client.renew(home.take(&grant)?);
    Ok(Standing::Enrolled(grant.certificate.not_after))
}

/// Keeps the certificate good, for as long as it is polled.
pub async fn keep(home: Arc<Home>, client: Arc<Client>) {
    loop {
        sleep(until_renewal(&client)).await;
        match ask(&home, &client, None).await {
            Ok(Standing::Enrolled(until)) => info!(until, "the certificate was renewed"),
            Ok(Standing::Pending) => {
                info!(key = %home.key().public(), "not approved yet");
                sleep(PENDING_PAUSE).await;
            }
            Err(error) => {
                warn!(error = crate::log::chain(&error), "the certificate was not renewed");
                sleep(between(FAILED_PAUSE.0, FAILED_PAUSE.1)).await;
            }
        }
    }
}

/// Half of a certificate's time, so that a bridge may be away for the other half.
#[must_use]
pub fn until_renewal(client: &Client) -> Duration {
    let Some(certificate) = client.certificate() else { return Duration::ZERO };
    let half = certificate.not_after.saturating_sub(certificate.not_before) / 2;
    let at = certificate.not_before.saturating_add(half);
    Duration::from_secs(at.saturating_sub(unix_seconds())).min(LONGEST_PAUSE)
}
