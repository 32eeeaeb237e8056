//! A cluster that wants to be let in, or wants its certificate anew (`ct-enrol/1`).

use std::{sync::Arc, time::Duration};

use cloudtaser_tls::{TlsError, raw::PublicKey};
use tokio::{net::TcpStream, task::spawn_blocking, time::timeout};
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

use super::{Shared, admit::tag_of, roster::Roster};
use crate::{
    clock::unix_seconds,
    control::Control,
    enrol::{Act, Standing, state},
    proto::{
        credential::Certificate,
        enrol::{
            Belief, BridgeToCluster, ClusterToBridge, DayBytes, Grant, InvitationId,
            InvitationSecret, KeySet, Refusal,
        },
        rendezvous::Epoch,
    },
};

const PATIENCE: Duration = Duration::from_secs(10);
/// Messages of one session.
const MAX_MESSAGES: usize = 8;
/// Days from today of which a cluster gets ticket keys: as long as it may be silent without having
/// to be invited again.
const TICKET_DAYS: u32 = 14;

/// Answers until the cluster has no more questions; whether it was an honest session.
pub(super) async fn serve(
    stream: &mut TlsStream<TcpStream>,
    cluster: PublicKey,
    shared: &Shared,
    roster: &Arc<Roster>,
) -> bool {
    let mut control = Control::new(stream);
    let mut honest = true;
    for _ in 0..MAX_MESSAGES {
        let asked = timeout(PATIENCE, control.next::<ClusterToBridge>()).await;
        let Ok(Ok(asked)) = asked else { return honest };
        let answer = match asked {
            ClusterToBridge::Ask => grant(cluster, shared, roster).await,
            ClusterToBridge::Join { invitation, secret } => {
                join(cluster, invitation, &secret, shared, roster).await
            }
            ClusterToBridge::Keys(shown) => hear(cluster, shown, shared, roster).await,
        };
        let answer = answer.unwrap_or_else(BridgeToCluster::Refused);
        if let BridgeToCluster::Refused(refusal) = &answer {
            warn!(%cluster, %refusal, "not enrolled");
            honest &= *refusal != Refusal::Unknown;
        }
        if control.send(&[answer]).await.is_err() {
            return honest;
        }
    }
    honest
}

async fn join(
    cluster: PublicKey,
    invitation: InvitationId,
    secret: &InvitationSecret,
    shared: &Shared,
    roster: &Arc<Roster>,
) -> Result<BridgeToCluster, Refusal> {
    let hash = state::hash_of(shared.digest, secret);
    let joined =
        roster.act(move |state| state.join(cluster, invitation, &hash, unix_seconds())).await;
    match joined.ok_or(Refusal::Unavailable)?? {
        Standing::Approved => grant(cluster, shared, roster).await,
        Standing::Pending => {
            info!(%cluster, "a cluster has joined: `cloudtaser-bridge approve` lets it in");
            Ok(BridgeToCluster::Pending)
        }
        Standing::Revoked => Err(Refusal::Revoked),
    }
}

/// Keeps what a cluster shows of its issuer, for a person to compare.
///
/// SECURITY: nothing is believed for it. What is believed is in the issuer's file, which only a verb of
/// the bridge's people writes.
async fn hear(
    cluster: PublicKey,
    shown: KeySet,
    shared: &Shared,
    roster: &Arc<Roster>,
) -> Result<BridgeToCluster, Refusal> {
    let (digest, kept) = (shared.digest, shown.clone());
    let heard = roster.act(move |state| match state.show(&cluster, kept, digest) {
        Ok((name, act)) => (Ok((name, act.is_some())), act),
        Err(refusal) => (Err::<_, Refusal>(refusal), None),
    });
    let (name, is_new) = heard.await.ok_or(Refusal::Unavailable)??;
    let Some(releaser) = shared.releaser.clone() else {
        return Ok(BridgeToCluster::Heard(Belief::NotNeeded));
    };
    let (client, looked) = (name.clone(), shown.clone());
    let belief = spawn_blocking(move || releaser.belief(&client, &looked)).await;
    let belief = belief.map_err(|_ended| Refusal::Unavailable)?;
    // Told once, and shown by `status` from then on.
    if is_new && belief != Belief::Believed {
        let (issuer, keys) = (shown.issuer(), shown.fingerprint(digest));
        warn!(
            %cluster, name, issuer, %keys,
            "a cluster shows keys of its issuer that are not believed: `cloudtaser-bridge approve \
             --issuer-keys` believes them"
        );
    }
    Ok(BridgeToCluster::Heard(belief))
}

/// Another certificate and the tickets of the next days, for whom a person let in.
async fn grant(
    cluster: PublicKey,
    shared: &Shared,
    roster: &Arc<Roster>,
) -> Result<BridgeToCluster, Refusal> {
    let now = unix_seconds();
    let not_after = now + roster.certificate_seconds();
    let mut serial = [0; 16];
    cloudtaser_tls::random(&mut serial).map_err(|_none| Refusal::Unavailable)?;
    let granted = roster.act(move |state| match state.grant(&cluster, serial, not_after, now) {
        Ok((tunnels, act)) => (Ok(tunnels), act),
        Err(refusal) => (Err::<_, Refusal>(refusal), None::<Act>),
    });
    let Some(max_tunnels) = granted.await.ok_or(Refusal::Unavailable)?? else {
        return Ok(BridgeToCluster::Pending);
    };
    let written = write(cluster, serial, (now, not_after), max_tunnels, shared);
    written.map(BridgeToCluster::Grant).map_err(|_cannot| Refusal::Unavailable)
}

fn write(
    cluster: PublicKey,
    serial: [u8; 16],
    times: (u64, u64),
    max_tunnels: u16,
    shared: &Shared,
) -> Result<Grant, TlsError> {
    let tag = tag_of(shared.digest, &cluster);
    let today = Epoch::of(times.0).0;
    let day = |day| {
        let key = shared.config.tickets.day(shared.digest, day);
        (day, DayBytes::new(key.client(shared.digest, tag, max_tunnels).expose()))
    };
    Ok(Grant {
        certificate: Certificate::issue(&shared.config.key, cluster, serial, times)?,
        tag,
        max_tunnels,
        days: (today..=today.saturating_add(TICKET_DAYS)).map(day).collect(),
    })
}
