//! What client and bridge say inside their session, before OpenBao's own bytes.
//!
//! The client's handshake is over before the bridge has judged the client's key, so the bridge
//! begins with one byte: only with it does the client know that it was let in.

/// The protocol in which a client gets a connection to OpenBao, byte for byte.
pub const PROXY_PROTOCOL: &[u8] = b"ct-proxy/1";

/// The bridge's first byte.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The connection to OpenBao stands; its bytes follow.
    Connected,
    /// OpenBao does not answer.
    Unreachable,
    /// The bridge carries as many sessions as it may.
    Busy,
    /// This client has no door here.
    Forbidden,
}

impl Verdict {
    /// As it is written.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Connected => 0,
            Self::Unreachable => 1,
            Self::Busy => 2,
            Self::Forbidden => 3,
        }
    }

    /// As it is read; `None` for a number that this side does not know.
    #[must_use]
    pub const fn of(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Connected),
            1 => Some(Self::Unreachable),
            2 => Some(Self::Busy),
            3 => Some(Self::Forbidden),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read_as_it_is_written() {
        for code in 0..=u8::MAX {
            assert!(Verdict::of(code).is_none_or(|verdict| verdict.code() == code));
        }
    }
}
