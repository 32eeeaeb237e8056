//! Quotes beside the agent's loop: a TPM takes its time, and nobody else waits for it.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use cloudtaser_core::agent::Answer;
use cloudtaser_core::node::{Hash, TpmEvidence, quoted_bytes};
use data_encoding::BASE64;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::events;
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

/// A TPM that is asked on a thread of its own.
#[derive(Debug)]
pub(crate) struct Quoting(SyncSender<Waiting>);

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("asked", &self.asked).finish_non_exhaustive()
    }
}

impl Quoting {
    /// Starts it, where there is a TPM; what is there or not is told.
    pub(crate) fn start(device: &Path) -> Option<Self> {
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
                let (tell, told) = sync_channel(WAITING);
                let thread = thread::Builder::new().name("tpm".to_owned());
                thread.spawn(move || serve(tpm, &told)).ok()?;
                Some(Self(tell))
            }
            Err(error) => {
                let why = format!("{error:#}");
                events::write(&json!({"event": "the TPM cannot be used", "why": why}));
                None
            }
        }
    }

    /// Hands somebody over, who is answered by the thread. Where too many wait, the statement goes
    /// without a quote.
    pub(crate) fn hand_over(&self, asked: Asked, answer: Answer) {
        if let Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) =
            self.0.try_send(Waiting { asked, answer })
        {
            let Waiting { mut asked, answer } = back;
            asked.answer(&answer);
        }
    }
}

fn serve<T: Transport>(mut tpm: Tpm<T>, told: &Receiver<Waiting>) {
    while let Ok(Waiting { mut asked, mut answer }) = told.recv() {
        if let Some(evidence) = &mut answer.evidence {
            let data = Sha256::digest(quoted_bytes(&evidence.statement)).into();
            match tpm.quote(&data) {
                Ok(quote) => evidence.tpm = Some(packed(quote)),
                Err(error) => {
                    let why = format!("{error:#}");
                    events::write(&json!({"event": "the TPM gave no quote", "why": why}));
                }
            }
        }
        asked.answer(&answer);
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
