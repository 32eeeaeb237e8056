//! The loop of a session, and what its owner may ask of it.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{getpid, getsid};

use super::cores::{CoreSignals, would_dump};
use super::files::{FileError, FileId, FileTable, Files};
use super::follow::{Follower, Setup};
use super::launch::{self, Launch, LaunchError};
use super::report::{ExitStatus, Notice, SessionReport};
use super::scratch::{PROOF, Scratch};
use super::signals::{Incoming, Route, Signals};
use super::slots::{Placement, SlotError, SlotId, SlotSpace, SlotTable};
use super::trace::{self, Status, Wait};
use super::waker::Waker;

/// Where secret strings may begin: above brk heaps and Go's arenas, below mappings and the PIE
/// range, inside what address sanitizers leave to the app.
const STRINGS_FLOOR: u64 = 0x3100_0000_0000;
/// Where the exec scratch may begin.
const SCRATCH_FLOOR: u64 = 0x3300_0000_0000;
/// One of 2^26 pages is chosen in each range.
const CHOICES_MASK: u64 = (1 << 26) - 1;

/// What the owner of a session must know.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The app ended.
    Exited(ExitStatus),
    /// This signal came, and the app has it.
    Signal(i32),
    /// Another thread called [`Waker::wake`].
    Woken,
    /// Nothing happened for the time given.
    Timeout,
    /// Something to log.
    Notice(Notice),
}

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Waiting failed.
    #[error("waiting for events failed")]
    Wait(#[source] Errno),
}

/// What became of a new value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RotateOutcome {
    /// How many running images have it now.
    pub images: usize,
    /// Whether it fitted; if not, only programs started from now on have it.
    pub fits: bool,
}

/// What a session delivers.
#[derive(Debug, Default)]
pub struct Secrets {
    /// Environment variables.
    pub variables: SlotTable,
    /// Files.
    pub files: FileTable,
}

impl From<SlotTable> for Secrets {
    fn from(variables: SlotTable) -> Self {
        Self { variables, files: FileTable::default() }
    }
}

/// A supervised app.
#[derive(Debug)]
pub struct Session {
    launch: Launch,
    signals: Signals,
    waker: Waker,
    follower: Follower,
    app: i32,
    /// Whether the app still runs, so that its number is its own.
    runs: bool,
    events: VecDeque<Event>,
    /// Tracing is bound to the thread that began it.
    not_send: PhantomData<*const ()>,
}

impl Session {
    /// Blocks this thread's signals and starts an app.
    ///
    /// # Errors
    /// [`LaunchError`]; nothing of the app is left running.
    pub fn launch(launch: Launch, secrets: impl Into<Secrets>) -> Result<Self, LaunchError> {
        let signals = Signals::block().map_err(LaunchError::Setup)?;
        Self::launch_with(launch, secrets, signals)
    }

    /// Starts an app, the signals having been blocked before.
    ///
    /// # Errors
    /// [`LaunchError`]; nothing of the app is left running.
    pub fn launch_with(
        launch: Launch,
        secrets: impl Into<Secrets>,
        signals: Signals,
    ) -> Result<Self, LaunchError> {
        // Orphans of the tree come to us: we must trace them, and Yama asks for a parent.
        nix::sys::prctl::set_child_subreaper(true).map_err(LaunchError::Setup)?;
        let (strings, scratch, proof) = choose_places().map_err(LaunchError::Setup)?;
        let Secrets { variables, files } = secrets.into();
        let mut follower = Follower::new(Setup {
            space: SlotSpace::new(variables),
            files: Files::new(files),
            scratch: Scratch::create(scratch, proof).map_err(LaunchError::Setup)?,
            base: strings,
            kept_images: launch.kept_images,
            dumpable: launch.dumpable,
            untraceable: launch.untraceable,
        });
        let waker = Waker::create().map_err(LaunchError::Setup)?;
        let app = launch::start(&launch, &signals, &mut follower)?.pid;
        let events = VecDeque::new();
        let not_send = PhantomData;
        Ok(Self { launch, signals, waker, follower, app, runs: true, events, not_send })
    }

