//! Reading what a TPM answers.

use anyhow::{Context as _, bail, ensure};

use super::command::Shape;

/// The first bits of a word of what went wrong that says of which handle, session or parameter.
const FORMAT_ONE: u32 = 0x80;

/// An answer that says that the command was done.
#[derive(Debug)]
pub(super) struct Answer {
    bytes: Vec<u8>,
    at: usize,
    end: usize,
    handle: Option<u32>,
}

impl Answer {
    /// Reads the head.
    pub(super) fn parse(bytes: Vec<u8>, shape: Shape) -> anyhow::Result<Self> {
        let end = bytes.len();
        let mut answer = Self { bytes, at: 0, end, handle: None };
        let _tag = answer.u16()?;
        let length = answer.u32()?;
        ensure!(usize::try_from(length) == Ok(end), "the TPM's answer was cut");
        match answer.u32()? {
            0 => {}
            code if code & FORMAT_ONE != 0 => {
                bail!("the TPM refuses: error {:#x} (of {:#x})", code & 0x3f, code)
            }
            code => bail!("the TPM refuses: {code:#x}"),
        }
        if shape.handle {
            answer.handle = Some(answer.u32()?);
        }
        if shape.sessions {
            let length = usize::try_from(answer.u32()?)?;
            let end = answer.at.checked_add(length).filter(|end| *end <= answer.end);
            answer.end = end.context("the TPM's answer is none")?;
        }
        Ok(answer)
    }

    /// The handle of what was made.
    pub(super) fn handle(&self) -> anyhow::Result<u32> {
        self.handle.context("the TPM gave no handle")
    }

    /// `TPM2B_…`.
    pub(super) fn sized(&mut self) -> anyhow::Result<&[u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// The answer of `TPM2_NV_ReadPublic`: how much is stored.
    pub(super) fn stored_length(&mut self) -> anyhow::Result<u16> {
        let public = self.sized()?;
        // Index, hash, attributes; a policy; then the length.
        let policy = public.get(10..12).and_then(|bytes| bytes.try_into().ok());
        let policy = usize::from(policy.map_or(0, u16::from_be_bytes));
        let length = public.get(12 + policy..).and_then(|bytes| bytes.try_into().ok());
        Ok(u16::from_be_bytes(length.context("the TPM's answer is none")?))
    }

    /// What is left before the sessions.
    pub(super) fn rest_of_parameters(&mut self) -> anyhow::Result<&[u8]> {
        self.take(self.end.saturating_sub(self.at))
    }

    /// The answer of `TPM2_PCR_Read`: which were read, and their values.
    pub(super) fn registers(&mut self) -> anyhow::Result<Vec<(u8, [u8; 32])>> {
        let _updates = self.u32()?;
        let mut numbers = Vec::new();
        for _ in 0..self.u32()? {
            let _bank = self.u16()?;
            let length = self.take(1)?.first().copied().unwrap_or(0);
            let bits = self.take(length.into())?;
            for (byte, bits) in (0_u8..).zip(bits) {
                numbers.extend(
                    (0..8)
                        .filter(|bit| bits >> bit & 1 == 1)
                        .map(|bit| byte.saturating_mul(8) + bit),
                );
            }
        }
        let count = usize::try_from(self.u32()?)?;
        ensure!(count == numbers.len(), "the TPM gives other registers than it names");
        let mut registers = Vec::new();
        for number in numbers {
            let value = self.sized()?.try_into().context("a register of another length")?;
            registers.push((number, value));
        }
        Ok(registers)
    }

    fn u16(&mut self) -> anyhow::Result<u16> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into()?))
    }

    fn u32(&mut self) -> anyhow::Result<u32> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn take(&mut self, length: usize) -> anyhow::Result<&[u8]> {
        let from = self.at;
        let to = from.checked_add(length).filter(|to| *to <= self.end);
        let taken =
            to.and_then(|to| self.bytes.get(from..to)).context("the TPM's answer is none")?;
        self.at = from + length;
        Ok(taken)
    }
}
