//! The name under which a bridge can be reached, which only the holder of its key can claim.
//!
//! It is a hash of the key and of a day, so that who sees it today cannot tell that it is the name
//! that was seen yesterday, unless the key is known. A beacon computes it from the key that the
//! bridge proved to hold, so there is nothing to register and nobody to ask.

use std::fmt;

use cloudtaser_tls::{Digest, raw::PublicKey};
use data_encoding::BASE32_NOPAD;

/// Bytes before everything that is hashed for a name.
const DOMAIN: &[u8] = b"brp1/rid";
/// Ed25519; other numbers are for algorithms to come.
const ALGORITHM: u8 = 1;
const SECONDS_PER_DAY: u64 = 86_400;
/// Characters of the name as a DNS label.
pub const LABEL_LEN: usize = 52;
/// The DNS label behind which a beacon's names are: `<id>.r.<beacon>`.
pub const LABEL_OF_NAMES: &str = "r";

/// A name for one day, or for all.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RendezvousId([u8; 32]);

/// The time that a name is for: days since 1970, or 0 for a name that never changes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The day of a moment in seconds since 1970.
    #[must_use]
    pub fn of(unix_seconds: u64) -> Self {
        Self(u32::try_from(unix_seconds / SECONDS_PER_DAY).unwrap_or(u32::MAX))
    }

    /// The day before, this day, and the day after: clocks differ, and midnight comes.
    #[must_use]
    pub const fn with_neighbours(self) -> [Self; 3] {
        [Self(self.0.saturating_sub(1)), self, Self(self.0.saturating_add(1))]
    }
}

impl RendezvousId {
    /// The name of this bridge at this time.
    #[must_use]
    pub fn new(digest: Digest, key: &PublicKey, epoch: Epoch) -> Self {
        let parts = [DOMAIN, &[ALGORITHM], key.as_bytes(), &epoch.0.to_be_bytes()];
        Self(digest.sha256(&parts))
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads the first label of a server name. Upper case is read too: DNS knows no difference.
    #[must_use]
    pub fn of_server_name(name: &[u8]) -> Option<Self> {
        let label = name.split(|byte| *byte == b'.').next()?;
        if label.len() != LABEL_LEN {
            return None;
        }
        // Its last bits must be zero: one name has one spelling.
        let bytes = BASE32_NOPAD.decode(&label.to_ascii_uppercase()).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// The server name that a client asks for at a beacon of this domain.
    #[must_use]
    pub fn server_name(&self, domain: &str) -> String {
        format!("{self}.{LABEL_OF_NAMES}.{domain}")
    }
}

impl fmt::Display for RendezvousId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
    }
}

/// Shows nothing: a log must not hold a name by which a tenant can be followed.
impl fmt::Debug for RendezvousId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RendezvousId(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(epoch: u32) -> RendezvousId {
        let key = PublicKey::from_bytes([7; 32]);
        RendezvousId::new(Digest::new().unwrap(), &key, Epoch(epoch))
    }

    #[test]
    fn a_name_is_read_as_it_is_written_in_any_case() {
        let name = id(0).server_name("beacon.example");
        assert!(name.ends_with(".r.beacon.example"));
        assert_eq!(name.find('.'), Some(LABEL_LEN));
        assert_eq!(RendezvousId::of_server_name(name.as_bytes()), Some(id(0)));
        let upper = name.to_ascii_uppercase();
        assert_eq!(RendezvousId::of_server_name(upper.as_bytes()), Some(id(0)));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let name = id(0).to_string();
        let (first, rest) = name.split_at(1);
        let other_bits = format!("{}b", name.split_at(LABEL_LEN - 1).0);
        for odd in ["", "a.b", rest, &name.replace(first, "1"), &other_bits] {
            assert_eq!(RendezvousId::of_server_name(odd.as_bytes()), None, "{odd}");
        }
    }

    #[test]
    fn each_day_has_its_own_name_and_logs_show_none() {
        assert_ne!(id(1), id(2));
        assert_eq!(Epoch::of(86_400 * 3 + 5), Epoch(3));
        assert_eq!(format!("{:?}", id(1)), "RendezvousId(…)");
    }
}
