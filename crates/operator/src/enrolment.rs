//! How this cluster comes to be let in by a bridge, and stays so.
//!
//! The cluster's key lies in one Secret of the operator's namespace, with what the bridge gave
//! (`docs/adr/0047`). Every replica reads it and vouches by it at the broker; the leader alone makes
//! keys, uses an invitation, renews, asks whether the cluster is still let in, and says on a Lease how
//! it stands. What is written is written for the version that was read, so that two who think that
//! they lead cannot make two keys.
//!
//! Invariant: no bridge is spoken to but the one that the configuration names, whatever a Secret says.
//! An invitation is shown to the bridge only after the key that it is for is kept.
//!
//! Reading order: [`Enrolment::turn`], [`member`] (what is kept), [`bridge`] (what is asked),
//! [`issuer`] (the keys of its tokens), [`notice`] (what is said of it).

mod bridge;
mod issuer;
mod member;
mod notice;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use cloudtaser_core::{Secret, names::kubernetes as names};
use cloudtaser_k8s::enrolment::Standing;
use cloudtaser_relay::{
    broker::{Desk, keeper::until_renewal},
    cluster::invitation,
};
use cloudtaser_road::invitation::Invitation;
use cloudtaser_tls::raw::PublicKey;
use tracing::{info, warn};

use self::{
    bridge::{Bridge, No},
    issuer::Issuer,
    member::Member,
    notice::Notice,
};
use crate::{
    cluster::{Cluster, Held},
    election::Leading,
    log::chain,
    metrics::Metrics,
    options::Options,
    stop::Stop,
    trouble::Trouble,
};

/// Between two looks, while people are waited for.
const SOON: Duration = Duration::from_secs(2);
/// Between two looks otherwise: an invitation that is brought waits so long, and a replica learns so
/// late of a new certificate.
const LATER: Duration = Duration::from_secs(5);
/// Before a bridge that refused is asked again.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// What one replica does for the cluster's enrolment.
#[derive(Debug)]
pub(crate) struct Enrolment {
    cluster: Cluster,
    bridge: Bridge,
    leading: Leading,
    metrics: Arc<Metrics>,
    desk: Arc<Desk>,
    notice: Notice,
    issuer: Issuer,
    kept_at: String,
    invited_at: String,
    /// The version of the Secret that was read last, and what was in it.
    seen: Option<String>,
    member: Option<Member>,
    knock_every: Duration,
    /// Before this the bridge is not asked again.
    not_before: Option<Instant>,
}

impl Enrolment {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// Where the API server is not known.
    pub(crate) fn new(
        options: &Options,
        key: PublicKey,
        runtime: tokio::runtime::Handle,
        shared: (Leading, Arc<Metrics>, Arc<Desk>),
    ) -> anyhow::Result<Self> {
        let (leading, metrics, desk) = shared;
        let secrets = format!("/api/v1/namespaces/{}/secrets", options.namespace);
        Ok(Self {
            cluster: Cluster::connect(options)?,
            bridge: Bridge::new(key, runtime),
            leading,
            metrics,
            desk,
            notice: Notice::new(options, key),
            issuer: Issuer::new(options.knock.0),
            kept_at: format!("{secrets}/{}", names::CLUSTER_SECRET),
            invited_at: format!("{secrets}/{}", names::INVITATION_SECRET),
            seen: None,
            member: None,
            knock_every: options.knock.0,
            not_before: None,
        })
    }

    /// Goes on until the program stops.
    pub(crate) fn run(mut self, stop: &Stop) {
        let what = "the enrolment cannot be looked after";
        let mut trouble = Trouble::new(Arc::clone(&self.metrics), what);
        loop {
            let pause = trouble.heed(self.turn()).unwrap_or(LATER);
            if stop.sleep(pause.min(self.knock_every)) {
                return;
            }
        }
    }

