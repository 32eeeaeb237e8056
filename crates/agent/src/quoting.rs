//! What hardware signs of a statement, beside the agent's loop: a TPM and a processor take their time,
//! and nobody else waits for them.

use std::fs::{self, File};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use cloudtaser_core::agent::Answer;
use cloudtaser_core::node::{HardwareEvidence, Hash, TpmEvidence, quoted_bytes, reported_bytes};
use data_encoding::BASE64;
use serde_json::json;
use sha2::{Digest as _, Sha256, Sha512};

use crate::events;
use crate::host;
use crate::machine::{Absent, Files, Kernel, Machine, REPORTS, Report};
use crate::peers::Asked;
use crate::tpm::{EVENT_LOG, Quote, Tpm, Transport};

/// More wait than any launch would wait for.
const WAITING: usize = 32;
/// Longer logs are not handed out: the answer is one packet.
const LOG_MAX: usize = 96 * 1024;

/// One who waits for a quote.
struct Waiting {
    asked: Asked,
    answer: Answer,
}

/// TPM and processor, which are asked on a thread of their own.
#[derive(Debug)]
pub(crate) struct Quoting(SyncSender<Waiting>);

/// What can sign here.
struct Hardware<T, F> {
    tpm: Option<Tpm<T>>,
    machine: Option<Machine<F>>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("asked", &self.asked).finish_non_exhaustive()
    }
}

impl Quoting {
    /// Starts it, where there is something that signs; what is there or not is told.
    pub(crate) fn start(device: &Path) -> Option<Self> {
        let hardware = Hardware { tpm: tpm(device), machine: machine() };
        if hardware.tpm.is_none() && hardware.machine.is_none() {
            return None;
        }
        let (tell, told) = sync_channel(WAITING);
        let thread = thread::Builder::new().name("hardware".to_owned());
        thread.spawn(move || serve(hardware, &told)).ok()?;
        Some(Self(tell))
    }

    /// Hands somebody over, who is answered by the thread. Where too many wait, the statement goes
    /// as it is.
    pub(crate) fn hand_over(&self, asked: Asked, answer: Answer) {
        if let Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) =
            self.0.try_send(Waiting { asked, answer })
        {
            let Waiting { mut asked, answer } = back;
            asked.answer(&answer);
        }
    }
}

fn tpm(device: &Path) -> Option<Tpm<File>> {
    if !device.exists() {
        events::write(&json!({"event": "no TPM", "device": device}));
        return None;
    }
    let opened = Tpm::open(device).and_then(|mut tpm| {
        let name = Sha256::digest(&tpm.identity()?.attestation).into();
        Ok((tpm, Hash::new(name)))
    });
    match opened {
        Ok((tpm, key)) => {
            events::write(&json!({"event": "TPM", "device": device, "key": key}));
            Some(tpm)
        }
        Err(error) => {
            let why = format!("{error:#}");
            events::write(&json!({"event": "the TPM cannot be used", "why": why}));
            None
        }
    }
}

fn machine() -> Option<Machine<Kernel>> {
    // In a pod the node's own is elsewhere.
    let own = Path::new(REPORTS);
    let nodes = Path::new(host::ROOT).join(REPORTS.trim_start_matches('/'));
    let folder = if own.is_dir() { own } else { &nodes };
    match Machine::open(folder, Kernel) {
        Ok(machine) => {
            let (event, kind) = ("confidential machine", machine.kind());
            events::write(&json!({"event": event, "kind": kind}));
            Some(machine)
        }
        Err(Absent::None(why)) => {
            events::write(&json!({"event": "no confidential machine", "why": why}));
            None
        }
        Err(Absent::Unusable(error)) => {
            let why = format!("{error:#}");
            events::write(
                &json!({"event": "the confidential machine gives no reports", "why": why}),
            );
            None
        }
    }
}

fn serve<T: Transport, F: Files>(mut hardware: Hardware<T, F>, told: &Receiver<Waiting>) {
    while let Ok(Waiting { mut asked, mut answer }) = told.recv() {
        hardware.sign(&mut answer);
        asked.answer(&answer);
    }
}

impl<T: Transport, F: Files> Hardware<T, F> {
    /// Adds what each signs; where one does not, the statement goes without.
    fn sign(&mut self, answer: &mut Answer) {
        let Some(evidence) = &mut answer.evidence else { return };
        if let Some(tpm) = &mut self.tpm {
            let data = Sha256::digest(quoted_bytes(&evidence.statement)).into();
            match tpm.quote(&data) {
                Ok(quote) => evidence.tpm = Some(packed(quote)),
                Err(error) => failed("the TPM gave no quote", &error),
            }
        }
        if let Some(machine) = &mut self.machine {
            let data = Sha512::digest(reported_bytes(&evidence.statement)).into();
            match machine.report(&data) {
                Ok(report) => evidence.hardware = Some(in_base64(&report)),
                Err(error) => failed("the confidential machine gave no report", &error),
            }
        }
    }
}

fn failed(event: &str, error: &anyhow::Error) {
    events::write(&json!({"event": event, "why": format!("{error:#}")}));
}

fn in_base64(report: &Report) -> HardwareEvidence {
    HardwareEvidence {
        provider: report.provider.to_owned(),
        report: BASE64.encode(&report.report),
        table: BASE64.encode(&report.table),
    }
}

fn packed(quote: Quote) -> TpmEvidence {
    let registers = quote.registers.into_iter();
    TpmEvidence {
        key: BASE64.encode(&quote.key),
        quote: BASE64.encode(&quote.quote),
        signature: BASE64.encode(&quote.signature),
        registers: registers.map(|(number, value)| (number, Hash::new(value))).collect(),
        log: BASE64.encode(&event_log()),
    }
}

/// Empty where the kernel shows none, or one that is too long: registers then speak for themselves,
/// and whoever verifies refuses those that something was measured into.
fn event_log() -> Vec<u8> {
    fs::read(EVENT_LOG).ok().filter(|log| log.len() <= LOG_MAX).unwrap_or_default()
}
