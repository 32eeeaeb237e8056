//! Keeps secrets out of the environments of all later programs of the tree.
//!
//! A task that asks for a new program waits in the kernel until it is answered here. Most carry no
//! secret and are let go at once. The others are stopped *before* the kernel copies their
//! environment, pointed at one with placeholders, sent on, and given their secrets when the new
//! image arrives. The road of one such request:
//!
//! ```text
//! notified ─ seize, interrupt ─▶ Halting ─ swap ─▶ Entering ─▶ Asking ─ notified, go on ─▶ Executing ─▶ image arrives
//!     └ no room or no scratch: go on, interrupt ─▶ Copying ──────────────────────────────────▶ image arrives, scrubbed
//! ```
//!
//! Wherever something else happens (a signal, a stop of the whole group, an exec that fails) the
//! task gets its own registers and signal mask back, its request is made to start over, and it is
//! let go: it then asks again, and all begins anew.
//!
//! Invariants: nothing here sleeps on a task that has not arrived as a new image; every error of
//! a request to the kernel is a state of the task (gone, traced by another), never one of ours; a
//! task that is traced here dies with us.

mod steps;

use std::time::Instant;

use nix::errno::Errno;

use super::arch::{self, ExecCall};
use super::environment::{Due, Environment};
use super::files::{Answer, FileCall, Files};
use super::images::Images;
use super::listener::{Listener, Notification};
use super::place::{Arrival, Door, Dumpable, Tools};
use super::remote::{Reader, RemoteError};
use super::report::{ExitStatus, Notice, PlaceError, SessionReport};
use super::scratch::{PROOF, Pointer, Scratch, Segment};
use super::slots::SlotSpace;
use super::trace;

/// What happens to a request of a task that cannot be traced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Untraceable {
    /// The new program runs, with bare secrets if it carries any.
    Allow,
    /// The request fails with `EPERM`.
    Refuse,
}

/// Where a task is on its road; see the module's picture.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Asking,
    Copying,
    Entering,
    Executing,
    Halting,
    /// Seized too late; let go at its next stop.
    Leaving,
}

#[derive(Debug)]
struct Task {
    tid: i32,
    listener: u32,
    stage: Stage,
    call: ExecCall,
    /// The environment that the task asked with, and the one that it was pointed at.
    own: u64,
    swapped: Option<(Segment, u64)>,
    mask: Option<u64>,
    due: Vec<Due>,
}

/// All requests in flight, and what they need.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) space: SlotSpace,
    pub(super) images: Images,
    pub(super) files: Files,
    pub(super) report: SessionReport,
    pub(super) notices: Vec<Notice>,
    /// Endings that were learnt while an image was being placed.
    pub(super) ended: Vec<(i32, ExitStatus)>,
    listeners: Vec<(u32, Listener)>,
    next_listener: u32,
    tasks: Vec<Task>,
    backlog: Vec<(u32, Notification)>,
    reader: Reader,
    scratch: Scratch,
    base: u64,
    vdso_offset: Option<u64>,
    dumpable: Dumpable,
    untraceable: Untraceable,
}

/// What a follower is made from.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) space: SlotSpace,
    pub(super) files: Files,
    pub(super) scratch: Scratch,
    pub(super) base: u64,
    pub(super) kept_images: usize,
    pub(super) dumpable: Dumpable,
    pub(super) untraceable: Untraceable,
}

impl Follower {
    pub(super) fn new(setup: Setup) -> Self {
        Self {
            space: setup.space,
            images: Images::new(setup.kept_images),
            files: setup.files,
            report: SessionReport::default(),
            notices: Vec::new(),
            ended: Vec::new(),
            listeners: Vec::new(),
            next_listener: 0,
            tasks: Vec::with_capacity(64),
            backlog: Vec::with_capacity(64),
            reader: Reader::default(),
            scratch: setup.scratch,
            base: setup.base,
            vdso_offset: super::inject::vdso_instruction_offset(),
            dumpable: setup.dumpable,
            untraceable: setup.untraceable,
        }
    }

    /// Adds the listener of one more tree of processes.
    pub(super) fn listen(&mut self, listener: Listener) -> u32 {
        let key = self.next_listener;
        self.next_listener = self.next_listener.wrapping_add(1);
        self.listeners.push((key, listener));
        key
    }