    /// One look at everything; how long until the next.
    fn turn(&mut self) -> anyhow::Result<Duration> {
        let Some(held) = self.cluster.secret(&self.kept_at)? else {
            self.member = None;
            self.desk.leave();
            anyhow::bail!("there is no Secret {}: install again", names::CLUSTER_SECRET);
        };
        self.learn(&held)?;
        if !self.leading.is_so() {
            self.notice.forget();
            self.issuer.forget();
            return Ok(LATER);
        }
        let pause = match self.cluster.secret(&self.invited_at)? {
            Some(invited) => self.invited(held, &invited),
            None => self.keep(held),
        }?;
        self.show_keys()?;
        Ok(pause)
    }

    /// Shows the bridge the keys by which this cluster signs tokens, where it listens.
    fn show_keys(&mut self) -> anyhow::Result<()> {
        let Some(member) = self.member.as_ref().filter(|_| self.notice.is_heard()) else {
            return Ok(());
        };
        match self.issuer.look(&self.cluster, &self.bridge, member) {
            Some(keys) => Ok(self.notice.keys(&self.cluster, keys)?),
            None => Ok(()),
        }
    }

    /// Takes over what is kept, where it is another than the last time.
    fn learn(&mut self, held: &Held) -> anyhow::Result<()> {
        if self.seen.as_ref() == Some(&held.version) {
            return Ok(());
        }
        let read = Member::read(held, &self.bridge.key);
        self.member = read.context("what is kept of the enrolment cannot be read")?;
        self.seen = Some(held.version.clone());
        match self.member.as_ref().filter(|member| member.certificate().is_some()) {
            Some(member) => self.desk.seat(member.clerk()),
            None => self.desk.leave(),
        }
        Ok(())
    }

    /// Keeps another state of the enrolment, for all replicas; whether nobody else was faster.
    fn write(&mut self, held: &Held, fields: &[(&str, &Secret)]) -> anyhow::Result<Option<Held>> {
        let Some(held) = self.cluster.refill(&self.kept_at, &held.version, fields)? else {
            return Ok(None);
        };
        self.learn(&held)?;
        Ok(Some(held))
    }

    /// Somebody has brought an invitation.
    fn invited(&mut self, held: Held, secret: &Held) -> anyhow::Result<Duration> {
        let text = secret.fields.get(names::INVITATION_FIELD).and_then(Secret::expose_str);
        let read = invitation(text.unwrap_or_default());
        let invitation = match read {
            Ok(invitation) if invitation.bridge == self.bridge.key => invitation,
            Ok(other) => {
                let why = format!(
                    "the invitation is one of the bridge {}, and this installation names another: \
                     install again with it",
                    other.bridge
                );
                return self.give_up(&held, None, &why);
            }
            Err(error) => return self.give_up(&held, None, &chain(&error)),
        };
        let number = member::number(&invitation);
        if self.is_let_in(&number)? {
            info!("the cluster is let in already: the invitation is not used");
            self.cluster.delete(&self.invited_at)?;
            return Ok(Duration::ZERO);
        }
        let is_begun = self.member.as_ref().is_some_and(|member| member.invitation == number);
        let held = if is_begun {
            held
        } else {
            let (key, papers) = member::fresh(&invitation)?;
            let number = Secret::from(number);
            let fields =
                [(member::KEY, &key), (member::PAPERS, &papers), (member::NUMBER, &number)];
            // Somebody else was faster: his key is read the next time.
            let Some(held) = self.write(&held, &fields)? else { return Ok(Duration::ZERO) };
            held
        };
        self.join(held, &invitation)
    }

    /// Whether an invitation would change nothing: the bridge lets the cluster in. One that is used up
    /// by this key counts as such.
    fn is_let_in(&self, number: &str) -> anyhow::Result<bool> {
        let Some(member) = &self.member else { return Ok(false) };
        if !member.is_good() {
            return Ok(false);
        }
        if member.invitation == number {
            return Ok(true);
        }
        match self.bridge.knock(member) {
            Ok(()) => Ok(true),
            Err(No::Refused(_)) => Ok(false),
            Err(No::Away(why)) => anyhow::bail!("{why}"),
        }
    }

