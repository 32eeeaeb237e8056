//! What lets a client in at a beacon that knows nothing of it.
//!
//! The bridge has one secret from which it makes a key for each day, and from that one for each
//! client. Beacons get the day's key, clients get theirs; so a beacon checks a ticket with two MACs
//! and no memory, and whoever steals a beacon can let strangers knock for a day. It opens nothing:
//! behind the beacon the client still has to prove its own key to the bridge.

use std::fmt;

use cloudtaser_tls::{Digest, MacKey, digest::same};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use crate::{bytes::Reader, rendezvous::RendezvousId};

/// What stands before a ticket in the list of protocols.
pub const PROTOCOL_PREFIX: &[u8] = b"brp1.";
/// Bytes of a ticket.
pub const LEN: usize = 47;
/// How far clocks may differ, and how long a ticket is good for, in seconds.
pub const WINDOW_SECONDS: u64 = 60;

const VERSION: u8 = 1;
const SIGNED_LEN: usize = 31;
const MAC_LEN: usize = LEN - SIGNED_LEN;

/// The secret of a bridge from which the keys of all days come.
#[derive(Debug)]
pub struct TicketSecret(MacKey);

/// The key of one bridge for one day: what a beacon gets.
#[derive(Debug)]
pub struct DayKey(MacKey);

/// The key of one client for one day.
#[derive(Debug)]
pub struct ClientKey(MacKey);

/// A pseudonym that the bridge gave to a client.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ClientTag(pub [u8; 8]);

/// What a ticket says. The day is the number of its key; see [`super::rendezvous::Epoch`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ticket {
    /// Whose it is.
    pub tag: ClientTag,
    /// The day of the key.
    pub day: u32,
    /// How many tunnels the client may have at once. It is part of the client's key.
    pub max_tunnels: u16,
    /// Seconds since 1970.
    pub issued_at: u32,
    /// Makes the ticket the only one of its kind.
    pub nonce: [u8; 12],
}

/// A ticket as it was read, before anybody looked whether it is true.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shown {
    ticket: Ticket,
    mac: [u8; MAC_LEN],
}

/// What names a ticket in a filter of those that were used: nobody without the key can choose it.
pub type TicketName = [u8; MAC_LEN];

/// Why a ticket lets nobody in. Outside the beacon all look the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Denied {
    /// It was made with another key or for another bridge.
    Forged,
    /// It is older or newer than the window allows.
    Stale,
}

impl TicketSecret {
    /// Takes 32 random bytes.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(MacKey::new(bytes))
    }

    /// The key of a day.
    #[must_use]
    pub fn day(&self, digest: Digest, day: u32) -> DayKey {
        DayKey(digest.derive(&self.0, &[b"brp1/day", &day.to_be_bytes()]))
    }
}

impl DayKey {
    /// As it came in a frame.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(MacKey::new(bytes))
    }

    /// As it goes into a frame.
    #[must_use]
    pub fn expose(&self) -> [u8; 32] {
        self.0.expose()
    }

    /// The key of a client.
    #[must_use]
    pub fn client(&self, digest: Digest, tag: ClientTag, max_tunnels: u16) -> ClientKey {
        ClientKey(digest.derive(&self.0, &[b"brp1/client", &tag.0, &max_tunnels.to_be_bytes()]))
    }
}

impl ClientKey {
    /// As it came from the bridge.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(MacKey::new(bytes))
    }

    /// As the bridge hands it out.
    #[must_use]
    pub fn expose(&self) -> [u8; 32] {
        self.0.expose()
    }

    /// The protocol name that shows the ticket to a beacon of this bridge.
    #[must_use]
    pub fn protocol(&self, digest: Digest, id: &RendezvousId, ticket: &Ticket) -> Vec<u8> {
        let signed = ticket.signed();
        let bytes = [&signed[..], &self.mac(digest, id, &signed)].concat();
        [PROTOCOL_PREFIX, BASE64URL_NOPAD.encode(&bytes).as_bytes()].concat()
    }

    fn mac(&self, digest: Digest, id: &RendezvousId, signed: &[u8; SIGNED_LEN]) -> [u8; MAC_LEN] {
        let whole = digest.hmac(&self.0, &[b"brp1/ticket", id.as_bytes(), signed]);
        let mut mac = [0; MAC_LEN];
        mac.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
        mac
    }
}

impl Ticket {
    /// The bytes under the MAC, in their order on the wire.
    fn signed(&self) -> [u8; SIGNED_LEN] {
        let fields: [&[u8]; 6] = [
            &[VERSION],
            &self.day.to_be_bytes(),
            &self.tag.0,
            &self.max_tunnels.to_be_bytes(),
            &self.issued_at.to_be_bytes(),
            &self.nonce,
        ];
        let mut bytes = [0; SIGNED_LEN];
        let all = fields.into_iter().flatten();
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = *from);
        bytes
    }
}

