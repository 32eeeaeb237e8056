//! One tunnel's way between beacon and bridge: a TCP connection that the bridge dials.
//!
//! It begins with 64 bytes that prove, by one MAC under a key that only the two ends of the control
//! connection have, whose it is. When a client is paired with it the beacon writes 48 bytes; after
//! them both directions belong to the session between client and bridge.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use cloudtaser_tls::{Digest, MacKey, digest::same};

use super::{bytes::Reader, frame::SessionId, ticket::ClientTag};

/// Bytes of a [`Preamble`].
pub const PREAMBLE_LEN: usize = 64;
/// Bytes of a [`Go`].
pub const GO_LEN: usize = 48;
/// The label with which both ends of a control connection export the key of its legs.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-brp1-leg";
/// First byte of a preamble, by which a listener tells it from TLS.
pub const FIRST_BYTE: u8 = b'B';

const PREAMBLE_MAGIC: [u8; 8] = *b"BRPD\x01\0\0\0";
const GO_MAGIC: [u8; 4] = *b"BRPG";
const SIGNED_LEN: usize = 48;

/// The first bytes of a leg, as they were read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Preamble {
    /// The control connection that it belongs to.
    pub session: SessionId,
    /// Never used twice in a session; begins at 0.
    pub counter: u64,
    signed: [u8; SIGNED_LEN],
    mac: [u8; 16],
}

/// What a bridge hears when a client was paired with the leg.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Go {
    /// Names the tunnel in the logs of both.
    pub tunnel: [u8; 16],
    /// Whose ticket it was.
    pub tag: ClientTag,
    /// Where the client came from, as the beacon saw it.
    pub client: SocketAddr,
}

impl Preamble {
    /// Makes the bytes.
    #[must_use]
    pub fn encode(
        digest: Digest,
        key: &MacKey,
        session: SessionId,
        counter: u64,
    ) -> [u8; PREAMBLE_LEN] {
        let mut bytes = [0; PREAMBLE_LEN];
        let fields = [&PREAMBLE_MAGIC[..], &session.0, &counter.to_be_bytes()].concat();
        bytes.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        if let Some((signed, mac)) = bytes.split_first_chunk_mut::<SIGNED_LEN>() {
            mac.copy_from_slice(&mac_of(digest, key, signed));
        }
        bytes
    }

    /// Reads the bytes; `None` where they are no preamble.
    #[must_use]
    pub fn decode(bytes: &[u8; PREAMBLE_LEN]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let signed = *bytes.first_chunk()?;
        let magic: [u8; 8] = reader.array()?;
        let (session, counter) = (SessionId(reader.array()?), reader.u64()?);
        let reserved: [u8; 16] = reader.array()?;
        let mac = reader.array()?;
        (magic == PREAMBLE_MAGIC && reserved == [0; 16]).then_some(Self {
            session,
            counter,
            signed,
            mac,
        })
    }

    /// Whether somebody with the key made it.
    #[must_use]
    pub fn is_true(&self, digest: Digest, key: &MacKey) -> bool {
        same(&mac_of(digest, key, &self.signed), &self.mac)
    }
}

fn mac_of(digest: Digest, key: &MacKey, signed: &[u8]) -> [u8; 16] {
    let whole = digest.hmac(key, &[b"brp1/leg", signed]);
    let mut mac = [0; 16];
    mac.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
    mac
}

impl Go {
    /// Makes the bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; GO_LEN] {
        let address = match self.client.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let port = self.client.port().to_be_bytes();
        let parts = [&GO_MAGIC[..], &self.tunnel, &self.tag.0, &address.octets(), &port, &[0, 0]];
        let mut bytes = [0; GO_LEN];
        let all = parts.into_iter().flatten();
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// Reads the bytes; `None` where they are something else.
    #[must_use]
    pub fn decode(bytes: &[u8; GO_LEN]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.array() != Some(GO_MAGIC) {
            return None;
        }
        let (tunnel, tag) = (reader.array()?, ClientTag(reader.array()?));
        let address = Ipv6Addr::from(reader.array::<16>()?).to_canonical();
        let client = SocketAddr::new(address, reader.u16()?);
        (reader.rest() == [0, 0]).then_some(Self { tunnel, tag, client })
    }
}

/// Which counters of a session were used: a preamble that was recorded lets nobody in again.
///
/// Legs are dialled side by side and arrive in any order, so the last 128 are remembered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    next: u64,
    /// Bit n: counter `next - 1 - n` was used.
    seen: u128,
}

impl Used {
    /// Marks a counter; whether it was new.
    #[must_use]
    pub fn mark(&mut self, counter: u64) -> bool {
        let Some(next) = counter.checked_add(1) else { return false };
        if next > self.next {
            let moved = u32::try_from(next - self.next).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(moved).unwrap_or(0) | 1;
            self.next = next;
            return true;
        }
        let age = u32::try_from(self.next - next).unwrap_or(u32::MAX);
        let Some(bit) = 1_u128.checked_shl(age) else { return false };
        let new = self.seen & bit == 0;
        self.seen |= bit;
        new
    }
}

#[cfg(test)]
mod tests;
