//! Starting the first program: what is asked for, how it goes, and how it fails.
//!
//! The first image is traced from its fork on, so its environment never holds a value: the kernel
//! copies placeholders, and the image gets its secrets before it runs an instruction. Which way of
//! delivery to take is the caller's choice; a refusal by the kernel names itself.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::child::{self, Child, Message, Plan, Step};
use super::cores::CoreSignals;
use super::environment::Due;
use super::files::FileCall;
use super::filter::Trapped;
use super::follow::{Follower, Untraceable};
use super::images::Image;
use super::listener::Listener;
use super::place::Dumpable;
use super::report::{ExitStatus, PlaceError};
use super::signals::Signals;
use super::slots::SlotId;
use super::trace::{self, Resume, Status, Wait};
use super::words::{Kind, Words};

/// How often a start looks whether the child still lives.
const PATIENCE_MS: u16 = 20;

/// One entry of the app's environment.
#[derive(Debug)]
pub enum EnvEntry {
    /// `NAME=value`, for everyone to see.
    Plain(CString),
    /// A secret, under the name that it has in the table.
    Sealed(SlotId),
}

/// How the app gets its secrets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delivery {
    /// In secret pages, in every program of the tree; the only one that has secret files.
    ExecFollow,
    /// In secret pages, in the first program only; what it starts gets bare values from it.
    OneShot,
    /// In the ordinary environment.
    Plain,
}

/// Whether the tree may gain privileges by starting a program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Privileges {
    /// As the system says; following execs then needs `CAP_SYS_ADMIN`.
    Keep,
    /// `no_new_privs`: set-uid programs run as whoever starts them.
    NoNew,
}

/// A program to start.
#[derive(Debug)]
pub struct Launch {
    /// The arguments, the program's name first.
    pub argv: Vec<CString>,
    /// The file, already searched for in `PATH`.
    pub program: CString,
    /// The environment, in order.
    pub env: Vec<EnvEntry>,
    /// How secrets are delivered.
    pub delivery: Delivery,
    /// Whether images with secrets may be looked into.
    pub dumpable: Dumpable,
    /// What happens to execs that cannot be followed.
    pub untraceable: Untraceable,
    /// Whether privileges may be gained.
    pub privileges: Privileges,
    /// What becomes of signals to the supervisor that would have the app dumped.
    pub core_signals: CoreSignals,
    /// How many images keep their pages mapped here, so that [`super::Session::rotate`] reaches
    /// them. Each takes a page or two of the limit on locked memory.
    pub kept_images: usize,
}

