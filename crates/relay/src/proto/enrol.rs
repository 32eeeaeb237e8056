//! What a cluster and a bridge say in `ct-enrol/1`, inside their TLS session.
//!
//! The session has proved the cluster's key, so no message names it: a request cannot be made for
//! another's key. Frames are as on the control connection ([`super::frame`]).

use std::fmt;

use cloudtaser_road::issuer;
use zeroize::Zeroizing;

use super::{
    bytes::Reader,
    credential::{CERTIFICATE_LEN, Certificate},
    frame::{self, Frame, Malformed, put},
    ticket::ClientTag,
};

pub use cloudtaser_road::{
    invitation::{DayBytes, InvitationId, InvitationSecret},
    issuer::KeySet,
};

/// The protocol's name.
pub const PROTOCOL: &[u8] = b"ct-enrol/1";
/// Days of which a grant has ticket keys at most; as many fit into a frame.
pub const MAX_DAYS: usize = 20;

/// What a cluster says.
#[derive(Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ClusterToBridge {
    /// I was let in, I think: what am I given?
    Ask,
    /// I have an invitation.
    Join {
        /// Which.
        invitation: InvitationId,
        /// What only the invited can know.
        secret: InvitationSecret,
    },
    /// These are my issuer and its keys, as my API server shows them at this moment.
    Keys(KeySet),
}

/// What a bridge says.
#[derive(Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum BridgeToCluster {
    /// You are in.
    Grant(Grant),
    /// The keys were heard; so they stand.
    Heard(Belief),
    /// Somebody in the EU has to say yes first.
    Pending,
    /// You are not in.
    Refused(Refusal),
}

/// What an enrolled cluster is given.
#[derive(Debug, Eq, PartialEq)]
pub struct Grant {
    /// The bridge's word on the cluster's key.
    pub certificate: Certificate,
    /// The pseudonym of its tickets.
    pub tag: ClientTag,
    /// How many tunnels it may have at once.
    pub max_tunnels: u16,
    /// Ticket keys by day, at most [`MAX_DAYS`].
    pub days: Vec<(u32, DayBytes)>,
}

/// How an issuer's keys stand at a bridge.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Belief {
    /// These are the keys by which tokens are believed.
    Believed,
    /// The bridge is told of no such issuer for this cluster.
    NoIssuer,
    /// The bridge verifies no tokens: OpenBao alone does.
    NotNeeded,
    /// They are others: somebody in the EU has to say yes first.
    Waits,
    /// A number that this side does not know.
    Other(u8),
}

/// Why a cluster is not in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such invitation, or its secret is another.
    Unknown,
    /// The invitation ran out.
    Expired,
    /// The invitation was used, by another key.
    Used,
    /// This key was never invited.
    NotEnrolled,
    /// Somebody in the EU took it back.
    Revoked,
    /// It has not asked for so long that it has to be invited again.
    Dormant,
    /// The bridge cannot say now.
    Unavailable,
    /// A number that this side does not know.
    Other(u16),
}

const JOIN: u8 = 1;
const ASK: u8 = 2;
const KEYS: u8 = 3;
const PENDING: u8 = 65;
const GRANT: u8 = 66;
const REFUSED: u8 = 67;
const HEARD: u8 = 68;

impl ClusterToBridge {
    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.write(out);
    }

    /// Takes the first frame out of what was received; `None` while it is not whole.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(received: &mut Vec<u8>) -> Result<Option<Self>, Malformed> {
        frame::decode(received)
    }
}

impl Frame for ClusterToBridge {
    const MAX_BODY_LEN: usize = issuer::MAX_LEN;

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ask => put(out, ASK, &[]),
            Self::Join { invitation, secret } => {
                put(out, JOIN, &[&invitation.0, secret.expose()]);
            }
            Self::Keys(shown) => put(out, KEYS, &[&shown.encode()]),
        }
    }

    fn read(kind: u8, mut body: Reader<'_>) -> Option<Option<Self>> {
        let frame = match kind {
            ASK => Self::Ask,
            KEYS => return KeySet::decode(body.rest()).map(Self::Keys).map(Some),
            JOIN => Self::Join {
                invitation: InvitationId(body.array()?),
                secret: InvitationSecret::new(body.array()?),
            },
            _ => return Some(None),
        };
        body.is_empty().then_some(Some(frame))
    }
}

impl BridgeToCluster {
    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.write(out);
    }

    /// Takes the first frame out of what was received; `None` while it is not whole.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(received: &mut Vec<u8>) -> Result<Option<Self>, Malformed> {
        frame::decode(received)
    }
}

