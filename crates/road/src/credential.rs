//! What an enrolled cluster shows in each session: the bridge's word on the cluster's key, and the
//! cluster's word on the key of this session.
//!
//! Both are a few fixed bytes under an Ed25519 signature, read by position: there is nothing in them
//! to be parsed, and no chain to be built. See `docs/adr/0025-credentials-of-a-cluster.md`.

use cloudtaser_tls::{
    TlsError,
    raw::{KeyPair, PublicKey, SIGNATURE_LEN},
};

use crate::bytes::Reader;

/// The protocol in which a client shows a credential, and then names the protocol that it wants.
pub const ENROLLED_PROTOCOL: &[u8] = b"ct-enrolled/1";
/// What who only wants to know whether he is let in asks to speak. No bridge speaks it: it answers so,
/// or with the reason why he is not let in.
pub const KNOCK_PROTOCOL: &[u8] = b"ct-knock/1";
/// Bytes of a certificate.
pub const CERTIFICATE_LEN: usize = 132;
/// Bytes of a leaf.
pub const LEAF_LEN: usize = 116;
/// How far clocks may differ, in seconds.
pub const SKEW_SECONDS: u64 = 60;
/// How long a leaf may be good for at most, in seconds, whatever the cluster wrote into it.
pub const MAX_LEAF_SECONDS: u64 = 3600;

const CERTIFICATE_MAGIC: &[u8; 4] = b"CTC1";
const LEAF_MAGIC: &[u8; 4] = b"CTL1";
const CERTIFICATE_CONTEXT: &[u8] = b"cte1/certificate";
const LEAF_CONTEXT: &[u8] = b"cte1/leaf";

/// The bridge's word that a key is that of a cluster which it let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// The cluster's key.
    pub cluster: PublicKey,
    /// Makes it the only one of its kind; in audit lines.
    pub serial: [u8; 16],
    /// Seconds since 1970.
    pub not_before: u64,
    /// Seconds since 1970.
    pub not_after: u64,
    signature: [u8; SIGNATURE_LEN],
}

/// A cluster's word that a key is that of one of its own, for a short time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Leaf {
    /// The key of the session.
    pub key: PublicKey,
    /// Seconds since 1970.
    pub not_before: u64,
    /// Seconds since 1970.
    pub not_after: u64,
    signature: [u8; SIGNATURE_LEN],
}

/// A certificate, and a leaf where the session's key is not the cluster's own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Credential {
    /// The bridge's word.
    pub certificate: Certificate,
    /// The cluster's word.
    pub leaf: Option<Leaf>,
}

/// Why a credential lets nobody in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Untrue {
    /// It ran out, or its time has not come.
    #[error("it is not good at this time")]
    Expired,
    /// It is not for the key that the session proved.
    #[error("it is for another key than that of the session")]
    Key,
    /// A signature is not that of whom it should be of.
    #[error("its signature is false")]
    Signature,
}

fn signed_certificate(
    cluster: &PublicKey,
    serial: &[u8; 16],
    not_before: u64,
    not_after: u64,
) -> Vec<u8> {
    let times = [not_before.to_be_bytes(), not_after.to_be_bytes()];
    let parts =
        [CERTIFICATE_CONTEXT, CERTIFICATE_MAGIC, cluster.as_bytes(), serial, times.as_flattened()];
    parts.concat()
}

fn signed_leaf(serial: &[u8; 16], key: &PublicKey, not_before: u64, not_after: u64) -> Vec<u8> {
    let times = [not_before.to_be_bytes(), not_after.to_be_bytes()];
    [LEAF_CONTEXT, serial, LEAF_MAGIC, key.as_bytes(), times.as_flattened()].concat()
}

impl Certificate {
    /// Writes one in the name of the bridge.
    ///
    /// # Errors
    /// [`TlsError`] where the key does not sign.
    pub fn issue(
        bridge: &KeyPair,
        cluster: PublicKey,
        serial: [u8; 16],
        (not_before, not_after): (u64, u64),
    ) -> Result<Self, TlsError> {
        let message = signed_certificate(&cluster, &serial, not_before, not_after);
        let signature = signed(bridge, &message)?;
        Ok(Self { cluster, serial, not_before, not_after, signature })
    }