    /// Waits for the next thing that the owner must know.
    ///
    /// # Errors
    /// [`SessionError`] when this process cannot wait any more.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Event, SessionError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            self.follower.catch_up();
            self.collect();
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) && timeout.is_some_and(|all| !all.is_zero())
            {
                return Ok(Event::Timeout);
            }
            let is_quiet = !self.turn(left)?;
            if is_quiet && left.is_some_and(|left| left.is_zero()) {
                return Ok(Event::Timeout);
            }
        }
    }

    /// Gives a secret a new value, in every running image that was kept, and for all to come.
    ///
    /// # Errors
    /// [`SlotError`] when no environment variable could hold it, or there is no such slot.
    pub fn rotate(&mut self, slot: SlotId, new: &[u8]) -> Result<RotateOutcome, SlotError> {
        let follower = &mut self.follower;
        let Placement::Same(string) = follower.space.rotate(slot, new)? else {
            return Ok(RotateOutcome { images: 0, fits: false });
        };
        let entry = follower.space.at(string).ok_or(SlotError::Unknown)?;
        let images = follower.images.update(string, entry.text(), entry.capacity);
        Ok(RotateOutcome { images, fits: true })
    }

    /// Gives a secret file a new value, for whoever opens it from now on; who has it open keeps
    /// reading what it opened.
    ///
    /// # Errors
    /// [`FileError`] when no file can hold it, or there is no such file.
    pub fn replace_file(&mut self, file: FileId, new: &[u8]) -> Result<(), FileError> {
        self.follower.files.replace(file, new)
    }

    /// Starts the app again, with the values that the secrets have now.
    ///
    /// # Errors
    /// [`LaunchError::StillRunning`] before [`Event::Exited`], else as for [`Session::launch`].
    pub fn relaunch(&mut self) -> Result<(), LaunchError> {
        if self.runs {
            return Err(LaunchError::StillRunning);
        }
        self.app = launch::start(&self.launch, &self.signals, &mut self.follower)?.pid;
        self.runs = true;
        Ok(())
    }

    /// Sends the app a signal; nothing happens once it has ended.
    pub fn signal(&self, signal: i32) {
        if self.runs {
            // SAFETY: kill takes two integers by value; the app is our child and not yet reaped.
            unsafe { libc::kill(self.app, signal) };
        }
    }

    /// The app's process.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.app
    }

    /// Something by which other threads end the wait of [`Session::next`].
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Counts since the launch.
    #[must_use]
    pub const fn report(&self) -> &SessionReport {
        &self.follower.report
    }

    /// Waits once; `false` where nothing came.
    fn turn(&mut self, left: Option<Duration>) -> Result<bool, SessionError> {
        let now = Instant::now();
        let tidied = self.follower.files.tidy(now);
        let until_tidied = tidied.map(|at| at.saturating_duration_since(now));
        let left = left.into_iter().chain(until_tidied).min();
        let keys: Vec<u32> = self.follower.listeners().map(|(key, _)| key).collect();
        let ready = {
            let mut watched = Vec::with_capacity(keys.len() + 2);
            watched.push(PollFd::new(self.signals.as_fd(), PollFlags::POLLIN));
            watched.push(PollFd::new(self.waker.as_fd(), PollFlags::POLLIN));
            let listeners = self.follower.listeners();
            watched.extend(listeners.map(|(_, door)| PollFd::new(door.as_fd(), PollFlags::POLLIN)));
            let patience = left.map_or(PollTimeout::NONE, |left| {
                // Rounded up, so that the last millisecond is not spent turning.
                let left = left.saturating_add(Duration::from_micros(999));
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            });
            match poll(&mut watched, patience) {
                Ok(0) => return Ok(false),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(SessionError::Wait(errno)),
            }
            watched.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect::<Vec<_>>()
        };
        if ready.first().is_some_and(|flags| !flags.is_empty()) {
            self.on_signals();
        }
        if self.waker.take() {
            self.events.push_back(Event::Woken);
        }
        for (key, flags) in keys.into_iter().zip(ready.into_iter().skip(2)) {
            if flags.contains(PollFlags::POLLIN) {
                self.follower.on_readable(key);
            } else if flags.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
                self.follower.hang_up(key);
            }
        }
        Ok(true)
    }

    fn on_signals(&mut self) {
        let mut has_children = false;
        while let Some(incoming) = self.signals.next() {
            match incoming.route(self.app, || getsid(None) == Ok(getpid())) {
                Route::Own => has_children |= incoming.signal == libc::SIGCHLD,
                route => {
                    if route == Route::App && self.runs {
                        self.hand_on(&incoming);
                    }
                    self.events.push_back(Event::Signal(incoming.signal));
                }
            }
        }
        if has_children {
            while let Some((pid, status)) = trace::wait(Wait::AnyNow) {
                self.on_status(pid, status);
            }
        }
    }

    fn hand_on(&self, incoming: &Incoming) {
        let kills = self.launch.core_signals == CoreSignals::Kill;
        if kills && would_dump(self.app, incoming.signal) {
            self.signal(libc::SIGKILL);
        } else {
            incoming.send_to(self.app);
        }
    }

    fn on_status(&mut self, pid: i32, status: Status) {
        if self.follower.on_status(pid, status) {
            return;
        }
        match status {
            Status::Exited(_) | Status::Killed(_) => self.on_ending(pid, status.ending()),
            Status::Signal(signal) if pid == self.app => stop_with_app(signal),
            // A task that we trace and know nothing of: it must not stay stopped.
            _ => drop(trace::detach(pid, 0)),
        }
    }

    fn on_ending(&mut self, pid: i32, status: Option<ExitStatus>) {
        self.follower.images.forget(pid);
        if let Some(status) = status
            && pid == self.app
            && self.runs
        {
            self.runs = false;
            self.events.push_back(Event::Exited(status));
        }
    }

    /// Takes over what the follower learnt.
    fn collect(&mut self) {
        for (pid, status) in std::mem::take(&mut self.follower.ended) {
            self.on_ending(pid, Some(status));
        }
        self.events.extend(self.follower.notices.drain(..).map(Event::Notice));
    }
}

