//! `^C`, `SIGTERM` and a closed terminal, as something to ask about.
//!
//! The signals are blocked and read from a descriptor, so that a demo ends by returning: every
//! owner of a process or directory then cleans up. Programs that the demo starts get the signals
//! as usual, since the standard library clears the mask for them.

use std::{
    thread,
    time::{Duration, Instant},
};

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};

/// Time between two looks at what is waited for.
const STEP: Duration = Duration::from_millis(10);

/// The demo was told to end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; everything the demo started was ended and removed")]
pub(crate) struct Interrupted;

/// Where signals arrive.
#[derive(Debug)]
pub(crate) struct Interrupts(SignalFd);

impl Interrupts {
    /// Blocks the signals and listens.
    pub(crate) fn listen() -> nix::Result<Self> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
            signals.add(signal);
        }
        signals.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&signals, flags).map(Self)
    }

    /// Fails when a signal has arrived.
    pub(crate) fn check(&self) -> Result<(), Interrupted> {
        match self.0.read_signal() {
            Ok(Some(_signal)) => Err(Interrupted),
            _ => Ok(()),
        }
    }

    /// Asks `ready` again and again until it has an answer or the time is over.
    pub(crate) fn wait<T>(
        &self,
        patience: Duration,
        mut ready: impl FnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<Option<T>> {
        let until = Instant::now() + patience;
        loop {
            self.check()?;
            if let Some(answer) = ready()? {
                return Ok(Some(answer));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            thread::sleep(STEP);
        }
    }
}