    /// As it goes over the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { cluster, serial, not_before, not_after, signature } = self;
        let signed = signed_certificate(cluster, serial, *not_before, *not_after);
        [signed.get(CERTIFICATE_CONTEXT.len()..).unwrap_or_default(), signature].concat()
    }

    /// As it came; nobody has looked whether it is true.
    #[must_use]
    pub fn decode(bytes: &[u8; CERTIFICATE_LEN]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        (reader.array()? == *CERTIFICATE_MAGIC).then_some(())?;
        Some(Self {
            cluster: PublicKey::from_bytes(reader.array()?),
            serial: reader.array()?,
            not_before: reader.u64()?,
            not_after: reader.u64()?,
            signature: reader.array()?,
        })
    }

    /// Whether the bridge wrote it, and it is good now.
    ///
    /// # Errors
    /// [`Untrue`].
    pub fn check(&self, bridge: &PublicKey, now: u64) -> Result<(), Untrue> {
        let Self { cluster, serial, not_before, not_after, signature } = self;
        let message = signed_certificate(cluster, serial, *not_before, *not_after);
        signed_by(bridge, &message, signature)?;
        in_time(*not_before, *not_after, now)
    }

    /// The cluster's word on a key, under this certificate.
    ///
    /// # Errors
    /// [`TlsError`] where the key does not sign.
    pub fn leaf(
        &self,
        cluster: &KeyPair,
        key: PublicKey,
        (not_before, not_after): (u64, u64),
    ) -> Result<Leaf, TlsError> {
        let message = signed_leaf(&self.serial, &key, not_before, not_after);
        let signature = signed(cluster, &message)?;
        Ok(Leaf { key, not_before, not_after, signature })
    }
}

impl Leaf {
    fn encode(&self) -> Vec<u8> {
        let Self { key, not_before, not_after, signature } = self;
        let times = [not_before.to_be_bytes(), not_after.to_be_bytes()];
        [LEAF_MAGIC, &key.as_bytes()[..], times.as_flattened(), signature].concat()
    }

    fn decode(bytes: &[u8; LEAF_LEN]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        (reader.array()? == *LEAF_MAGIC).then_some(())?;
        Some(Self {
            key: PublicKey::from_bytes(reader.array()?),
            not_before: reader.u64()?,
            not_after: reader.u64()?,
            signature: reader.array()?,
        })
    }

    fn check(&self, certificate: &Certificate, now: u64) -> Result<(), Untrue> {
        let Self { key, not_before, not_after, signature } = self;
        let message = signed_leaf(&certificate.serial, key, *not_before, *not_after);
        signed_by(&certificate.cluster, &message, signature)?;
        // SECURITY: a cluster that was taken over for a minute must not write leaves for years.
        if not_after.saturating_sub(*not_before) > MAX_LEAF_SECONDS {
            return Err(Untrue::Expired);
        }
        in_time(*not_before, *not_after, now)
    }
}

impl Credential {
    /// As it goes over the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let leaf = self.leaf.as_ref().map(Leaf::encode).unwrap_or_default();
        [self.certificate.encode(), leaf].concat()
    }

    /// As it came; nobody has looked whether it is true.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (certificate, rest) = bytes.split_first_chunk()?;
        let certificate = Certificate::decode(certificate)?;
        let leaf = match rest {
            [] => None,
            rest => Some(Leaf::decode(rest.try_into().ok()?)?),
        };
        Some(Self { certificate, leaf })
    }

    /// Whose it is, where it is true for a session that proved this key, at this moment in seconds
    /// since 1970. Whether the cluster was revoked is not known here.
    ///
    /// # Errors
    /// [`Untrue`].
    pub fn check(
        &self,
        bridge: &PublicKey,
        session: &PublicKey,
        now: u64,
    ) -> Result<PublicKey, Untrue> {
        self.certificate.check(bridge, now)?;
        let cluster = self.certificate.cluster;
        match &self.leaf {
            None if *session == cluster => Ok(cluster),
            Some(leaf) if leaf.key == *session => {
                leaf.check(&self.certificate, now)?;
                Ok(cluster)
            }
            _ => Err(Untrue::Key),
        }
    }
}

