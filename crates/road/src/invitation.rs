//! What is carried, once and by a road of its own, from the bridge to a cluster that is to be let
//! in: where to knock, whose key to expect there, and a secret that is good for one use.
//!
//! `ctinv1.` and base64url, with a checksum, so that a copy with a slip is told from a false one.

use std::fmt;

use cloudtaser_tls::{Digest, raw::PublicKey};
use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use crate::{bytes::Reader, ticket::ClientTag};

/// What stands before an invitation.
pub const PREFIX: &str = "ctinv1.";
/// Longest text that is looked at.
pub const MAX_TEXT_LEN: usize = 8192;
/// Beacons and days at most.
pub const MAX_PARTS: usize = 32;

const CHECKSUM_LEN: usize = 4;
const CHECKSUM_CONTEXT: &[u8] = b"cte1/invitation";

/// An invitation, as the invited reads it.
#[derive(Debug, Eq, PartialEq)]
pub struct Invitation {
    /// The bridge's key.
    pub bridge: PublicKey,
    /// Which invitation it is.
    pub id: InvitationId,
    /// What it is worth.
    pub secret: InvitationSecret,
    /// Seconds since 1970.
    pub not_after: u64,
    /// The pseudonym of its tickets.
    pub tag: ClientTag,
    /// How many tunnels its tickets allow at once.
    pub max_tunnels: u16,
    /// Where to dial: `host:port` and domain.
    pub beacons: Vec<(String, String)>,
    /// Ticket keys by day.
    pub days: Vec<(u32, DayBytes)>,
}

/// Names an invitation. Public: it is in audit lines.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct InvitationId(pub [u8; 16]);

/// What an invitation is worth. It is wiped when it is dropped, and shown by nothing.
#[derive(Eq, PartialEq)]
pub struct InvitationSecret(Zeroizing<[u8; 32]>);

/// The key of one day's tickets. It is wiped when it is dropped, and shown by nothing.
#[derive(Eq, PartialEq)]
pub struct DayBytes(Zeroizing<[u8; 32]>);

/// Why a text is no invitation. It is not quoted: it may hold the secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoInvitation {
    /// It does not begin as invitations do, or has characters that they have not.
    #[error("this is no invitation: one begins with {PREFIX} and has no spaces in it")]
    Form,
    /// The checksum does not fit.
    #[error("the invitation is not whole, or a character of it was changed: copy it again")]
    Checksum,
    /// It is whole, and not as this version writes it.
    #[error("the invitation was made by another version of the bridge")]
    Content,
}

