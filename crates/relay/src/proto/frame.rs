//! Frames on the control connection between a bridge and a beacon, inside TLS.
//!
//! `type u8 | flags u8 | length u16 | body`, numbers big-endian. A type that is not known is passed
//! over where its flags are zero, so that either side can be newer; anything else that does not
//! fit is an end of the connection. Each direction has its own type.

use std::fmt;

use super::{bytes::Reader, ticket::ClientTag};

/// The protocol that the control connection negotiates.
pub const PROTOCOL: &[u8] = b"brp-ctl/1";
/// The DNS label in front of a beacon's domain that control connections ask for.
pub const LABEL: &str = "ctl";
/// What [`BridgeToBeacon::Register`] carries today.
pub const VERSION: u16 = 1;
/// Longest body.
pub const MAX_BODY_LEN: usize = 1024;
/// Names that one bridge may have at once.
pub const MAX_EPOCHS: usize = 8;

const HEADER_LEN: usize = 4;

/// What a bridge says.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum BridgeToBeacon {
    /// Have at most so many tunnels to me at once.
    Credit {
        /// How many.
        tunnels: u32,
    },
    /// Tickets of this day are made with this key.
    DayKey {
        /// Days since 1970.
        day: u32,
        /// The key.
        key: KeyBytes,
    },
    /// Turn this client away for a while.
    Deny {
        /// Whom.
        tag: ClientTag,
        /// For how long.
        seconds: u32,
    },
    /// I am going: pair nothing new.
    Leave,
    /// Are you there?
    Ping([u8; 8]),
    /// I am here.
    Pong([u8; 8]),
    /// I am the bridge whose key this connection proved; these are my names. Said again, it
    /// replaces the names.
    Register {
        /// [`VERSION`].
        version: u16,
        /// Idle legs that I mean to keep.
        legs: u16,
        /// At most [`MAX_EPOCHS`].
        epochs: Vec<u32>,
    },
}

/// What a beacon says.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum BeaconToBridge {
    /// I shall be gone: come back after a random time between these.
    Drain {
        /// Milliseconds.
        min_ms: u32,
        /// Milliseconds.
        max_ms: u32,
        /// How long tunnels that exist may go on.
        left_seconds: u32,
    },
    /// Are you there?
    Ping([u8; 8]),
    /// I am here.
    Pong([u8; 8]),
    /// I do not take you.
    Refused(Refusal),
    /// Your names are yours here.
    Registered {
        /// Names this connection in the preamble of a leg.
        session: SessionId,
        /// Idle legs that I hold at most.
        max_legs: u16,
        /// Other connections that proved the same key: replicas, or a thief.
        others: u16,
    },
    /// Clients wait: dial so many legs now.
    Want {
        /// How many.
        legs: u16,
    },
}

/// Names a control connection within a beacon.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SessionId(pub [u8; 16]);

/// Why a beacon takes no bridge.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// The key is not one that may register here.
    NotAllowed,
    /// There are too many bridges, or too many with this key.
    TooMany,
    /// The version is not spoken here.
    Version,
    /// A number that this side does not know.
    Other(u16),
}

/// Bytes of a key, which a log does not show.
#[derive(Clone, Eq, PartialEq)]
pub struct KeyBytes(pub [u8; 32]);

impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyBytes(redacted)")
    }
}

impl Drop for KeyBytes {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// The other side broke the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a frame of the control connection is malformed")]
pub struct Malformed;

/// What both directions have, for the one driver that carries them.
pub(crate) trait Frame: Sized {
    /// Longest body in this direction.
    const MAX_BODY_LEN: usize = MAX_BODY_LEN;

    /// Appends the frame.
    fn write(&self, out: &mut Vec<u8>);

