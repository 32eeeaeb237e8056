//! Frames: `type (1) ‖ head length (3) ‖ secret length (4) ‖ head ‖ secret`, numbers big-endian.
//!
//! The head is JSON. What is secret stands behind it as it is.

use zeroize::Zeroizing;

use crate::Secret;

/// Bytes before every head.
pub const PREFIX_LEN: usize = 8;
/// No head is longer: as many references as one environment can hold.
pub const HEAD_MAX: usize = 1 << 20;

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A part is longer than it may be.
    #[error("a frame is longer than allowed")]
    TooLong,
    /// The type is not one of this direction.
    #[error("a frame has a type that is not known")]
    Type,
    /// The head is not what the type says.
    #[error("a frame's head cannot be read")]
    Head,
    /// The secret part does not have the length that the head says.
    #[error("a frame's parts contradict each other")]
    Parts,
}

/// A message of one direction.
pub trait Message: Sized {
    /// The longest secret part of this direction.
    const SECRET_MAX: usize;

    /// The number of its type.
    fn kind(&self) -> u8;

    /// Its head, as JSON.
    fn head(&self) -> Vec<u8>;

    /// What stands behind the head.
    fn secrets(&self) -> Vec<&Secret>;

    /// Reads one.
    ///
    /// # Errors
    /// [`FrameError`].
    fn read(kind: u8, head: &[u8], secret: &[u8]) -> Result<Self, FrameError>;
}

/// A frame's bytes, in a buffer of the right size that is wiped.
///
/// # Errors
/// [`FrameError::TooLong`], so that nothing is sent that the other side would refuse.
pub fn encode<M: Message>(message: &M) -> Result<Zeroizing<Vec<u8>>, FrameError> {
    let head = message.head();
    let secrets = message.secrets();
    let secret_len = secrets.iter().map(|secret| secret.len()).sum::<usize>();
    if head.len() > HEAD_MAX || secret_len > M::SECRET_MAX {
        return Err(FrameError::TooLong);
    }
    let mut out = Zeroizing::new(Vec::with_capacity(PREFIX_LEN + head.len() + secret_len));
    let len = |len: usize| u32::try_from(len).map_or([0xff; 4], u32::to_be_bytes);
    let [_, head_len @ ..] = len(head.len());
    out.push(message.kind());
    out.extend_from_slice(&head_len);
    out.extend_from_slice(&len(secret_len));
    out.extend_from_slice(&head);
    for secret in secrets {
        out.extend_from_slice(secret.expose());
    }
    Ok(out)
}

/// How long the frame is of which these bytes are the beginning; `None` while that is not told.
///
/// # Errors
/// [`FrameError::TooLong`] as soon as a length is there that is not allowed.
pub fn len_of<M: Message>(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(prefix) = bytes.first_chunk::<PREFIX_LEN>() else { return Ok(None) };
    let (head, secret) = lengths(prefix);
    if head > HEAD_MAX || secret > M::SECRET_MAX {
        return Err(FrameError::TooLong);
    }
    Ok(Some(PREFIX_LEN + head + secret))
}

/// Reads the first message of these bytes, and says how many bytes it has; `None` while it is not
/// whole.
///
/// # Errors
/// [`FrameError`]; the connection is of no use afterwards.
pub fn decode<M: Message>(bytes: &[u8]) -> Result<Option<(M, usize)>, FrameError> {
    let Some(len) = len_of::<M>(bytes)? else { return Ok(None) };
    let (Some(prefix), Some(body)) = (bytes.first_chunk(), bytes.get(PREFIX_LEN..len)) else {
        return Ok(None);
    };
    let (head_len, _) = lengths(prefix);
    let (head, secret) = body.split_at_checked(head_len).ok_or(FrameError::Parts)?;
    let [kind, ..] = *prefix;
    M::read(kind, head, secret).map(|message| Some((message, len)))
}

fn lengths(prefix: &[u8; PREFIX_LEN]) -> (usize, usize) {
    let [_, a, b, c, secret @ ..] = *prefix;
    let len = |bytes| usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(usize::MAX);
    (len([0, a, b, c]), len(secret))
}

/// Hands out a secret part piece by piece.
#[derive(Debug)]
pub(super) struct Pieces<'a>(pub(super) &'a [u8]);

impl Pieces<'_> {
    pub(super) fn take(&mut self, len: usize) -> Result<Secret, FrameError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(FrameError::Parts)?;
        self.0 = rest;
        Ok(Secret::new(taken.to_vec()))
    }

    /// Demands that nothing is left.
    pub(super) const fn end(&self) -> Result<(), FrameError> {
        if self.0.is_empty() { Ok(()) } else { Err(FrameError::Parts) }
    }
}