impl Invitation {
    /// As it is printed.
    #[must_use]
    pub fn to_text(&self, digest: Digest) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::new());
        bytes.extend_from_slice(self.bridge.as_bytes());
        bytes.extend_from_slice(&self.id.0);
        bytes.extend_from_slice(self.secret.expose());
        bytes.extend_from_slice(&self.not_after.to_be_bytes());
        bytes.extend_from_slice(&self.tag.0);
        bytes.extend_from_slice(&self.max_tunnels.to_be_bytes());
        let beacons = self.beacons.get(..MAX_PARTS).unwrap_or(&self.beacons);
        bytes.push(u8::try_from(beacons.len()).unwrap_or(0));
        for (address, domain) in beacons {
            for text in [address, domain] {
                let text = text.as_bytes();
                let text = text.get(..usize::from(u8::MAX)).unwrap_or(text);
                bytes.push(u8::try_from(text.len()).unwrap_or(0));
                bytes.extend_from_slice(text);
            }
        }
        let days = self.days.get(..MAX_PARTS).unwrap_or(&self.days);
        bytes.push(u8::try_from(days.len()).unwrap_or(0));
        for (day, key) in days {
            bytes.extend_from_slice(&day.to_be_bytes());
            bytes.extend_from_slice(key.expose());
        }
        let sum = checksum(digest, &bytes);
        bytes.extend_from_slice(&sum);
        Zeroizing::new(format!("{PREFIX}{}", *Zeroizing::new(BASE64URL_NOPAD.encode(&bytes))))
    }

    /// As it is read; space around it does not count.
    ///
    /// # Errors
    /// [`NoInvitation`].
    pub fn parse(digest: Digest, text: &str) -> Result<Self, NoInvitation> {
        let text = text.trim();
        let encoded = text.strip_prefix(PREFIX).filter(|_| text.len() <= MAX_TEXT_LEN);
        let encoded = encoded.ok_or(NoInvitation::Form)?;
        let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).ok().map(Zeroizing::new);
        let bytes = bytes.ok_or(NoInvitation::Form)?;
        let (body, sum) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(NoInvitation::Checksum)?;
        if checksum(digest, body) != *sum {
            return Err(NoInvitation::Checksum);
        }
        Self::read(Reader::new(body)).ok_or(NoInvitation::Content)
    }

    fn read(mut body: Reader<'_>) -> Option<Self> {
        let (bridge, id) = (PublicKey::from_bytes(body.array()?), InvitationId(body.array()?));
        let (secret, not_after) = (InvitationSecret::new(body.array()?), body.u64()?);
        let (tag, max_tunnels) = (ClientTag(body.array()?), body.u16()?);
        let mut beacons = Vec::new();
        for _ in 0..parts(body.u8()?)? {
            let (address, domain) = (text(body.vec8()?)?, text(body.vec8()?)?);
            beacons.push((address, domain));
        }
        let mut days = Vec::new();
        for _ in 0..parts(body.u8()?)? {
            days.push((body.u32()?, DayBytes::new(body.array()?)));
        }
        let read = Self { bridge, id, secret, not_after, tag, max_tunnels, beacons, days };
        body.is_empty().then_some(read)
    }
}

impl InvitationSecret {
    /// Takes 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the hash and the wire.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl DayBytes {
    /// As it came.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one who keeps them.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for InvitationSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InvitationSecret(redacted)")
    }
}

impl fmt::Debug for DayBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DayBytes(redacted)")
    }
}

fn parts(count: u8) -> Option<u8> {
    (usize::from(count) <= MAX_PARTS).then_some(count)
}

/// Printable, so that it can be shown in an error.
fn text(bytes: Reader<'_>) -> Option<String> {
    let bytes = bytes.rest();
    let shown = bytes.iter().all(u8::is_ascii_graphic) && !bytes.is_empty();
    shown.then(|| String::from_utf8(bytes.to_vec()).ok())?
}

fn checksum(digest: Digest, body: &[u8]) -> [u8; CHECKSUM_LEN] {
    let hash = digest.sha256(&[CHECKSUM_CONTEXT, body]);
    let mut sum = [0; CHECKSUM_LEN];
    sum.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invitation() -> Invitation {
        let pair = |name: &str| (format!("{name}:443"), name.to_owned());
        Invitation {
            bridge: PublicKey::from_bytes([1; 32]),
            id: InvitationId([2; 16]),
            secret: InvitationSecret::new([3; 32]),
            not_after: 1_795_500_000,
            tag: ClientTag([4; 8]),
            max_tunnels: 2,
            beacons: vec![pair("one.example"), pair("two.example")],
            days: vec![(20_781, DayBytes::new([5; 32])), (20_782, DayBytes::new([6; 32]))],
        }
    }

    #[test]
    fn what_was_printed_is_read() {
        let digest = Digest::new().unwrap();
        let text = format!("  {}\n", *invitation().to_text(digest));
        assert_eq!(Invitation::parse(digest, &text), Ok(invitation()));
    }

    #[test]
    fn a_slip_at_any_place_is_told() {
        let digest = Digest::new().unwrap();
        let text = invitation().to_text(digest);
        for at in 0..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(Invitation::parse(digest, &changed).is_err(), "{at}");
            assert!(Invitation::parse(digest, text.get(..at).unwrap()).is_err(), "{at}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let shown = format!("{:?}", invitation());
        assert!(
            shown.contains("InvitationSecret(redacted)") && !shown.contains("[3, 3"),
            "{shown}"
        );
    }
}
