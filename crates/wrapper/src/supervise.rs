//! While the app runs: pass events between the session, the keeper and the log.
//!
//! The loop never waits for the network, since a supervisor that does not answer stops every
//! `execve` of the app. It ends with the app's own code, also when we were told to stop.

use std::time::{Duration, Instant};

use cloudtaser_core::{
    Secret,
    plan::{Rotation, RotationAction},
};
use cloudtaser_sys::{
    harden::wipe_stack,
    session::{Event, Notice, Session, Signals},
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    chain::Chain,
    failure::Failure,
    fetch::Fetched,
    keeper::{Keeper, News},
    launch::{self, Held, Started},
    log::Log,
    resolve::{Outcome, Place},
    run::Prepared,
};

/// What kubelet gives a container between `TERM` and `KILL`, less a margin.
const GRACE: Duration = Duration::from_secs(20);

/// Signals after which an app that ends is not started again.
const STOPS: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// Starts an app whose environment refers to no secret, and stays as its parent.
pub(crate) fn without_secrets(
    prepared: Prepared,
    signals: Signals,
    outcome: Outcome,
) -> Result<u8, Failure> {
    let started = launch::start(&prepared, signals, &outcome)?;
    Supervisor::new(started, prepared).stay(None)
}

/// Starts the app with its secrets, and keeps them alive.
pub(crate) fn with_secrets(
    prepared: Prepared,
    signals: Signals,
    fetched: Fetched,
) -> Result<u8, Failure> {
    let Fetched { mut bao, variables, outcome } = fetched;
    let started = match launch::start(&prepared, signals, &outcome) {
        Ok(started) => started,
        Err(failure) => {
            // A launch that fails leaves no token behind, as far as OpenBao can be reached.
            let _given_back = bao.give_back();
            return Err(failure);
        }
    };
    let wake = started.session.waker();
    let wake = move || wake.wake();
    let keeper = Keeper::start(bao, variables, &prepared.plan, &outcome, wake)
        .map_err(|error| Failure::start("the thread that keeps leases", error))?;
    drop(outcome);
    wipe_stack(launch::STACK_BYTES);
    let mut supervisor = Supervisor::new(started, prepared);
    let ended = supervisor.stay(Some(&keeper));
    keeper.finish();
    ended
}

struct Supervisor {
    session: Session,
    held: Vec<(Place, Held)>,
    log: Log,
    rotation: Rotation,
    tell: Signal,
    life: Life,
}

/// What the end of the app will mean.
#[derive(Clone, Copy, Debug)]
enum Life {
    /// The end.
    Running,
    /// A new start; killed at the given time if it does not end by itself.
    Restarting { kill_at: Option<Instant> },
    /// The end: somebody asked for it.
    Stopping,
}

impl Supervisor {
    fn new(started: Started, prepared: Prepared) -> Self {
        let Started { session, held } = started;
        let Prepared { log, plan, tell, .. } = prepared;
        Self { session, held, log, rotation: plan.rotation, tell, life: Life::Running }
    }

    fn stay(&mut self, keeper: Option<&Keeper>) -> Result<u8, Failure> {
        loop {
            let event = self
                .session
                .next(self.patience())
                .map_err(|error| Failure::start("it cannot be supervised", error))?;
            match event {
                Event::Exited(status) => match self.life {
                    Life::Restarting { .. } => self.start_again()?,
                    Life::Running | Life::Stopping => return Ok(status.code()),
                },
                Event::Signal(signal) if STOPS.iter().any(|stop| *stop as i32 == signal) => {
                    self.life = Life::Stopping
                }
                Event::Notice(notice) => self.log.warn(&described(&notice), &[]),
                Event::Woken => self.hear(keeper),
                Event::Timeout => self.kill_if_late(),
                _ => {}
            }
        }
    }

    /// How long to wait for the next event.
    fn patience(&self) -> Option<Duration> {
        match self.life {
            Life::Restarting { kill_at: Some(at) } => {
                Some(at.saturating_duration_since(Instant::now()))
            }
            _ => None,
        }
    }

    fn hear(&mut self, keeper: Option<&Keeper>) {
        while let Some(news) = keeper.and_then(Keeper::news) {
            match news {
                News::Changed(values) => self.rotate(values),
                News::Trouble { what, why } => {
                    self.log.warn(&format!("{what} failed and is tried again: {why}"), &[]);
                }
                News::Recovered => self.log.info("OpenBao answers again", &[]),
            }
        }
    }

    /// Delivers new values as the plan says.
    fn rotate(&mut self, values: Vec<(Place, Secret)>) {
        let names = values.iter().map(|(place, _)| place.to_string());
        let names = Value::from(names.collect::<Vec<_>>());
        if self.rotation.action == RotationAction::None {
            self.log.info("values changed in OpenBao; the app keeps its own", &[("names", names)]);
            return;
        }
        let mut fits = true;
        for (place, value) in &values {
            let held = self.held.iter().find(|(known, _)| known == place).map(|(_, held)| *held);
            fits &= match held {
                Some(Held::Variable(slot)) => {
                    self.session.rotate(slot, value.expose()).is_ok_and(|outcome| outcome.fits)
                }
                Some(Held::File(file)) => self.session.replace_file(file, value.expose()).is_ok(),
                None => false,
            };
        }
        let done = match (self.rotation.action, fits) {
            (RotationAction::InPlace, true) => "values changed and were written in place",
            (RotationAction::Signal, true) => {
                self.session.signal(self.tell as i32);
                "values changed, were written in place, and the app was told"
            }
            _ => {
                self.restart();
                "values changed; the app is started again"
            }
        };
        self.log.info(done, &[("names", names)]);
    }

    fn restart(&mut self) {
        if matches!(self.life, Life::Running) {
            let grace = self.rotation.grace.map_or(GRACE, |grace| grace.0);
            self.life = Life::Restarting { kill_at: Some(Instant::now() + grace) };
            self.session.signal(Signal::SIGTERM as i32);
        }
    }

    fn kill_if_late(&mut self) {
        if let Life::Restarting { kill_at: Some(at) } = self.life
            && at <= Instant::now()
        {
            self.life = Life::Restarting { kill_at: None };
            self.session.signal(Signal::SIGKILL as i32);
        }
    }

    fn start_again(&mut self) -> Result<(), Failure> {
        self.life = Life::Running;
        self.session.relaunch().map_err(launch::failed)
    }
}

/// What the session has to tell, in words that say what to do.
fn described(notice: &Notice) -> String {
    match notice {
        Notice::Killed { process, reason } => format!(
            "process {process} was killed: it would have run without its secrets: {}",
            Chain(reason)
        ),
        Notice::Refused { task, reason } => format!(
            "an exec of task {task} was refused, since it cannot be followed ({reason}): is a debugger \
             attached? delivery.untraceable: allow lets it run with its values in the open"
        ),
        Notice::Unprotected { task, reason } => format!(
            "an exec of task {task} could not be followed ({reason}): its environment shows the values"
        ),
        Notice::FilesHidden { task, reason } => format!(
            "task {task} cannot be looked into ({reason}), so it finds no secret file: did it make \
             itself non-dumpable?"
        ),
        other => format!("{other:?}"),
    }
}
