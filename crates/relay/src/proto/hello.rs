//! What the beacon reads of a session that it cannot open: the ClientHello.
//!
//! It is looked at and left in the socket, so that the bridge gets the very bytes of the client. A
//! hello with the hybrid key share has some 1,600 bytes and comes in two segments; a hello may also
//! be spread over several records. Both are "not whole yet" until they are whole.
//!
//! Not done here: judging versions, suites and signatures. That is for the bridge, whose answer the
//! beacon does not understand.

use std::borrow::Cow;

use super::bytes::Reader;

/// More than any hello of ours; who sends more is turned away.
pub const MAX_LEN: usize = 4096;

/// The group that a session must offer a share of: X25519MLKEM768.
pub const HYBRID_GROUP: u16 = 0x11ec;

const RECORD_HEADER_LEN: usize = 5;
const RECORD_HANDSHAKE: u8 = 22;
const HANDSHAKE_CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_PROTOCOLS: u16 = 16;
const EXTENSION_KEY_SHARE: u16 = 51;
const NAME_KIND_HOST: u8 = 0;

/// What was found in the first bytes of a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Peek {
    /// The hello is whole.
    Hello(Hello),
    /// A beginning of what may become a hello: at least so many bytes are needed in all.
    More {
        /// How many, counted from the first; never more than [`MAX_LEN`].
        needed: usize,
    },
    /// This will never be a hello that we take.
    Refused(Refused),
}

/// Why the bytes are no hello that we take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// It is TLS, but the hello contradicts itself.
    Malformed,
    /// It is not TLS.
    NotTls,
    /// It is longer than [`MAX_LEN`].
    TooLong,
}

/// The parts of a hello by which a beacon decides.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Hello {
    /// The name that is asked for.
    pub server_name: Option<Vec<u8>>,
    /// The protocols that are offered, in order.
    pub protocols: Vec<Vec<u8>>,
    /// Whether there is a share for [`HYBRID_GROUP`].
    pub hybrid: bool,
}

/// Looks at the first bytes of a connection.
#[must_use]
pub fn peek(bytes: &[u8]) -> Peek {
    let message = match message(bytes) {
        Ok(message) => message,
        Err(peek) => return peek,
    };
    hello(Reader::new(&message)).map_or(Peek::Refused(Refused::Malformed), Peek::Hello)
}

/// Puts the handshake message together from its records, without its header.
fn message(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Peek> {
    let refused = |why| Err(Peek::Refused(why));
    let mut collected = Cow::Borrowed(&[][..]);
    let mut at = 0;
    loop {
        // Judged by what a record says of itself and not by how much of it is there: how a sender
        // cuts its bytes must change nothing.
        if at + RECORD_HEADER_LEN > MAX_LEN {
            return refused(Refused::TooLong);
        }
        let record = bytes.get(at..).unwrap_or_default();
        let Some((&header, rest)) = record.split_first_chunk::<RECORD_HEADER_LEN>() else {
            // What is there of the header is judged, so that garbage is told from TLS at once.
            let shape = |(index, byte): (usize, &u8)| match index {
                0 => *byte == RECORD_HANDSHAKE,
                1 => *byte == 3,
                _ => true,
            };
            if !record.iter().enumerate().all(shape) {
                return refused(Refused::NotTls);
            }
            return Err(Peek::More { needed: at + RECORD_HEADER_LEN });
        };
        let [kind, major, _minor, high, low] = header;
        let len = usize::from(u16::from_be_bytes([high, low]));
        if kind != RECORD_HANDSHAKE || major != 3 {
            return refused(Refused::NotTls);
        }
        // An empty record would let a sender go on for ever without saying anything.
        if len == 0 {
            return refused(Refused::Malformed);
        }
        if at + RECORD_HEADER_LEN + len > MAX_LEN {
            return refused(Refused::TooLong);
        }
        let fragment = rest.get(..len).unwrap_or(rest);
        if collected.is_empty() {
            collected = Cow::Borrowed(fragment);
        } else {
            collected.to_mut().extend_from_slice(fragment);
        }
        if let Some((&[kind, a, b, c], body)) = collected.split_first_chunk::<4>() {
            if kind != HANDSHAKE_CLIENT_HELLO {
                return refused(Refused::NotTls);
            }
            let wanted = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
            if wanted > MAX_LEN {
                return refused(Refused::TooLong);
            }
            if body.len() >= wanted {
                return Ok(match collected {
                    Cow::Borrowed(all) => Cow::Borrowed(all.get(4..4 + wanted).unwrap_or_default()),
                    Cow::Owned(all) => {
                        Cow::Owned(all.get(4..4 + wanted).unwrap_or_default().into())
                    }
                });
            }
        } else if collected.first().is_some_and(|kind| *kind != HANDSHAKE_CLIENT_HELLO) {
            return refused(Refused::NotTls);
        }
        at += RECORD_HEADER_LEN + len;
        if fragment.len() < len {
            return Err(Peek::More { needed: at });
        }
    }
}

/// Reads the body of a ClientHello; `None` where a length contradicts another.
fn hello(mut body: Reader<'_>) -> Option<Hello> {
    let mut found = Hello::default();
    let (_version, _random) = (body.u16()?, body.take(32)?);
    let (_session, _suites, _compressions) = (body.vec8()?, body.vec16()?, body.vec8()?);
    if body.is_empty() {
        return Some(found);
    }
    let mut extensions = body.vec16()?;
    while !extensions.is_empty() {
        let (kind, mut content) = (extensions.u16()?, extensions.vec16()?);
        match kind {
            EXTENSION_SERVER_NAME => {
                let mut names = content.vec16()?;
                while !names.is_empty() {
                    let (kind, name) = (names.u8()?, names.vec16()?);
                    if kind == NAME_KIND_HOST && found.server_name.is_none() {
                        found.server_name = Some(name.rest().to_vec());
                    }
                }
            }
            EXTENSION_PROTOCOLS => {
                let mut names = content.vec16()?;
                while !names.is_empty() {
                    found.protocols.push(names.vec8()?.rest().to_vec());
                }
            }
            EXTENSION_KEY_SHARE => {
                let mut shares = content.vec16()?;
                while !shares.is_empty() {
                    let (group, _share) = (shares.u16()?, shares.vec16()?);
                    found.hybrid |= group == HYBRID_GROUP;
                }
            }
            _ => {}
        }
    }
    body.is_empty().then_some(found)
}

#[cfg(test)]
mod tests;
