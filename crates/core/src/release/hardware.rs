//! Which confidential machines a policy allows, and what a verified report says of one.
//!
//! A report that is genuine is not enough: anybody may rent such a machine and start in it what he
//! likes. What counts is which memory it was started with, and on whose word everything above that
//! stands. An entry starts from "nothing is allowed", and cannot allow a guest that its host may
//! debug or carry elsewhere.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, de};

use super::nodes::Assurance;

/// Length of a launch measurement, SHA-384.
pub const MEASUREMENT_LEN: usize = 48;
/// Length of the identity of an AMD chip.
pub const CHIP_LEN: usize = 64;
/// The lowest privilege of a guest (AMD calls it VMPL 3).
const VMPL_MAX: u32 = 3;
/// What Intel says of a platform that nothing is wrong with.
const UP_TO_DATE: &str = "UpToDate";

/// Bytes that are written as hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Digits<const N: usize>(pub [u8; N]);

/// Machines that a policy allows, as they are written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HardwareFile {
    /// In rules and reasons.
    pub name: String,
    /// Whose all that is measured is.
    #[serde(default)]
    pub stack: Stack,
    /// AMD SEV-SNP.
    #[serde(rename = "sev-snp")]
    pub snp: Option<SnpFile>,
    /// Intel TDX.
    pub tdx: Option<TdxFile>,
}

/// Whose the code inside a confidential machine is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Stack {
    /// All of it is the customer's: firmware, kernel, what is started.
    Own,
    /// Firmware of the provider's is in it.
    #[default]
    Provider,
}

/// Guests of SEV-SNP. All lines have to fit.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpFile {
    /// Launch measurements, any of which will do.
    pub measurements: Vec<Digits<MEASUREMENT_LEN>>,
    /// No part of the firmware may be older.
    #[serde(default)]
    pub minimum: Tcb,
    /// Chips that the customer has to himself; empty allows all.
    #[serde(default)]
    pub chips: Vec<Digits<CHIP_LEN>>,
    /// Whether a key of the provider's fleet will do.
    #[serde(default)]
    pub fleet: Fleet,
    /// The privilege level at which the guest must have asked; 0 is the highest.
    #[serde(default)]
    pub vmpl: u32,
}

/// Whether a VLEK, which the provider shares among its machines, is accepted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Fleet {
    /// A VLEK will do.
    Accept,
    /// Only a chip's own key.
    #[default]
    Refuse,
}

/// The versions of the parts of AMD's firmware.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Tcb {
    /// Firmware of the management controller; Turin and later.
    pub fmc: u8,
    /// Boot loader of the secure processor.
    pub bootloader: u8,
    /// Its operating system.
    pub tee: u8,
    /// The SNP firmware.
    pub snp: u8,
    /// Microcode of the cores.
    pub microcode: u8,
}

/// Trust domains of TDX. All lines have to fit.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdxFile {
    /// Sets of measurements, any of which will do.
    pub measurements: Vec<TdxMeasurements>,
    /// What else than `UpToDate` is accepted of the platform.
    #[serde(default)]
    pub tolerated: Vec<String>,
    /// Processors (PPID) that the customer has to himself; empty allows all.
    #[serde(default)]
    pub processors: Vec<Digits<16>>,
}

/// What a trust domain consists of.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct TdxMeasurements {
    /// The first memory image: firmware.
    pub mr_td: Digits<MEASUREMENT_LEN>,
    /// What firmware, boot loader, kernel and system measured after it.
    pub rtmr: [Digits<MEASUREMENT_LEN>; 4],
}

/// What a genuine report says of a machine, over this statement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Hardware {
    /// By AMD's processor.
    Snp(Snp),
    /// By Intel's.
    Tdx(Tdx),
}

/// A report of SEV-SNP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Snp {
    /// What the guest's memory held when it started.
    pub measurement: [u8; MEASUREMENT_LEN],
    /// Which chip.
    pub chip: [u8; CHIP_LEN],
    /// The privilege level that asked.
    pub vmpl: u32,
    /// Whether a key of the provider's fleet signed it.
    pub by_fleet: bool,
    /// Whether the host may read the guest with a debugger.
    pub debug: bool,
    /// Whether a migration agent may carry the guest's memory elsewhere.
    pub migration: bool,
    /// The firmware that the signing key stands for.
    pub reported: Tcb,
    /// The firmware that cannot be rolled back.
    pub committed: Tcb,
}

/// A quote of TDX. One under debug does not come so far.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tdx {
    /// What it runs.
    pub measurements: TdxMeasurements,
    /// Intel's word on the platform: `UpToDate`, `OutOfDate`, …
    pub status: String,
    /// Which processor (PPID).
    pub processor: Vec<u8>,
    /// Whether the domain may be moved to another machine.
    pub migration: bool,
}

