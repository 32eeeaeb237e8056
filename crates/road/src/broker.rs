//! What a program in the cluster and the cluster's broker say before the session with the bridge.
//!
//! The program shows the public half of a key that it has just made, and gets what it needs to open
//! a session with it: a ticket, a name, and the cluster's word on the key. From there on the broker
//! carries bytes to a beacon. It learns nothing by that: the session is between the program, whose
//! private key it never has, and the bridge, whose key the program knows from elsewhere.

use cloudtaser_tls::raw::PublicKey;

use crate::{bytes::Reader, credential::Credential};

/// Bytes of a request.
pub const REQUEST_LEN: usize = 36;
/// Longest answer behind its length.
pub const MAX_PASS_LEN: usize = 1024;

const MAGIC: &[u8; 4] = b"CTB1";

/// The program's request.
#[must_use]
pub fn request(key: &PublicKey) -> [u8; REQUEST_LEN] {
    let mut bytes = [0; REQUEST_LEN];
    bytes.iter_mut().zip(MAGIC.iter().chain(key.as_bytes())).for_each(|(to, from)| *to = *from);
    bytes
}

/// Reads a request.
#[must_use]
pub fn requested(bytes: &[u8; REQUEST_LEN]) -> Option<PublicKey> {
    let key = bytes.strip_prefix(MAGIC)?.try_into().ok()?;
    Some(PublicKey::from_bytes(key))
}

/// What a program needs for one session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pass {
    /// The bridge's key, as the cluster knows it. Compare it with what you know.
    pub bridge: PublicKey,
    /// The server name of the hello.
    pub server_name: String,
    /// The first of the hello's protocols. Good for one session that begins within a minute.
    pub ticket: Vec<u8>,
    /// To be presented in the session.
    pub credential: Credential,
}

/// The broker's answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// The connection to a beacon stands; what follows goes there.
    Pass(Box<Pass>),
    /// The cluster is not enrolled, or not any more.
    NotEnrolled,
    /// The broker carries as much as it may.
    Busy,
    /// No beacon can be reached.
    NoBeacon,
}

impl Answer {
    /// As it goes over the wire: one byte, and a pass behind its length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let pass = match self {
            Self::Pass(pass) => pass,
            Self::NotEnrolled => return vec![1],
            Self::Busy => return vec![2],
            Self::NoBeacon => return vec![3],
        };
        let (name, ticket) = (pass.server_name.as_bytes(), &pass.ticket);
        let len = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap_or(0);
        let body = [
            pass.bridge.as_bytes(),
            &[len(name)][..],
            name,
            &[len(ticket)],
            ticket,
            &pass.credential.encode(),
        ]
        .concat();
        let body_len = u16::try_from(body.len()).unwrap_or(0).to_be_bytes();
        [&[0][..], &body_len, &body].concat()
    }

    /// Reads the first byte: whether a pass follows, or which other answer it is; `None` for a
    /// number that this side does not know.
    #[must_use]
    pub const fn of(code: u8) -> Option<Option<Self>> {
        match code {
            0 => Some(None),
            1 => Some(Some(Self::NotEnrolled)),
            2 => Some(Some(Self::Busy)),
            3 => Some(Some(Self::NoBeacon)),
            _ => None,
        }
    }
}

impl Pass {
    /// Reads what stands behind the length.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let bridge = PublicKey::from_bytes(reader.array()?);
        let name = reader.vec8()?.rest().to_vec();
        let ticket = reader.vec8()?.rest().to_vec();
        let server_name = String::from_utf8(name).ok()?;
        Some(Self { bridge, server_name, ticket, credential: Credential::decode(reader.rest())? })
    }
}

#[cfg(test)]
mod tests {
    use cloudtaser_tls::raw::KeyPair;

    use super::*;
    use crate::credential::Certificate;

    #[test]
    fn a_pass_is_read_as_it_is_written() {
        let (bridge, _) = KeyPair::generate().unwrap();
        let (cluster, _) = KeyPair::generate().unwrap();
        let certificate = Certificate::issue(&bridge, cluster.public(), [1; 16], (0, 9)).unwrap();
        let leaf = certificate.leaf(&cluster, PublicKey::from_bytes([7; 32]), (0, 9)).unwrap();
        let pass = Pass {
            bridge: bridge.public(),
            server_name: "name.r.example".to_owned(),
            ticket: b"brp1.abc".to_vec(),
            credential: Credential { certificate, leaf: Some(leaf) },
        };
        let bytes = Answer::Pass(Box::new(pass.clone())).encode();
        assert_eq!(Answer::of(bytes[0]), Some(None));
        let len = usize::from(u16::from_be_bytes([bytes[1], bytes[2]]));
        assert_eq!(bytes.len(), 3 + len);
        assert_eq!(Pass::decode(&bytes[3..]), Some(pass));
        for answer in [Answer::NotEnrolled, Answer::Busy, Answer::NoBeacon] {
            assert_eq!(Answer::of(answer.encode()[0]), Some(Some(answer)));
        }
    }

    #[test]
    fn a_request_is_a_key() {
        let key = PublicKey::from_bytes([9; 32]);
        let bytes = request(&key);
        assert_eq!(requested(&bytes), Some(key));
        let mut other = bytes;
        other[0] = b'X';
        assert_eq!(requested(&other), None);
    }
}