impl Frame for BridgeToCluster {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Grant(Grant { certificate, tag, max_tunnels, days }) => {
                let mut keys = Zeroizing::new(Vec::new());
                for (day, key) in days.iter().take(MAX_DAYS) {
                    keys.extend_from_slice(&day.to_be_bytes());
                    keys.extend_from_slice(key.expose());
                }
                let most = max_tunnels.to_be_bytes();
                put(out, GRANT, &[&certificate.encode(), &tag.0, &most, &keys]);
            }
            Self::Heard(belief) => put(out, HEARD, &[&[belief.code()]]),
            Self::Pending => put(out, PENDING, &[]),
            Self::Refused(refusal) => put(out, REFUSED, &[&refusal.code().to_be_bytes()]),
        }
    }

    fn read(kind: u8, mut body: Reader<'_>) -> Option<Option<Self>> {
        let frame = match kind {
            HEARD => Self::Heard(Belief::of(body.u8()?)),
            PENDING => Self::Pending,
            REFUSED => Self::Refused(Refusal::of(body.u16()?)),
            GRANT => {
                let certificate = Certificate::decode(&body.array::<CERTIFICATE_LEN>()?)?;
                let (tag, max_tunnels) = (ClientTag(body.array()?), body.u16()?);
                let mut days = Vec::new();
                while !body.is_empty() {
                    days.push((body.u32()?, DayBytes::new(body.array()?)));
                }
                if days.len() > MAX_DAYS {
                    return None;
                }
                Self::Grant(Grant { certificate, tag, max_tunnels, days })
            }
            _ => return Some(None),
        };
        body.is_empty().then_some(Some(frame))
    }
}

impl Belief {
    const fn code(self) -> u8 {
        match self {
            Self::Believed => 1,
            Self::Waits => 2,
            Self::NoIssuer => 3,
            Self::NotNeeded => 4,
            Self::Other(code) => code,
        }
    }

    const fn of(code: u8) -> Self {
        match code {
            1 => Self::Believed,
            2 => Self::Waits,
            3 => Self::NoIssuer,
            4 => Self::NotNeeded,
            other => Self::Other(other),
        }
    }
}

impl Refusal {
    const fn code(self) -> u16 {
        match self {
            Self::Unknown => 1,
            Self::Expired => 2,
            Self::Used => 3,
            Self::NotEnrolled => 4,
            Self::Revoked => 5,
            Self::Dormant => 6,
            Self::Unavailable => 7,
            Self::Other(code) => code,
        }
    }

    const fn of(code: u16) -> Self {
        match code {
            1 => Self::Unknown,
            2 => Self::Expired,
            3 => Self::Used,
            4 => Self::NotEnrolled,
            5 => Self::Revoked,
            6 => Self::Dormant,
            7 => Self::Unavailable,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("the bridge knows no such invitation"),
            Self::Expired => f.write_str("the invitation ran out: have the bridge make a new one"),
            Self::Used => f.write_str(
                "another key has used the invitation: who has it is not you, so tell those who \
                 sent it",
            ),
            Self::NotEnrolled => f.write_str("the bridge has never heard of this cluster's key"),
            Self::Revoked => f.write_str("the cluster was revoked at the bridge"),
            Self::Dormant => f.write_str(
                "the cluster has not been heard of for too long: it has to be invited again",
            ),
            Self::Unavailable => f.write_str("the bridge cannot read or write its state now"),
            Self::Other(code) => write!(f, "the bridge refuses, for reason {code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use cloudtaser_tls::raw::{KeyPair, PublicKey};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_grant_fits_into_a_frame() {
        let (bridge, _) = KeyPair::generate().unwrap();
        let key = PublicKey::from_bytes([1; 32]);
        let certificate = Certificate::issue(&bridge, key, [2; 16], (3, 4)).unwrap();
        let day = |day| (day, DayBytes::new([5; 32]));
        let days = (0..u32::try_from(MAX_DAYS).unwrap()).map(day).collect();
        let grant = Grant { certificate, tag: ClientTag([6; 8]), max_tunnels: 7, days };
        let (grant, mut bytes) = (BridgeToCluster::Grant(grant), Vec::new());
        grant.encode(&mut bytes);
        assert_eq!(BridgeToCluster::decode(&mut bytes), Ok(Some(grant)));
        assert!(bytes.is_empty());
    }

    #[test]
    fn the_keys_of_an_issuer_fit_into_a_frame_of_the_cluster_and_into_no_other() {
        let n = data_encoding::BASE64URL_NOPAD.encode(&[0xff; 512]);
        let key = |at| format!(r#"{{"kty":"RSA","kid":"{at}","e":"AQAB","n":"{n}"}}"#);
        let keys: Vec<String> = (0..issuer::MAX_KEYS).map(key).collect();
        let keys = format!("{{\"keys\":[{}]}}", keys.join(","));
        let shown = KeySet::read(br#"{"issuer":"https://a"}"#, keys.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        ClusterToBridge::Keys(shown.clone()).encode(&mut bytes);
        assert_eq!(BridgeToCluster::decode(&mut bytes.clone()), Err(Malformed));
        assert_eq!(ClusterToBridge::decode(&mut bytes), Ok(Some(ClusterToBridge::Keys(shown))));
        assert!(bytes.is_empty());
    }

    #[test]
    fn nothing_secret_is_shown() {
        let join = ClusterToBridge::Join {
            invitation: InvitationId([1; 16]),
            secret: InvitationSecret::new([0x5a; 32]),
        };
        assert!(!format!("{join:?} {:?}", DayBytes::new([0x5a; 32])).contains("90"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_frames_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..1200)) {
            super::super::fuzz::enrolment(&bytes);
        }
    }
}
