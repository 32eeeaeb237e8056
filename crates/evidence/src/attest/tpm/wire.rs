//! Reading a TPM's structures: numbers are big-endian, and what has a size says it in two bytes.

use super::TpmError;

/// What is left of a structure.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Begins with a structure of this kind.
    pub(super) const fn new(
        bytes: &'a [u8],
        most: usize,
        what: &'static str,
    ) -> Result<Self, TpmError> {
        if bytes.len() > most { Err(TpmError::Form(what)) } else { Ok(Self { rest: bytes, what }) }
    }

    pub(super) const fn odd(&self) -> TpmError {
        TpmError::Form(self.what)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], TpmError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.odd())?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TpmError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| self.odd())?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, TpmError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, TpmError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, TpmError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, TpmError> {
        self.array().map(u64::from_be_bytes)
    }

    /// The event log has its numbers the other way round.
    pub(super) fn u16_le(&mut self) -> Result<u16, TpmError> {
        self.array().map(u16::from_le_bytes)
    }

    /// The same of four bytes.
    pub(super) fn u32_le(&mut self) -> Result<u32, TpmError> {
        self.array().map(u32::from_le_bytes)
    }

    /// `TPM2B_…`.
    pub(super) fn sized(&mut self) -> Result<&'a [u8], TpmError> {
        let length = self.u16()?;
        self.take(length.into())
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing follows.
    pub(super) const fn end(self) -> Result<(), TpmError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.odd()) }
    }
}
