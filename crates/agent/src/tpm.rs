//! The node's TPM 2.0, by its own commands over `/dev/tpmrm0`: a key that signs quotes, quotes, and
//! the answer to a credential. No library is between.
//!
//! Nothing is kept on a disk: both keys are made anew from the TPM's own seed and come out the same
//! each time, so a stolen disk has nothing, and a TPM that was cleared has another name.
//! Structures and numbers: TCG, TPM 2.0 Library, Parts 2 and 3.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, ensure};

mod answer;
mod command;

use answer::Answer;
use command::{Command, Session};

/// The device behind the kernel's resource manager, which keeps users of the TPM apart.
pub(crate) const DEVICE: &str = "/dev/tpmrm0";
/// The firmware's event log, as the kernel shows it.
pub(crate) const EVENT_LOG: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";
/// No answer is longer (`TPM2_MAX_RESPONSE_SIZE`).
const ANSWER_MAX: usize = 4096;
/// What firmware, loader and kernel are measured into, and what a boot loader's keys are.
const REGISTERS: [u8; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14];
/// Values and quote are read one after the other; something may be measured in between.
const TRIES: usize = 5;

/// Where a maker puts the certificate of an endorsement key on P-256 (TCG EK Credential Profile, 2.2.1.4).
const CERTIFICATE: u32 = 0x01c0_000a;
/// What every TPM gives of a store at once.
const CHUNK: u16 = 512;

/// `TPM_RH_ENDORSEMENT`.
const ENDORSEMENT: u32 = 0x4000_000b;
/// `TPM_RH_NULL`.
const NULL: u32 = 0x4000_0007;

/// Where commands go.
pub(crate) trait Transport {
    /// Sends one command and receives its answer.
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>>;
}

/// A TPM.
#[derive(Debug)]
pub(crate) struct Tpm<T> {
    transport: T,
}

/// What a TPM signed.
#[derive(Debug)]
pub(crate) struct Quote {
    /// `TPMT_PUBLIC` of the key.
    pub(crate) key: Vec<u8>,
    /// `TPMS_ATTEST`.
    pub(crate) quote: Vec<u8>,
    /// `TPMT_SIGNATURE`.
    pub(crate) signature: Vec<u8>,
    /// The registers that it covers.
    pub(crate) registers: BTreeMap<u8, [u8; 32]>,
}

/// Which TPM it is.
#[derive(Debug)]
pub(crate) struct Identity {
    /// `TPMT_PUBLIC` of the endorsement key.
    pub(crate) endorsement: Vec<u8>,
    /// The same of the key that signs quotes.
    pub(crate) attestation: Vec<u8>,
    /// What its maker certified of the endorsement key, where there is something.
    pub(crate) certificate: Option<Vec<u8>>,
}

/// A key that is loaded: to be flushed.
#[derive(Debug)]
struct Loaded {
    handle: u32,
    public: Vec<u8>,
}

impl Tpm<File> {
    /// Opens a device.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let device = OpenOptions::new().read(true).write(true).open(path);
        Ok(Self { transport: device.with_context(|| path.display().to_string())? })
    }
}

impl Transport for File {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        // One write is one command, and one read its answer.
        let written = self.write(command)?;
        if written != command.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let mut answer = vec![0; ANSWER_MAX];
        let len = self.read(&mut answer)?;
        answer.truncate(len);
        Ok(answer)
    }
}

impl<T: Transport> Tpm<T> {
    #[cfg(test)]
    pub(crate) const fn over(transport: T) -> Self {
        Self { transport }
    }

    /// Which TPM it is.
    pub(crate) fn identity(&mut self) -> anyhow::Result<Identity> {
        let endorsement = self.primary(&command::endorsement_template())?;
        self.flush(endorsement.handle)?;
        let attestation = self.primary(&command::attestation_template())?;
        self.flush(attestation.handle)?;
        let certificate = self.certificate()?;
        Ok(Identity {
            endorsement: endorsement.public,
            attestation: attestation.public,
            certificate,
        })
    }

