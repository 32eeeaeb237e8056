//! Login and reads before the app starts, so that a stop in the meantime is heard.
//!
//! As PID 1 a process ignores every signal that it has no handler for: a pod that waits for an
//! OpenBao that is away would sit out its whole grace period. So the work is done on a thread,
//! while this one listens. The thread's stack, which plaintext passes over, goes with it.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use cloudtaser_core::plan::LaunchPlan;
use cloudtaser_sys::{
    harden::wipe_stack,
    session::{Signals, hold_back_signals},
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::Signal,
};

use crate::{
    failure::Failure,
    home::Home,
    resolve::{Outcome, Rules, resolve},
    variables::Variables,
    vault::Bao,
};

/// Time for login and reads together, where the plan says nothing.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long a request that was told to stop may take to notice.
const STOP_WITHIN: Duration = Duration::from_millis(500);

/// What ends a launch that has not come to the app yet.
const STOPS: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// More stack than TLS, HTTP, JSON and templates use.
const STACK_BYTES: usize = 512 * 1024;

/// Everything that was fetched, and what is needed to go on.
pub(crate) struct Fetched {
    /// The login.
    pub(crate) bao: Bao,
    /// What was wanted.
    pub(crate) variables: Variables,
    /// The values.
    pub(crate) outcome: Outcome,
}

/// Logs in and makes every value.
///
/// # Errors
/// [`Failure`]; [`Failure::Stopped`] where a signal came first.
pub(crate) fn fetch(
    home: Home,
    variables: Variables,
    plan: &LaunchPlan,
    signals: &Signals,
) -> Result<Fetched, Failure> {
    let stopper = home.stopper();
    let plan = plan.clone();
    let (ready, wake) =
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(Failure::system("pipe"))?;
    let (tell, told) = channel();
    let work = move || {
        hold_back_signals();
        let made = work(home, variables, &plan);
        wipe_stack(STACK_BYTES / 2);
        // Nobody listens any more where a signal was quicker.
        let _heard = tell.send(made);
        drop(wake);
    };
    let thread = thread::Builder::new()
        .name("fetch".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(work)
        .map_err(|source| Failure::start("a thread", source))?;
    hold_back_signals();
    if let Some(signal) = wait(&ready, signals)? {
        stopper.stop();
        // The exit that follows ends the thread wherever it is.
        let _late = told.recv_timeout(STOP_WITHIN);
        return Err(Failure::Stopped { signal });
    }
    let _ended = thread.join();
    told.recv().map_err(|_gone| Failure::Internal("the fetching thread ended without a result"))?
}

/// Waits for the work or for a signal, whichever comes first.
fn wait(ready: &OwnedFd, signals: &Signals) -> Result<Option<i32>, Failure> {
    loop {
        let mut waited = [
            PollFd::new(ready.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut waited, PollTimeout::NONE) {
            Ok(_) => {}
            Err(nix::Error::EINTR) => continue,
            Err(error) => return Err(Failure::system("poll")(error)),
        }
        if let Some(signal) = stop(signals) {
            return Ok(Some(signal));
        }
        // The writing end is closed when the work is done.
        if waited.first().and_then(PollFd::any).unwrap_or(false) {
            return Ok(None);
        }
    }
}

/// Waits for so long, or for a signal.
///
/// # Errors
/// [`Failure::Stopped`] where one came that ends a launch.
pub(crate) fn pause(signals: &Signals, long: Duration) -> Result<(), Failure> {
    let mut waited = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    let long = PollTimeout::try_from(long).unwrap_or(PollTimeout::MAX);
    match poll(&mut waited, long) {
        Ok(_) | Err(nix::Error::EINTR) => {}
        Err(error) => return Err(Failure::system("poll")(error)),
    }
    stop(signals).map_or(Ok(()), |signal| Err(Failure::Stopped { signal }))
}

/// What came that ends a launch; others are passed over.
fn stop(signals: &Signals) -> Option<i32> {
    while let Some(signal) = signals.take() {
        if STOPS.iter().any(|stop| *stop as i32 == signal) {
            return Some(signal);
        }
    }
    None
}

/// How long a launch waits for what it needs from elsewhere.
pub(crate) fn within(plan: &LaunchPlan) -> Duration {
    plan.reads.deadline.map_or(DEADLINE, |deadline| deadline.0)
}

fn work(home: Home, variables: Variables, plan: &LaunchPlan) -> Result<Fetched, Failure> {
    let mut bao = Bao::login(home, plan.auth.revoke, within(plan)).map_err(Failure::Login)?;
    let rules = Rules { missing: plan.reads.missing, transit: plan.transit.as_ref() };
    match resolve(&variables, rules, &mut bao) {
        Ok(outcome) => Ok(Fetched { bao, variables, outcome }),
        Err(error) => {
            // A launch that fails leaves no token behind, as far as OpenBao can be reached.
            let _revoked = bao.give_back();
            Err(Failure::Resolve(Box::new(error)))
        }
    }
}