    fn join(&mut self, held: Held, invitation: &Invitation) -> anyhow::Result<Duration> {
        let Some(member) = &self.member else { return Ok(Duration::ZERO) };
        let number = Some(member.invitation.clone());
        match self.bridge.ask(member, Some(invitation)) {
            Ok(granted) => {
                let pause = self.granted(&held, granted)?;
                self.cluster.delete(&self.invited_at)?;
                Ok(pause)
            }
            Err(No::Refused(why)) => self.give_up(&held, number, &why),
            Err(No::Away(why)) => {
                self.say(Standing::Troubled, Some(&why))?;
                Ok(LATER)
            }
        }
    }

    /// An invitation that is good for nothing goes, and with it a key that nobody knows.
    fn give_up(
        &mut self,
        held: &Held,
        number: Option<String>,
        why: &str,
    ) -> anyhow::Result<Duration> {
        warn!(why, "the invitation was not taken");
        let is_for_it =
            self.member.as_ref().is_some_and(|m| Some(&m.invitation) == number.as_ref());
        if is_for_it {
            self.write(held, &[])?;
        }
        self.notice.refused(&self.cluster, number, why)?;
        self.cluster.delete(&self.invited_at)?;
        Ok(Duration::ZERO)
    }

    /// Nobody has brought anything: what there is is kept good.
    fn keep(&mut self, held: Held) -> anyhow::Result<Duration> {
        let Some(member) = &self.member else {
            self.notice.uninvited(&self.cluster)?;
            return Ok(LATER);
        };
        let now = Instant::now();
        if self.not_before.is_some_and(|at| now < at) {
            return Ok(LATER);
        }
        let is_due = !member.is_good() || until_renewal(&member.client).is_zero();
        if !is_due {
            self.not_before = Some(now + self.knock_every);
            return match self.bridge.knock(member) {
                Ok(()) => self.say(Standing::Enrolled, None),
                Err(No::Refused(why)) => self.put_out(&held, &why),
                // The certificate is good, and the way is tried for each pod all the same.
                Err(No::Away(why)) => self.say(Standing::Enrolled, Some(&why)),
            }
            .map(|()| LATER);
        }
        match self.bridge.ask(member, None) {
            Ok(granted) => self.granted(&held, granted),
            Err(No::Refused(why)) => {
                self.not_before = Some(now + REFUSED_PAUSE.min(self.knock_every));
                self.put_out(&held, &why)?;
                Ok(LATER)
            }
            Err(No::Away(why)) => {
                let standing =
                    if member.is_good() { Standing::Enrolled } else { Standing::Troubled };
                self.say(standing, Some(&why))?;
                Ok(LATER)
            }
        }
    }

    /// Keeps what the bridge gave, or says that people have to decide.
    fn granted(
        &mut self,
        held: &Held,
        granted: Option<cloudtaser_relay::proto::enrol::Grant>,
    ) -> anyhow::Result<Duration> {
        let Some(grant) = granted else {
            self.say(Standing::Pending, None)?;
            return Ok(SOON);
        };
        let kept = member::with(held, |papers| papers.take(&grant))?;
        let fields: Vec<_> = kept.iter().map(|(name, value)| (*name, value)).collect();
        if self.write(held, &fields)?.is_none() {
            return Ok(Duration::ZERO);
        }
        self.not_before = Some(Instant::now() + self.knock_every);
        info!(until = grant.certificate.not_after, "the bridge lets this cluster in");
        self.issuer.hurry();
        self.say(Standing::Enrolled, None)?;
        Ok(LATER)
    }

    /// The bridge takes the certificate no longer: no replica shows it again.
    fn put_out(&mut self, held: &Held, why: &str) -> anyhow::Result<()> {
        if self.member.as_ref().is_some_and(|member| member.certificate().is_some()) {
            warn!(why, "the bridge does not let this cluster in any longer");
            let kept = member::with(held, cloudtaser_relay::cluster::Papers::strike)?;
            let fields: Vec<_> = kept.iter().map(|(name, value)| (*name, value)).collect();
            self.write(held, &fields)?;
        }
        self.say(Standing::Refused, Some(why))
    }

    fn say(&mut self, standing: Standing, why: Option<&str>) -> anyhow::Result<()> {
        self.notice.say(&self.cluster, self.member.as_ref(), standing, why)
    }
}