    /// The certificate in the TPM; most virtual ones have none.
    fn certificate(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        // An index that is not there is refused; whatever else is wrong shows at the next command.
        let Ok(mut public) = self.ask(Command::stored_public(CERTIFICATE)) else {
            return Ok(None);
        };
        let length = public.stored_length()?;
        let mut bytes = Vec::new();
        for from in (0..length).step_by(CHUNK.into()) {
            let command = Command::read_stored(CERTIFICATE, CHUNK.min(length - from), from);
            let mut answer = self.ask(command).context("TPM2_NV_Read")?;
            bytes.extend_from_slice(answer.sized()?);
        }
        // A store may be longer than what is in it.
        if let [0x30, 0x82, high, low, ..] = bytes[..] {
            bytes.truncate(usize::from(u16::from_be_bytes([high, low])) + 4);
        }
        Ok(Some(bytes))
    }

    /// Has the TPM sign its registers over this data.
    pub(crate) fn quote(&mut self, data: &[u8; 32]) -> anyhow::Result<Quote> {
        let key = self.primary(&command::attestation_template())?;
        let quoted = self.quote_with(&key, data);
        self.flush(key.handle)?;
        quoted
    }

    fn quote_with(&mut self, key: &Loaded, data: &[u8; 32]) -> anyhow::Result<Quote> {
        let mut registers = self.registers()?;
        for _ in 0..TRIES {
            let command = Command::quote(key.handle, data, &REGISTERS);
            let mut answer = self.ask(command).context("TPM2_Quote")?;
            let quote = answer.sized()?.to_vec();
            let signature = answer.rest_of_parameters()?.to_vec();
            let again = self.registers()?;
            if again == registers {
                return Ok(Quote { key: key.public.clone(), quote, signature, registers });
            }
            registers = again;
        }
        anyhow::bail!("something measures all the time: the registers do not stand still")
    }

    /// Opens what was made for this TPM and its quoting key; nobody else can.
    pub(crate) fn activate(&mut self, blob: &[u8], secret: &[u8]) -> anyhow::Result<Vec<u8>> {
        let endorsement = self.primary(&command::endorsement_template())?;
        let key = self.primary(&command::attestation_template());
        let opened = key.and_then(|key| {
            let opened = self.activate_with(&key, &endorsement, blob, secret);
            self.flush(key.handle)?;
            opened
        });
        self.flush(endorsement.handle)?;
        opened
    }

    fn activate_with(
        &mut self,
        key: &Loaded,
        endorsement: &Loaded,
        blob: &[u8],
        secret: &[u8],
    ) -> anyhow::Result<Vec<u8>> {
        let session = self.ask(Command::start_policy_session(NULL))?.handle()?;
        let opened = self
            .ask(Command::policy_secret(ENDORSEMENT, session))
            .context("TPM2_PolicySecret")
            .and_then(|_policy| {
                let handles = [key.handle, endorsement.handle];
                let command = Command::activate(handles, Session::Policy(session), blob, secret);
                let mut answer = self.ask(command).context("TPM2_ActivateCredential")?;
                Ok(answer.sized()?.to_vec())
            });
        if opened.is_err() {
            // A session ends with the command that it was for, if that is done.
            self.flush(session)?;
        }
        opened
    }

    /// The registers that quotes cover.
    fn registers(&mut self) -> anyhow::Result<BTreeMap<u8, [u8; 32]>> {
        let mut registers = BTreeMap::new();
        while registers.len() < REGISTERS.len() {
            let missing = REGISTERS.iter().filter(|number| !registers.contains_key(*number));
            let missing: Vec<u8> = missing.copied().collect();
            let mut answer =
                self.ask(Command::read_registers(&missing)).context("TPM2_PCR_Read")?;
            // A TPM gives as many as fit into an answer.
            let read = answer.registers()?;
            ensure!(!read.is_empty(), "the TPM has no SHA-256 registers");
            registers.extend(read);
        }
        Ok(registers)
    }

    /// Makes a key from the TPM's seed: the same one each time.
    fn primary(&mut self, template: &[u8]) -> anyhow::Result<Loaded> {
        let command = Command::create_primary(ENDORSEMENT, template);
        let mut answer = self.ask(command).context("TPM2_CreatePrimary")?;
        let handle = answer.handle()?;
        let public = answer.sized()?.to_vec();
        Ok(Loaded { handle, public })
    }

    fn flush(&mut self, handle: u32) -> anyhow::Result<()> {
        self.ask(Command::flush(handle)).context("TPM2_FlushContext").map(drop)
    }

    fn ask(&mut self, command: Command) -> anyhow::Result<Answer> {
        let (bytes, shape) = command.finish();
        Answer::parse(self.transport.exchange(&bytes)?, shape)
    }
}

#[cfg(test)]
mod tests;