impl Shown {
    /// Reads the ticket among the protocols of a hello.
    #[must_use]
    pub fn among(protocols: &[Vec<u8>]) -> Option<Self> {
        protocols.iter().find_map(|name| Self::of_protocol(name))
    }

    /// Reads a ticket from a protocol name.
    #[must_use]
    pub fn of_protocol(name: &[u8]) -> Option<Self> {
        let text = name.strip_prefix(PROTOCOL_PREFIX)?;
        // Longer text is not decoded: what it costs must not be the sender's to choose.
        if text.len() != LEN.div_ceil(3) * 4 - 1 {
            return None;
        }
        let bytes = BASE64URL_NOPAD.decode(text).ok()?;
        let mut reader = Reader::new(&bytes);
        if reader.u8()? != VERSION {
            return None;
        }
        let ticket = Ticket {
            day: reader.u32()?,
            tag: ClientTag(reader.array()?),
            max_tunnels: reader.u16()?,
            issued_at: reader.u32()?,
            nonce: reader.array()?,
        };
        let mac = reader.array()?;
        reader.is_empty().then_some(Self { ticket, mac })
    }

    /// Which day's key to check it with.
    #[must_use]
    pub const fn day(&self) -> u32 {
        self.ticket.day
    }

    /// Looks whether it is true, at this moment in seconds since 1970.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check(
        &self,
        digest: Digest,
        key: &DayKey,
        id: &RendezvousId,
        now: u64,
    ) -> Result<(Ticket, TicketName), Denied> {
        let ticket = self.ticket;
        let client = key.client(digest, ticket.tag, ticket.max_tunnels);
        // SECURITY: the MAC comes first, so that time tells a stranger nothing about the clock.
        if !same(&client.mac(digest, id, &ticket.signed()), &self.mac) {
            return Err(Denied::Forged);
        }
        if u64::from(ticket.issued_at).abs_diff(now) > WINDOW_SECONDS {
            return Err(Denied::Stale);
        }
        Ok((ticket, self.mac))
    }
}

impl fmt::Display for ClientTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use cloudtaser_tls::raw::PublicKey;

    use super::*;
    use crate::rendezvous::Epoch;

    const NOW: u32 = 1_795_500_000;

    fn digest() -> Digest {
        Digest::new().unwrap()
    }

    fn id(day: u32) -> RendezvousId {
        RendezvousId::new(digest(), &PublicKey::from_bytes([7; 32]), Epoch(day))
    }

    fn ticket() -> Ticket {
        Ticket {
            tag: ClientTag([9; 8]),
            day: 20_781,
            max_tunnels: 32,
            issued_at: NOW,
            nonce: [5; 12],
        }
    }

    fn day_key() -> DayKey {
        TicketSecret::new(&[3; 32]).day(digest(), 20_781)
    }

    fn shown(max_tunnels: u16) -> Shown {
        let client = day_key().client(digest(), ticket().tag, 32);
        let ticket = Ticket { max_tunnels, ..ticket() };
        let name = client.protocol(digest(), &id(1), &ticket);
        assert_eq!(name.len(), PROTOCOL_PREFIX.len() + 63);
        Shown::among(&[b"h2".to_vec(), name]).unwrap()
    }

    fn check(shown: Shown, id: RendezvousId, now: u32) -> Result<Ticket, Denied> {
        shown.check(digest(), &day_key(), &id, now.into()).map(|(ticket, _)| ticket)
    }

    #[test]
    fn a_true_ticket_says_what_its_maker_said() {
        assert_eq!(check(shown(32), id(1), NOW), Ok(ticket()));
    }

    #[test]
    fn another_bridge_limit_or_key_is_a_forgery() {
        assert_eq!(check(shown(32), id(2), NOW), Err(Denied::Forged));
        assert_eq!(check(shown(33), id(1), NOW), Err(Denied::Forged), "the limit is in the key");
        let other = TicketSecret::new(&[3; 32]).day(digest(), 20_782);
        let denied = shown(32).check(digest(), &other, &id(1), NOW.into()).unwrap_err();
        assert_eq!(denied, Denied::Forged);
    }

    #[test]
    fn a_ticket_is_good_for_a_minute_either_way() {
        let window = u32::try_from(WINDOW_SECONDS).unwrap();
        for now in [NOW - window, NOW + window] {
            assert!(check(shown(32), id(1), now).is_ok());
        }
        for now in [NOW - window - 1, NOW + window + 1] {
            assert_eq!(check(shown(32), id(1), now), Err(Denied::Stale));
        }
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let client = day_key().client(digest(), ticket().tag, 32);
        let name = client.protocol(digest(), &id(1), &ticket());
        for at in 0..name.len() {
            let mut changed = name.clone();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let denied = Shown::of_protocol(&changed).map(|shown| check(shown, id(1), NOW));
            assert!(!matches!(denied, Some(Ok(_))), "position {at}");
        }
    }
}