    /// Reads a body; `None` where it is malformed, `Some(None)` where the type is not known.
    fn read(kind: u8, body: Reader<'_>) -> Option<Option<Self>>;
}

/// Takes the first frame out of what was received; `None` while it is not whole.
///
/// # Errors
/// [`Malformed`].
pub(crate) fn decode<F: Frame>(received: &mut Vec<u8>) -> Result<Option<F>, Malformed> {
    loop {
        let Some((&[kind, flags, high, low], rest)) = received.split_first_chunk::<HEADER_LEN>()
        else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len > F::MAX_BODY_LEN || flags != 0 {
            return Err(Malformed);
        }
        let Some(body) = rest.get(..len) else { return Ok(None) };
        let frame = F::read(kind, Reader::new(body)).ok_or(Malformed)?;
        received.drain(..HEADER_LEN + len);
        if frame.is_some() {
            return Ok(frame);
        }
    }
}

const CREDIT: u8 = 1;
const DAY_KEY: u8 = 2;
const DENY: u8 = 3;
const LEAVE: u8 = 4;
const REGISTER: u8 = 5;
const PING: u8 = 32;
const PONG: u8 = 33;
const DRAIN: u8 = 65;
const REFUSED: u8 = 66;
const REGISTERED: u8 = 67;
const WANT: u8 = 68;

pub(super) fn put(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    // Every body has a fixed length but those of Register and Keys, which are bounded.
    out.extend([kind, 0]);
    out.extend(u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

impl BridgeToBeacon {
    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.write(out);
    }

    /// Takes the first frame out of what was received; `None` while it is not whole.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(received: &mut Vec<u8>) -> Result<Option<Self>, Malformed> {
        decode(received)
    }
}

impl Frame for BridgeToBeacon {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Credit { tunnels } => put(out, CREDIT, &[&tunnels.to_be_bytes()]),
            Self::DayKey { day, key } => put(out, DAY_KEY, &[&day.to_be_bytes(), &key.0]),
            Self::Deny { tag, seconds } => put(out, DENY, &[&tag.0, &seconds.to_be_bytes()]),
            Self::Leave => put(out, LEAVE, &[]),
            Self::Ping(echo) => put(out, PING, &[echo]),
            Self::Pong(echo) => put(out, PONG, &[echo]),
            Self::Register { version, legs, epochs } => {
                let epochs: Vec<u8> =
                    epochs.iter().take(MAX_EPOCHS).flat_map(|epoch| epoch.to_be_bytes()).collect();
                put(out, REGISTER, &[&version.to_be_bytes(), &legs.to_be_bytes(), &epochs]);
            }
        }
    }

    fn read(kind: u8, mut body: Reader<'_>) -> Option<Option<Self>> {
        let frame = match kind {
            CREDIT => Self::Credit { tunnels: body.u32()? },
            DAY_KEY => Self::DayKey { day: body.u32()?, key: KeyBytes(body.array()?) },
            DENY => Self::Deny { tag: ClientTag(body.array()?), seconds: body.u32()? },
            LEAVE => Self::Leave,
            PING => Self::Ping(body.array()?),
            PONG => Self::Pong(body.array()?),
            REGISTER => {
                let (version, legs) = (body.u16()?, body.u16()?);
                let mut epochs = Vec::new();
                while !body.is_empty() {
                    epochs.push(body.u32()?);
                }
                if epochs.len() > MAX_EPOCHS {
                    return None;
                }
                Self::Register { version, legs, epochs }
            }
            _ => return Some(None),
        };
        body.is_empty().then_some(Some(frame))
    }
}

impl BeaconToBridge {
    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.write(out);
    }

    /// Takes the first frame out of what was received; `None` while it is not whole.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(received: &mut Vec<u8>) -> Result<Option<Self>, Malformed> {
        decode(received)
    }
}

impl Frame for BeaconToBridge {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Drain { min_ms, max_ms, left_seconds } => {
                let numbers = [min_ms, max_ms, left_seconds].map(|number| number.to_be_bytes());
                put(out, DRAIN, &[numbers.as_flattened()]);
            }
            Self::Ping(echo) => put(out, PING, &[echo]),
            Self::Pong(echo) => put(out, PONG, &[echo]),
            Self::Refused(refusal) => put(out, REFUSED, &[&refusal.code().to_be_bytes()]),
            Self::Registered { session, max_legs, others } => {
                let numbers = [max_legs.to_be_bytes(), others.to_be_bytes()];
                put(out, REGISTERED, &[&session.0, numbers.as_flattened()]);
            }
            Self::Want { legs } => put(out, WANT, &[&legs.to_be_bytes()]),
        }
    }

    fn read(kind: u8, mut body: Reader<'_>) -> Option<Option<Self>> {
        let frame = match kind {
            DRAIN => {
                let (min_ms, max_ms, left_seconds) = (body.u32()?, body.u32()?, body.u32()?);
                Self::Drain { min_ms, max_ms, left_seconds }
            }
            PING => Self::Ping(body.array()?),
            PONG => Self::Pong(body.array()?),
            REFUSED => Self::Refused(Refusal::of(body.u16()?)),
            REGISTERED => {
                let session = SessionId(body.array()?);
                Self::Registered { session, max_legs: body.u16()?, others: body.u16()? }
            }
            WANT => Self::Want { legs: body.u16()? },
            _ => return Some(None),
        };
        body.is_empty().then_some(Some(frame))
    }
}

impl Refusal {
    const fn code(self) -> u16 {
        match self {
            Self::NotAllowed => 1,
            Self::TooMany => 2,
            Self::Version => 3,
            Self::Other(code) => code,
        }
    }

    const fn of(code: u16) -> Self {
        match code {
            1 => Self::NotAllowed,
            2 => Self::TooMany,
            3 => Self::Version,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed => f.write_str("this bridge's key may not register there"),
            Self::TooMany => f.write_str("there are too many bridges, or too many with this key"),
            Self::Version => f.write_str("it does not speak this version of the protocol"),
            Self::Other(code) => write!(f, "reason {code}"),
        }
    }
}

#[cfg(test)]
mod tests;