/// The app was stopped from its terminal: stop too, so that the shell that waits for us knows.
///
/// Without a terminal nobody would wake us up again, and the tree's execs would wait for ever.
fn stop_with_app(signal: i32) {
    let by_job_control = matches!(signal, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU);
    if by_job_control && std::fs::File::open("/dev/tty").is_ok() {
        // SAFETY: kill takes two integers by value.
        unsafe { libc::kill(getpid().as_raw(), libc::SIGSTOP) };
    }
}

/// Two addresses and a proof that nobody can guess.
fn choose_places() -> Result<(u64, u64, [u8; PROOF]), Errno> {
    let mut random = [0_u8; 2 * 8 + PROOF];
    // SAFETY: the buffer is live and as long as stated.
    let filled = unsafe { libc::getrandom(random.as_mut_ptr().cast(), random.len(), 0) };
    if usize::try_from(Errno::result(filled)?) != Ok(random.len()) {
        return Err(Errno::EAGAIN);
    }
    let (first, rest) = random.split_first_chunk::<8>().ok_or(Errno::EAGAIN)?;
    let (second, rest) = rest.split_first_chunk::<8>().ok_or(Errno::EAGAIN)?;
    let proof = rest.first_chunk::<PROOF>().ok_or(Errno::EAGAIN)?;
    let page = |bytes: &[u8; 8]| (u64::from_le_bytes(*bytes) & CHOICES_MASK) << 12;
    Ok((STRINGS_FLOOR + page(first), SCRATCH_FLOOR + page(second), *proof))
}
