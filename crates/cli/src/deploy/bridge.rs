//! A cluster's way to its bridge: the invitation that is brought in, and how it stands since then.
//!
//! The command line makes no key and speaks to no beacon: both is the operator's. It reads an
//! invitation only to tell a slip before anything is done, and to name the bridge.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use cloudtaser_core::{Secret, names::kubernetes as names};
use cloudtaser_evidence::{date, log::Clock};
use cloudtaser_k8s::{
    enrolment::{Belief, Enrolment, Standing},
    install::{invitation, values::Bridge},
};
use cloudtaser_road::invitation::Invitation;
use cloudtaser_tls::Digest;
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::{DeployError, issuer};
use crate::{
    cluster::{ApiError, Cluster, Force},
    ui,
};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// Looks for what becomes of the issuer's keys, once the cluster is let in.
const SETTLE: u32 = 5;
/// Longer files are no invitation.
const MOST: u64 = 16 << 10;
/// What `--bridge` says to give the bridge up.
const NONE: &str = "none";

/// An invitation that was read.
#[derive(Debug)]
pub(super) struct Brought {
    text: Secret,
    /// Its number, which is no secret.
    number: String,
    bridge: String,
}

/// What was asked for about the bridge.
#[derive(Debug, Default)]
pub(super) struct Wish {
    pub(super) invitation: Option<Brought>,
    /// Whether one that the cluster has is given up.
    pub(super) leave: bool,
}

impl Brought {
    /// Reads an invitation from a file, or from standard input.
    pub(super) fn read(path: &Path) -> Result<Self, DeployError> {
        let mut text = Zeroizing::new(String::with_capacity(8 << 10));
        let read = if path == Path::new("-") {
            io::stdin().take(MOST).read_to_string(&mut text)
        } else {
            File::open(path).and_then(|file| file.take(MOST).read_to_string(&mut text))
        };
        read.map_err(|source| DeployError::Read { path: path.display().to_string(), source })?;
        let digest = Digest::new().map_err(DeployError::Tls)?;
        let invitation = Invitation::parse(digest, &text).map_err(DeployError::Invitation)?;
        if invitation.not_after <= Clock::system().now_ms() / 1000 {
            return Err(DeployError::InvitationOver(date::to_text(invitation.not_after * 1000)));
        }
        Ok(Self {
            text: Secret::new(text.trim().as_bytes().to_vec()),
            number: HEXLOWER.encode(&invitation.id.0),
            bridge: invitation.bridge.to_string(),
        })
    }

    /// Brings it to the operator.
    pub(super) fn bring(&self, cluster: &Cluster, namespace: &str) -> Result<(), ApiError> {
        let field = (names::INVITATION_FIELD, &self.text);
        cluster.apply_secret(&invitation(namespace), field, Force::TakeOver)
    }
}

/// Brings flags and values together.
pub(super) fn wish(
    invitation: Option<&Path>,
    bridge: Option<&str>,
    values: &mut Bridge,
) -> Result<Wish, DeployError> {
    let wrong = |source| DeployError::Value { flag: "--bridge", source };
    let invitation = invitation.map(Brought::read).transpose()?;
    let named = bridge.filter(|bridge| *bridge != NONE);
    let asked = invitation.as_ref().map(|brought| brought.bridge.as_str()).or(named);
    if let Some(key) = asked {
        if !values.key().is_empty() && values.key() != key {
            return Err(DeployError::AnotherBridge(values.key().to_owned()));
        }
        let broker = values.broker.clone();
        *values = Bridge { broker, ..Bridge::of(key).map_err(wrong)? };
    }
    let leave = bridge == Some(NONE);
    if leave {
        values.enabled = false;
    }
    if values.enabled && values.key().is_empty() {
        return Err(DeployError::NoBridge);
    }
    Ok(Wish { invitation, leave })
}

/// A cluster's key is not taken away because somebody forgot to name the bridge.
pub(super) fn refuse_to_forget(cluster: &Cluster, namespace: &str) -> Result<(), DeployError> {
    let path = format!("/api/v1/namespaces/{namespace}/secrets/{}", names::CLUSTER_SECRET);
    match cluster.get(&path) {
        Ok(None) | Err(ApiError::Forbidden { .. }) => Ok(()),
        Ok(Some(_)) => {
            let said = read(cluster, namespace)?;
            Err(DeployError::WouldForget(said.map_or_else(|| "KEY".to_owned(), |said| said.bridge)))
        }
        Err(error) => Err(error.into()),
    }
}

/// How the cluster stands, as its operator says.
pub(super) fn read(cluster: &Cluster, namespace: &str) -> Result<Option<Enrolment>, ApiError> {
    let lease = cluster.get(&lease(namespace))?.unwrap_or_default();
    let annotations = lease.pointer("/metadata/annotations");
    let text = annotations.and_then(|all| all.get(names::ENROLMENT)?.as_str());
    Ok(text.and_then(Enrolment::parse))
}

/// The Lease that says it.
pub(super) fn lease(namespace: &str) -> String {
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    format!("{leases}/{}", names::ENROLMENT_LEASE)
}