/// Why a program was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// No such file, or no interpreter for it.
    #[error("no such program")]
    NotFound,
    /// The file is there and cannot be run.
    #[error("the program cannot be run")]
    NotExecutable(#[source] Errno),
    /// The kernel refused to start it for another reason.
    #[error("the program could not be started")]
    Exec(#[source] Errno),
    /// No process could be made.
    #[error("no process for the program")]
    Fork(#[source] Errno),
    /// Tracing is refused: by a tracer that is there already, a seccomp profile, or Yama.
    #[error("the program may not be traced")]
    Trace(#[source] Errno),
    /// No listener for execs: `EBUSY` another one is installed, `EACCES` privileges are missing.
    #[error("the program's execs cannot be followed")]
    Listener(#[source] Errno),
    /// The first image could not be given its secrets.
    #[error("the program could not be given its secrets")]
    Place(#[source] PlaceError),
    /// It was ended before it ran.
    #[error("the program was ended while it started")]
    Ended(ExitStatus),
    /// The environment names a secret that the table does not have.
    #[error("the environment names a secret that there is not")]
    UnknownSlot,
    /// There are files, and the delivery is not the one that has them.
    #[error("secret files need the delivery that follows execs")]
    Files,
    /// A descriptor or a page of the supervisor's own was refused.
    #[error("the supervisor could not be set up")]
    Setup(#[source] Errno),
    /// The app of this session still runs.
    #[error("the program still runs")]
    StillRunning,
}

impl LaunchError {
    /// The exit code that shells and container runtimes give for this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound => 127,
            Self::NotExecutable(_) => 126,
            Self::Ended(status) => status.code(),
            _ => 125,
        }
    }
}

/// A child that runs its program.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) pid: i32,
}

/// Starts the program of `launch` and gives it its secrets.
pub(super) fn start(
    launch: &Launch,
    signals: &Signals,
    follower: &mut Follower,
) -> Result<Running, LaunchError> {
    if launch.delivery != Delivery::ExecFollow && !follower.files.is_empty() {
        return Err(LaunchError::Files);
    }
    let environment = Strings::of(launch, follower)?;
    let prepared = match launch.delivery {
        Delivery::OneShot if !environment.due.is_empty() => {
            let strings = environment.due.iter().map(|due| due.string);
            Some(Image::compose(0, &follower.space, strings).map_err(LaunchError::Place)?)
        }
        _ => None,
    };
    let kind = if launch.delivery == Delivery::Plain { Kind::Secret } else { Kind::Open };
    let plan = Plan {
        words: Words::lay_out(kind, &launch.program, &launch.argv, &environment.texts)
            .map_err(LaunchError::Setup)?,
        // SECURITY: its ordinary memory is then open to the same user until the exec, a moment before
        // the program's own is. Needed only where an outer supervisor has the listener that we lack.
        dumpable: launch.dumpable == Dumpable::Keep && launch.delivery != Delivery::ExecFollow,
        traced: launch.delivery != Delivery::Plain,
        no_new_privileges: launch.privileges == Privileges::NoNew,
        filter: match launch.delivery {
            Delivery::ExecFollow if follower.files.is_empty() => Trapped::default().program(),
            Delivery::ExecFollow => Trapped { extra: FileCall::TRAPPED }.program(),
            Delivery::OneShot | Delivery::Plain => Vec::new(),
        },
        inherited: prepared.as_ref().map(|(_, file)| file.as_fd().as_raw_fd()),
        mask: signals.original(),
        ignores_children: signals.ignored_children(),
    };
    let child = child::start(&plan).map_err(LaunchError::Fork)?;
    let mut start = Start { child, held: Vec::new() };
    let inherited = plan.inherited;
    let outcome = start.drive(launch, follower, &environment.due, prepared, inherited);
    if outcome.is_err() {
        start.abort();
    }
    outcome.map(|()| Running { pid: start.child.pid })
}

/// The environment as the kernel will copy it.
struct Strings {
    texts: Vec<CString>,
    due: Vec<Due>,
}

impl Strings {
    fn of(launch: &Launch, follower: &Follower) -> Result<Self, LaunchError> {
        let mut strings = Self { texts: Vec::with_capacity(launch.env.len()), due: Vec::new() };
        for (index, entry) in launch.env.iter().enumerate() {
            let text = match entry {
                EnvEntry::Plain(text) => text.clone(),
                EnvEntry::Sealed(slot) => {
                    let string = follower.space.slot(*slot).ok_or(LaunchError::UnknownSlot)?;
                    let entry = follower.space.at(string).ok_or(LaunchError::UnknownSlot)?;
                    let text = if launch.delivery == Delivery::Plain {
                        entry.text()
                    } else {
                        strings.due.push(Due { index, string });
                        entry.placeholder()
                    };
                    CString::new(text).or(Err(LaunchError::UnknownSlot))?
                }
            };
            strings.texts.push(text);
        }
        Ok(strings)
    }
}

struct Start {
    child: Child,
    /// Signals that came before the program ran; it gets them then.
    held: Vec<i32>,
}

impl Start {
    fn drive(
        &mut self,
        launch: &Launch,
        follower: &mut Follower,
        due: &[Due],
        prepared: Option<(Image, crate::secretmem::SecretFile)>,
        inherited: Option<i32>,
    ) -> Result<(), LaunchError> {
        if launch.delivery == Delivery::Plain {
            return match self.child.receive() {
                Message::Failed(step, errno) => Err(failure(step, errno)),
                Message::Closed | Message::Listener(_) => Ok(()),
            };
        }
        self.take_over()?;
        let key = match launch.delivery {
            Delivery::ExecFollow => Some(self.pass_exec(follower)?),
            Delivery::OneShot | Delivery::Plain => None,
        };
        self.until(Status::Exec)?;
        let pid = self.child.pid;
        let image = prepared.map(|(mut image, file)| {
            image.process = pid;
            (image, file)
        });
        let (image, _file) = image.unzip();
        if due.is_empty() && image.is_none() {
            trace::detach(pid, 0).map_err(LaunchError::Trace)?;
        } else {
            let placed = follower.place(pid, (None, due), key, image.zip(inherited));
            placed.map_err(|error| match error {
                PlaceError::Gone(Some(status)) => LaunchError::Ended(status),
                error => LaunchError::Place(error),
            })?;
        }
        for signal in &self.held {
            // SAFETY: kill takes two integers by value; the child is not reaped.
            unsafe { libc::kill(pid, *signal) };
        }
        Ok(())
    }

    /// The child stops itself; from then on it dies with us.
    fn take_over(&mut self) -> Result<(), LaunchError> {
        self.until(Status::Signal(libc::SIGSTOP))?;
        trace::set_options(self.child.pid).map_err(LaunchError::Trace)?;
        trace::resume(self.child.pid, Resume::Free, 0).map_err(LaunchError::Trace)
    }

    /// Takes the listener and answers the child's own exec.
    fn pass_exec(&mut self, follower: &mut Follower) -> Result<u32, LaunchError> {
        self.until_readable(self.child.socket.as_raw_fd())?;
        let listener = match self.child.receive() {
            Message::Listener(fd) => Listener::new(fd),
            Message::Failed(step, errno) => return Err(failure(step, errno)),
            Message::Closed => return Err(self.ending()),
        };
        loop {
            self.until_readable(listener.as_fd().as_raw_fd())?;
            if let Some(request) = listener.receive()
                && listener.go_on(request.id).is_ok()
            {
                return Ok(follower.listen(listener));
            }
        }
    }

    /// Waits for a descriptor, looking after the child meanwhile.
    fn until_readable(&mut self, fd: i32) -> Result<(), LaunchError> {
        loop {
            // SAFETY: the descriptor belongs to the caller, who keeps it open during the call.
            let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
            let mut watched = [PollFd::new(fd, PollFlags::POLLIN)];
            if let Ok(1..) = poll(&mut watched, PollTimeout::from(PATIENCE_MS)) {
                return Ok(());
            }
            if let Some((_, status)) = trace::wait(Wait::Now(self.child.pid)) {
                self.hold(status)?;
            }
        }
    }

    /// Waits until the child stops in this way.
    fn until(&mut self, wanted: Status) -> Result<(), LaunchError> {
        loop {
            let Some((_, status)) = trace::wait(Wait::Until(self.child.pid)) else {
                return Err(LaunchError::Trace(Errno::ECHILD));
            };
            if status == wanted {
                return Ok(());
            }
            self.hold(status)?;
        }
    }

    fn hold(&mut self, status: Status) -> Result<(), LaunchError> {
        if let Some(ending) = status.ending() {
            return Err(match self.child.receive() {
                Message::Failed(step, errno) => failure(step, errno),
                Message::Listener(_) | Message::Closed => LaunchError::Ended(ending),
            });
        }
        if let Status::Signal(signal) = status {
            self.held.push(signal);
        }
        trace::resume(self.child.pid, Resume::Free, 0).map_err(LaunchError::Trace)
    }

    fn ending(&self) -> LaunchError {
        let status =
            trace::wait(Wait::Until(self.child.pid)).and_then(|(_, status)| status.ending());
        LaunchError::Ended(status.unwrap_or(ExitStatus::Signal(libc::SIGKILL)))
    }

    /// Ends and reaps the child; it may be gone already.
    fn abort(&self) {
        // SAFETY: kill takes two integers by value; the child is not reaped, or the number is
        // unused: nothing in this process makes children meanwhile.
        unsafe { libc::kill(self.child.pid, libc::SIGKILL) };
        while let Some((_, status)) = trace::wait(Wait::Until(self.child.pid)) {
            if status.ending().is_some() {
                return;
            }
        }
    }
}

fn failure(step: Step, errno: Errno) -> LaunchError {
    match (step, errno) {
        (Step::Trace, errno) => LaunchError::Trace(errno),
        (Step::NoNewPrivileges | Step::Filter | Step::Listener, errno) => {
            LaunchError::Listener(errno)
        }
        (Step::Exec, Errno::ENOENT | Errno::ENOTDIR) => LaunchError::NotFound,
        (Step::Exec, Errno::EACCES | Errno::ENOEXEC | Errno::EISDIR | Errno::EPERM) => {
            LaunchError::NotExecutable(errno)
        }
        (Step::Exec, errno) => LaunchError::Exec(errno),
    }
}