/// Why a report that is genuine is not enough for an entry.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The entry is of the other maker's machines.
    #[error("it is hardware of another kind")]
    Kind,
    /// No such measurement is allowed.
    #[error("its measurement is not allowed")]
    Measurement,
    /// The host may read the guest with a debugger.
    #[error("its host may debug it")]
    Debug,
    /// It may be carried to another machine.
    #[error("it may be migrated")]
    Migration,
    /// Not the privilege level that was asked for.
    #[error("the report was made at VMPL {0}")]
    Privilege(u32),
    /// The firmware is older than allowed.
    #[error("the {0} is older than allowed")]
    Firmware(&'static str),
    /// Intel does not call the platform good.
    #[error("Intel says of the platform: {0}")]
    Platform(String),
    /// The chip or processor is none of those that belong to the customer.
    #[error("the processor is not on the list")]
    Processor,
    /// The key is the provider's own for a fleet of machines, not one chip's.
    #[error("the report is signed by a key of the provider's fleet (VLEK), not of one chip (VCEK)")]
    Fleet,
}

impl HardwareFile {
    /// Holds a genuine report against this entry, and says how far it reaches.
    ///
    /// # Errors
    /// The first [`Refusal`].
    pub fn check(&self, hardware: &Hardware) -> Result<Assurance, Refusal> {
        let named = match (hardware, &self.snp, &self.tdx) {
            (Hardware::Snp(report), Some(wanted), _) => {
                wanted.check(report)?;
                // A chip's own key, and a chip that is known.
                !wanted.chips.is_empty() && !report.by_fleet
            }
            (Hardware::Tdx(quote), _, Some(wanted)) => {
                wanted.check(quote)?;
                !wanted.processors.is_empty()
            }
            _ => return Err(Refusal::Kind),
        };
        Ok(if named && self.stack == Stack::Own { Assurance::L3 } else { Assurance::L2 })
    }

    /// What is wrong with it.
    pub(super) fn slip(&self) -> Option<&'static str> {
        let measurements = match (&self.snp, &self.tdx) {
            (Some(snp), None) if snp.vmpl > VMPL_MAX => return Some("a VMPL is 0 to 3"),
            (Some(snp), None) => snp.measurements.len(),
            (None, Some(tdx)) => tdx.measurements.len(),
            _ => return Some("it is either of sev-snp or of tdx"),
        };
        (measurements == 0).then_some("it allows no measurement")
    }
}

impl SnpFile {
    fn check(&self, report: &Snp) -> Result<(), Refusal> {
        if report.debug {
            return Err(Refusal::Debug);
        }
        if report.migration {
            return Err(Refusal::Migration);
        }
        if report.vmpl != self.vmpl {
            return Err(Refusal::Privilege(report.vmpl));
        }
        if report.by_fleet && self.fleet == Fleet::Refuse {
            return Err(Refusal::Fleet);
        }
        if !self.measurements.contains(&Digits(report.measurement)) {
            return Err(Refusal::Measurement);
        }
        // SECURITY: the committed version is the one that the firmware cannot be rolled back behind;
        // the reported one is what the key was derived from. Both must be new enough.
        for tcb in [report.reported, report.committed] {
            if let Some(part) = tcb.older_than(self.minimum) {
                return Err(Refusal::Firmware(part));
            }
        }
        if !self.chips.is_empty() && !self.chips.contains(&Digits(report.chip)) {
            return Err(Refusal::Processor);
        }
        Ok(())
    }
}

impl TdxFile {
    fn check(&self, quote: &Tdx) -> Result<(), Refusal> {
        if quote.migration {
            return Err(Refusal::Migration);
        }
        if !self.measurements.contains(&quote.measurements) {
            return Err(Refusal::Measurement);
        }
        if quote.status != UP_TO_DATE && !self.tolerated.contains(&quote.status) {
            return Err(Refusal::Platform(quote.status.clone()));
        }
        let is_known = |known: &Digits<16>| known.0.as_slice() == quote.processor;
        if !self.processors.is_empty() && !self.processors.iter().any(is_known) {
            return Err(Refusal::Processor);
        }
        Ok(())
    }
}

impl Tcb {
    /// The first part that is older than in `other`.
    #[must_use]
    pub fn older_than(self, other: Self) -> Option<&'static str> {
        let parts = [
            (self.fmc, other.fmc, "firmware of the management controller"),
            (self.bootloader, other.bootloader, "boot loader"),
            (self.tee, other.tee, "secure processor's system"),
            (self.snp, other.snp, "SNP firmware"),
            (self.microcode, other.microcode, "microcode"),
        ];
        parts.into_iter().find(|(is, least, _)| is < least).map(|(_, _, name)| name)
    }
}

impl Hardware {
    /// What it is called.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Snp(_) => "SEV-SNP",
            Self::Tdx(_) => "TDX",
        }
    }

    /// What it was started with, in hexadecimal: the measurement, or MRTD.
    #[must_use]
    pub fn measurement(&self) -> String {
        match self {
            Self::Snp(report) => HEXLOWER.encode(&report.measurement),
            Self::Tdx(quote) => HEXLOWER.encode(&quote.measurements.mr_td.0),
        }
    }
}

impl<const N: usize> Default for Digits<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<'de, const N: usize> Deserialize<'de> for Digits<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        let wanted = || de::Error::custom(format!("{} hexadecimal digits in lower case", 2 * N));
        bytes.map(Self).ok_or_else(wanted)
    }
}

#[cfg(test)]
pub(super) mod tests;