    /// The listeners to poll, with their keys.
    pub(super) fn listeners(&self) -> impl Iterator<Item = (u32, &Listener)> {
        self.listeners.iter().map(|(key, listener)| (*key, listener))
    }

    /// Drops a listener whose last process is gone.
    pub(super) fn hang_up(&mut self, key: u32) {
        self.listeners.retain(|(known, _)| *known != key);
    }

    /// Takes what is waiting on a listener.
    pub(super) fn on_readable(&mut self, key: u32) {
        if let Some(notification) = self.listener(key).and_then(Listener::receive) {
            self.on_notification(key, &notification);
        }
    }

    /// Takes the requests that came in while an image was being placed.
    pub(super) fn catch_up(&mut self) {
        for (key, notification) in std::mem::take(&mut self.backlog) {
            self.on_notification(key, &notification);
        }
    }

    /// Places an image by the given road; used for the first one, whose requests are answered by
    /// the launch itself.
    pub(super) fn place(
        &mut self,
        tid: i32,
        (mask, due): (Option<u64>, &[Due]),
        key: Option<u32>,
        prepared: Option<(super::images::Image, i32)>,
    ) -> Result<(), PlaceError> {
        let started = Instant::now();
        let listener = key.and_then(|key| {
            self.listeners.iter().find(|(known, _)| *known == key).map(|(_, listener)| listener)
        });
        let (image, door) = match (prepared, listener) {
            (Some((image, number)), _) => (Some(image), Door::Inherited(number)),
            (None, Some(listener)) => (None, Door::Listener(listener)),
            (None, None) => return Err(PlaceError::Forgotten),
        };
        let mut others = Vec::new();
        let mut tools = Tools {
            reader: &mut self.reader,
            space: &mut self.space,
            scratch: &self.scratch,
            base: self.base,
            vdso_offset: self.vdso_offset,
            dumpable: self.dumpable,
            backlog: &mut others,
        };
        let placed = tools.place(Arrival { tid, mask, due, door, image });
        self.backlog.extend(others.into_iter().filter_map(|other| Some((key?, other))));
        let placed = placed?;
        if placed.scrubbed > 0 {
            self.report.scrubbed += 1;
        }
        match placed.image {
            Some(image) => {
                self.report.count_placed(started.elapsed());
                self.images.keep(image);
            }
            None => self.images.forget(tid),
        }
        Ok(())
    }

    fn listener(&self, key: u32) -> Option<&Listener> {
        self.listeners().find(|(known, _)| *known == key).map(|(_, listener)| listener)
    }

    fn on_notification(&mut self, key: u32, request: &Notification) {
        if let Some(call) = FileCall::of(request) {
            return self.on_file(key, request, call);
        }
        if let Some(mut task) = self.take(request.tid) {
            if task.stage == Stage::Asking {
                if self.listener(key).is_some_and(|door| door.go_on(request.id).is_ok()) {
                    task.stage = Stage::Executing;
                }
                self.tasks.push(task);
                return;
            }
            if trace::interrupt(request.tid).is_ok() {
                // It is ours and about to stop; then it will ask again.
                self.end_wait(key, request.id);
                self.tasks.push(task);
                return;
            }
            // The number was reused: the task that we knew went without a word.
            self.release(task);
        }
        self.report.execs += 1;
        self.on_request(key, request);
    }

    /// A call that names a file; tasks on their way to a new program make none.
    fn on_file(&mut self, key: u32, request: &Notification, call: FileCall) {
        let listener = self.listeners.iter().find(|(known, _)| *known == key);
        let Some((_, listener)) = listener else { return };
        match self.files.answer(listener, request, call) {
            Answer::Elsewhere => {}
            Answer::Given => self.report.file_calls += 1,
            Answer::Unreadable(reason) => {
                // Told once: a program that closed itself opens many files.
                if self.report.file_calls_unread == 0 {
                    self.notices.push(Notice::FilesHidden { task: request.tid, reason });
                }
                self.report.file_calls_unread += 1;
            }
        }
    }

