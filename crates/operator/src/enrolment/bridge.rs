//! What the bridge is asked, from a thread that may wait.

use cloudtaser_relay::{
    broker::keeper::{NotEnrolled, say, show},
    client::ClientError,
    proto::enrol::{Belief, Grant, KeySet, Refusal},
};
use cloudtaser_road::invitation::Invitation;
use cloudtaser_tls::raw::PublicKey;
use tokio::runtime::Handle;

use super::member::Member;
use crate::log::chain;

/// The bridge.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) key: PublicKey,
    runtime: Handle,
}

/// Why it gave nothing, in words.
#[derive(Debug)]
pub(super) enum No {
    /// It cannot be asked, or not now.
    Away(String),
    /// It does not let this cluster in.
    Refused(String),
}

impl Bridge {
    pub(super) const fn new(key: PublicKey, runtime: Handle) -> Self {
        Self { key, runtime }
    }

    /// Asks for a certificate, by an invitation or as one that is known; nothing while people have
    /// not decided.
    pub(super) fn ask(
        &self,
        member: &Member,
        invitation: Option<&Invitation>,
    ) -> Result<Option<Grant>, No> {
        let key = member.key.public();
        self.runtime.block_on(say(&member.client, &key, invitation)).map_err(|error| match error {
            NotEnrolled::Refused(Refusal::Unavailable) | NotEnrolled::Unfit => {
                No::Away(chain(&error))
            }
            NotEnrolled::Refused(_) => No::Refused(chain(&error)),
            other => No::Away(chain(&other)),
        })
    }

    /// Shows the keys of this cluster's issuer.
    pub(super) fn show(&self, member: &Member, shown: &KeySet) -> Result<Belief, NotEnrolled> {
        self.runtime.block_on(show(&member.client, shown))
    }

    /// Asks whether the certificate is still taken.
    pub(super) fn knock(&self, member: &Member) -> Result<(), No> {
        match self.runtime.block_on(member.client.knock()) {
            Ok(()) => Ok(()),
            Err(ClientError::TurnedAway(reception)) => Err(No::Refused(reception.to_string())),
            Err(other) => Err(No::Away(chain(&other))),
        }
    }
}
