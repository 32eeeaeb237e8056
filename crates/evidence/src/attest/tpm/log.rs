//! The firmware's event log: what was measured into which register, in order.
//!
//! The log is signed by nobody. It is believed where replaying it gives the values that a quote
//! covers, and only what is hashed is believed: an event's text may say anything.

use sha2::{Digest as _, Sha256};

use super::{REGISTERS, Registers, SHA256, TpmError, wire::Reader};
use crate::hash::Digest;

/// Logs of servers have some 100 kB.
pub const LOG_MAX: usize = 256 * 1024;
/// `EV_NO_ACTION`: says something and is measured into nothing.
const NO_ACTION: u32 = 3;
/// Banks that firmware keeps; more would be nonsense.
const BANKS_MAX: u32 = 16;
/// Names the form of all events that follow.
const SPECIFICATION: &[u8] = b"Spec ID Event03\0";
/// From which locality the first measurement came; register 0 begins with it.
const LOCALITY: &[u8] = b"StartupLocality\0";
const SHA1_LEN: usize = 20;

/// Goes through the log; registers that nothing was measured into are not in the answer.
///
/// # Errors
/// [`TpmError::Form`].
pub fn replay(bytes: &[u8]) -> Result<Registers, TpmError> {
    let mut registers = Registers::new();
    if bytes.is_empty() {
        // Firmware that measures nothing: then every register is as it was at the reset.
        return Ok(registers);
    }
    let mut reader = Reader::new(bytes, LOG_MAX, "event log")?;
    let banks = banks(&mut reader)?;
    while !reader.is_empty() {
        let (register, kind) = (reader.u32_le()?, reader.u32_le()?);
        let measured = measured(&mut reader, &banks)?;
        let length = reader.u32_le()?;
        let text = reader.take(usize::try_from(length).map_err(|_wide| reader.odd())?)?;
        let number = u8::try_from(register).ok().filter(|number| *number < REGISTERS);
        if kind == NO_ACTION {
            if let Some(locality) = text.strip_prefix(LOCALITY) {
                begin(&mut registers, locality).ok_or_else(|| reader.odd())?;
            }
            continue;
        }
        let number = number.ok_or_else(|| reader.odd())?;
        let value = registers.entry(number).or_default();
        let extended = Sha256::new().chain_update(value.as_bytes()).chain_update(measured);
        *value = Digest::new(extended.finalize().into());
    }
    Ok(registers)
}

/// The first event, in the old form, says which hashes all others have.
fn banks(reader: &mut Reader<'_>) -> Result<Vec<(u16, usize)>, TpmError> {
    let (_register, kind) = (reader.u32_le()?, reader.u32_le()?);
    let _old_hash = reader.take(SHA1_LEN)?;
    let length = reader.u32_le()?;
    let text = reader.take(usize::try_from(length).map_err(|_wide| reader.odd())?)?;
    let mut text = Reader::new(text, LOG_MAX, "event log")?;
    if kind != NO_ACTION || text.take(SPECIFICATION.len())? != SPECIFICATION {
        return Err(reader.odd());
    }
    // Class of platform, version, errata, width of an address.
    text.take(4 + 4)?;
    let count = text.u32_le()?;
    if count > BANKS_MAX {
        return Err(reader.odd());
    }
    let mut banks = Vec::new();
    for _ in 0..count {
        banks.push((text.u16_le()?, usize::from(text.u16_le()?)));
    }
    let vendors = text.u8()?;
    text.take(vendors.into())?;
    text.end()?;
    Ok(banks)
}

/// The hashes of one event; that of our bank.
fn measured<'a>(reader: &mut Reader<'a>, banks: &[(u16, usize)]) -> Result<&'a [u8], TpmError> {
    let count = reader.u32_le()?;
    if count > BANKS_MAX {
        return Err(reader.odd());
    }
    let mut ours = None;
    for _ in 0..count {
        let algorithm = reader.u16_le()?;
        let bank = banks.iter().find(|(bank, _)| *bank == algorithm);
        let (_, length) = bank.ok_or_else(|| reader.odd())?;
        let hash = reader.take(*length)?;
        if algorithm == SHA256 {
            ours = Some(hash);
        }
    }
    ours.filter(|hash| hash.len() == 32).ok_or_else(|| reader.odd())
}

/// Register 0 begins with the locality, and nothing was measured before that was said.
fn begin(registers: &mut Registers, locality: &[u8]) -> Option<()> {
    let [locality] = locality else { return None };
    let mut value = [0; 32];
    *value.last_mut()? = *locality;
    match registers.insert(0, Digest::new(value)) {
        None => Some(()),
        Some(_measured) => None,
    }
}

#[cfg(test)]
mod tests;