    fn on_request(&mut self, key: u32, request: &Notification) {
        let Some((call, width)) = ExecCall::of(request.audit_arch, request.number) else {
            return self.go_on(key, request);
        };
        let array = call.environment(&request.arguments);
        if request.tid <= 0 {
            return self.give_up(key, request, Errno::ESRCH);
        }
        if array == 0 {
            return self.go_on(key, request);
        }
        self.reader.turn_to(request.tid);
        let read = Environment::read(&mut self.reader, (array, width), &mut self.space, self.base);
        let environment = match read {
            Ok(Some(environment)) if environment.is_plain() => return self.go_on(key, request),
            Ok(Some(environment)) if width == arch::Width::Eight => environment,
            // Pointers of four bytes, or none that can be read here: the kernel may copy it, and
            // what it copied is wiped.
            Ok(_) | Err(RemoteError::TooLarge) => Environment::default(),
            Err(RemoteError::Refused(Errno::ESRCH)) => return,
            Err(RemoteError::Refused(errno)) => return self.give_up(key, request, errno),
        };
        self.begin(key, request, call, array, environment);
    }

    /// Attaches to a task that is about to hand on secrets.
    fn begin(
        &mut self,
        key: u32,
        request: &Notification,
        call: ExecCall,
        own: u64,
        environment: Environment,
    ) {
        let tid = request.tid;
        match trace::seize(tid) {
            Ok(()) => {}
            Err(Errno::ESRCH) => return,
            Err(errno) => return self.give_up(key, request, errno),
        }
        let swapped = self.write_environment(&environment);
        let (mut stage, mut due) = (Stage::Halting, environment.due);
        // SECURITY: a wait that is over may mean that the number names another task by now.
        if !self.listener(key).is_some_and(|door| door.still_waits(request.id)) {
            stage = Stage::Leaving;
        } else if swapped.is_none() {
            let goes_on = self.listener(key).is_some_and(|door| door.go_on(request.id).is_ok());
            stage = if goes_on { Stage::Copying } else { Stage::Leaving };
            due = Vec::new();
        }
        let task = Task { tid, listener: key, stage, call, own, swapped, mask: None, due };
        if trace::interrupt(tid).is_err() {
            return self.release(task);
        }
        if stage == Stage::Halting {
            self.end_wait(key, request.id);
        }
        self.tasks.push(task);
    }

    /// Ends the wait of a task that has been asked to stop.
    fn end_wait(&self, key: u32, id: u64) {
        if let Some(listener) = self.listener(key) {
            // KERNEL: before 5.19 the request to stop has ended the wait already: `ENOENT`.
            let _ = listener.start_over(id);
        }
    }

    /// Writes an environment with placeholders where the task finds it, if it can.
    fn write_environment(&mut self, environment: &Environment) -> Option<(Segment, u64)> {
        if environment.due.is_empty() {
            return None;
        }
        let mut proof = [0; PROOF];
        let is_mapped = self.reader.copy(self.scratch.base(), &mut proof);
        if is_mapped != Ok(true) || !self.scratch.is_proof(&proof) {
            return None;
        }
        let mut due = environment.due.iter().peekable();
        let entries: Vec<Pointer<'_>> = environment
            .pointers
            .iter()
            .enumerate()
            .map(|(index, pointer)| {
                due.next_if(|due| due.index == index)
                    .and_then(|due| self.space.at(due.string))
                    .map_or(Pointer::Own(*pointer), |entry| {
                        Pointer::Placeholder(entry.placeholder())
                    })
            })
            .collect();
        self.scratch.write_environment(&entries)
    }

    fn go_on(&mut self, key: u32, request: &Notification) {
        self.report.untouched += 1;
        if let Some(listener) = self.listener(key) {
            // A failure means that the task waits no more.
            let _ = listener.go_on(request.id);
        }
    }

    /// A task whose memory or registers are out of reach.
    fn give_up(&mut self, key: u32, request: &Notification, reason: Errno) {
        let task = request.tid;
        let Some(listener) = self.listener(key) else { return };
        match self.untraceable {
            Untraceable::Allow => {
                let _ = listener.go_on(request.id);
                self.notices.push(Notice::Unprotected { task, reason });
            }
            Untraceable::Refuse => {
                let _ = listener.refuse(request.id, Errno::EPERM);
                self.report.refused += 1;
                self.notices.push(Notice::Refused { task, reason });
            }
        }
    }
}