/// Waits until the bridge lets the cluster in, and says what people there have to do for it. Without
/// an invitation, one that nobody has invited is told and not waited for.
pub(super) fn wait(
    cluster: &Cluster,
    namespace: &str,
    (bridge, brought): (&str, Option<&Brought>),
    (patience, loud): (Duration, bool),
) -> Result<Option<Enrolment>, DeployError> {
    let progress = ui::Progress::start().lively();
    let start = Instant::now();
    let (mut told, mut settled) = (false, 0);
    let mut last = None;
    loop {
        progress.say("waiting for the bridge");
        let said = read(cluster, namespace)?.filter(|said| said.bridge == bridge);
        if let Some(said) = said {
            let is_ours = brought.is_none_or(|b| said.invitation.as_ref() == Some(&b.number));
            match said.standing {
                Standing::Enrolled if settled >= SETTLE || is_settled(&said) => {
                    return Ok(Some(said));
                }
                Standing::Enrolled => settled += 1,
                Standing::Refused if is_ours => {
                    return Err(DeployError::NotLetIn(words(&said, cluster).join("; ")));
                }
                Standing::Uninvited if brought.is_none() => return Ok(Some(said)),
                Standing::Pending if is_ours => {
                    if loud && !told {
                        progress.hide();
                        ui::line(&asks(&said, cluster));
                        told = true;
                    }
                    progress.say("waiting for somebody at the bridge to let this cluster in");
                }
                _ => {}
            }
            last = Some(said);
        }
        if start.elapsed() >= patience {
            let seconds = patience.as_secs();
            let problems = last.as_ref().map(|said| words(said, cluster).join("\n  "));
            let problems = problems.filter(|problems| !problems.is_empty()).unwrap_or_else(|| {
                "the operator has not said how the cluster stands with its bridge".to_owned()
            });
            return Err(DeployError::NotReady { seconds, problems: format!("  {problems}") });
        }
        thread::sleep(PAUSE);
    }
}

/// Whether people, or nobody, will change how the keys of tokens stand.
fn is_settled(said: &Enrolment) -> bool {
    said.keys.as_ref().is_some_and(|keys| keys.standing != Belief::Waits)
}

/// What people at the bridge have to do.
fn asks(said: &Enrolment, cluster: &Cluster) -> String {
    let (key, seen) = (key(said), issuer::seen(cluster));
    let differs = said.keys.as_ref().map(|keys| issuer::differs(keys, &seen)).unwrap_or_default();
    format!(
        "this cluster's key is {key}\nbeside OpenBao, compare it with what `cloudtaser bridge status` \
         shows, and let the cluster in:\n  {}{differs}",
        issuer::asks(&key, &seen)
    )
}

fn key(said: &Enrolment) -> String {
    ui::printable(said.key.as_deref().unwrap_or("not there yet"))
}

/// What is wrong with how it stands, and what to do; nothing where it is let in and its tokens are
/// believed.
pub(super) fn words(said: &Enrolment, cluster: &Cluster) -> Vec<String> {
    let keys = match said.standing {
        Standing::Enrolled => issuer::words(said, cluster),
        // The first thing to do is another.
        _ => None,
    };
    standing(said, cluster).into_iter().chain(keys).collect()
}

fn standing(said: &Enrolment, cluster: &Cluster) -> Option<String> {
    let why = said.why.as_deref().map(ui::printable);
    let why_not = why.clone().unwrap_or_else(|| "no reason is known".to_owned());
    let now = Clock::system().now_ms() / 1000;
    Some(match said.standing {
        Standing::Enrolled if said.good_until.is_some_and(|until| until <= now) => format!(
            "the certificate of the bridge ran out: {}",
            why.unwrap_or_else(|| "no operator renews it".to_owned())
        ),
        Standing::Enrolled => format!("the bridge could not be asked last: {}", why?),
        Standing::Pending => format!(
            "the bridge has not let this cluster in yet; the operator goes on asking. {}",
            asks(said, cluster)
        ),
        Standing::Refused => format!(
            "the bridge does not let this cluster in: {why_not}. A new invitation helps, of \
             `cloudtaser bridge invite`: cloudtaser install --invitation FILE"
        ),
        Standing::Troubled => format!("the bridge cannot be asked: {why_not}"),
        Standing::Uninvited => "nobody has invited this cluster to its bridge: cloudtaser install \
                                --invitation FILE"
            .to_owned(),
    })
}

/// How a cluster that has a bridge stands with it, in a line, and what is wrong; nothing where it has
/// none.
pub(crate) fn seen(
    cluster: &Cluster,
    namespace: &str,
) -> Result<Option<(String, Option<String>)>, ApiError> {
    let service = format!("/api/v1/namespaces/{namespace}/services/{}", names::BROKER);
    if cluster.get(&service)?.is_none() {
        return Ok(None);
    }
    let said = match read(cluster, namespace) {
        Err(ApiError::Forbidden { .. }) => None,
        said => said?,
    };
    Ok(Some(said.map_or_else(
        || ("not known".to_owned(), Some("see that an operator runs, and its log".to_owned())),
        |said| {
            let words = words(&said, cluster);
            (shown(&said), (!words.is_empty()).then(|| words.join("; ")))
        },
    )))
}

/// In a line, for those who look.
pub(super) fn shown(said: &Enrolment) -> String {
    let standing = match said.standing {
        Standing::Enrolled => "enrolled",
        Standing::Pending => "waits",
        Standing::Refused => "refused",
        Standing::Troubled => "not reached",
        Standing::Uninvited => "not invited",
    };
    let until = said.good_until.map(|until| {
        format!(", until {} unless renewed", date::to_text(until.saturating_mul(1000)))
    });
    let keys = said.keys.as_ref().map_or("", |keys| match keys.standing {
        Belief::Believed => ", its tokens believed",
        Belief::NotNeeded => "",
        _ => ", its tokens not believed",
    });
    format!("{standing} as {}{}{keys}", key(said), until.unwrap_or_default())
}