fn signed(key: &KeyPair, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], TlsError> {
    key.sign(message)?.try_into().map_err(|_odd| TlsError::PrivateKey)
}

fn signed_by(key: &PublicKey, message: &[u8], signature: &[u8]) -> Result<(), Untrue> {
    // A machine on which nothing can be verified lets nobody in.
    let signed = key.verifies(message, signature).unwrap_or(false);
    if signed { Ok(()) } else { Err(Untrue::Signature) }
}

fn in_time(not_before: u64, not_after: u64, now: u64) -> Result<(), Untrue> {
    let begun = not_before <= now.saturating_add(SKEW_SECONDS);
    if begun && now < not_after { Ok(()) } else { Err(Untrue::Expired) }
}

/// Longest name of a protocol that may be asked for.
pub const MAX_PROTOCOL_LEN: usize = 32;
/// Longest presentation behind its length.
pub const MAX_PRESENTATION_LEN: usize = 1 + MAX_PROTOCOL_LEN + CERTIFICATE_LEN + LEAF_LEN;

/// The first message of a client in [`ENROLLED_PROTOCOL`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Presentation {
    /// What is to be spoken from here on.
    pub protocol: Vec<u8>,
    /// What lets the client in.
    pub credential: Credential,
}

impl Presentation {
    /// As it goes over the wire, with its length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let protocol = self.protocol.get(..MAX_PROTOCOL_LEN).unwrap_or(&self.protocol);
        let named = u8::try_from(protocol.len()).unwrap_or(0);
        let body = [&[named][..], protocol, &self.credential.encode()].concat();
        let len = u16::try_from(body.len()).unwrap_or(0);
        [&len.to_be_bytes()[..], &body].concat()
    }

    /// Reads what stands behind the length.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let len = usize::from(reader.u8()?);
        let protocol = reader.take(len).filter(|_| len <= MAX_PROTOCOL_LEN)?.to_vec();
        Some(Self { protocol, credential: Credential::decode(reader.rest())? })
    }
}

/// The bridge's answer to a presentation: one byte, behind which the protocol begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Reception {
    /// Come in.
    #[error("admitted")]
    Admitted,
    /// It cannot be read, or its signature or key is false.
    #[error("the credential is not one that this bridge gave out")]
    Untrue,
    /// It ran out.
    #[error("the credential ran out, or a clock is wrong")]
    Expired,
    /// The cluster was revoked, or is not known (any more).
    #[error("the cluster was revoked or is not enrolled")]
    Revoked,
    /// That protocol is not spoken here.
    #[error("the bridge does not speak the protocol that was asked for")]
    Protocol,
    /// The bridge carries as many sessions as it may.
    #[error("the bridge carries as many sessions as it may")]
    Busy,
}

impl Reception {
    const ALL: [Self; 6] =
        [Self::Admitted, Self::Untrue, Self::Expired, Self::Revoked, Self::Protocol, Self::Busy];

    /// As it is written.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Admitted => 0,
            Self::Untrue => 1,
            Self::Expired => 2,
            Self::Revoked => 3,
            Self::Protocol => 4,
            Self::Busy => 5,
        }
    }

    /// As it is read; `None` for a number that this side does not know.
    #[must_use]
    pub fn of(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reception| reception.code() == code)
    }
}

impl From<Untrue> for Reception {
    fn from(untrue: Untrue) -> Self {
        match untrue {
            Untrue::Expired => Self::Expired,
            Untrue::Key | Untrue::Signature => Self::Untrue,
        }
    }
}

#[cfg(test)]
mod tests;
