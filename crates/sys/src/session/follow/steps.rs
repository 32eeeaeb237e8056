//! From one stop of a task to the next.

use super::{Follower, Stage, Task};
use crate::session::arch;
use crate::session::report::{Notice, PlaceError};
use crate::session::trace::{self, Resume, Status};

impl Follower {
    /// Takes a change of state; `false` where it is not about a request, or also an ending.
    pub(in crate::session) fn on_status(&mut self, tid: i32, status: Status) -> bool {
        if status == Status::Exec {
            self.on_exec(tid);
            return true;
        }
        let Some(task) = self.take(tid) else {
            return false;
        };
        match (task.stage, status) {
            (_, Status::Exited(_) | Status::Killed(_)) => {
                self.release(task);
                return false;
            }
            (Stage::Halting, Status::Halt(libc::SIGTRAP)) => self.swap(task),
            (Stage::Entering, Status::Syscall) => {
                self.advance(task, Stage::Asking);
            }
            (_, Status::Signal(signal)) => self.let_go(task, signal),
            _ => self.let_go(task, 0),
        }
        true
    }

    /// The task has stopped before anything was copied: point it at the other environment.
    fn swap(&mut self, mut task: Task) {
        let Some((_, address)) = task.swapped else {
            return self.let_go(task, 0);
        };
        let Ok(mut registers) = trace::registers(task.tid) else {
            return self.release(task);
        };
        let is_same = task.call.environment_of(&registers) == task.own;
        if !is_same || !arch::is_interrupted_exec(&registers) {
            return self.let_go(task, 0);
        }
        task.call.set_environment(&mut registers, address);
        task.mask = trace::signal_mask(task.tid).ok();
        let is_set = task.mask.is_some()
            && trace::set_signal_mask(task.tid, u64::MAX).is_ok()
            && trace::set_registers(task.tid, &registers).is_ok();
        if is_set { self.advance(task, Stage::Entering) } else { self.release(task) }
    }

    fn advance(&mut self, mut task: Task, stage: Stage) {
        task.stage = stage;
        match trace::resume(task.tid, Resume::Syscall, 0) {
            Ok(()) => self.tasks.push(task),
            Err(_) => self.release(task),
        }
    }

    /// A new image has arrived. Its task may have had another number before.
    fn on_exec(&mut self, tid: i32) {
        let former = trace::event_message(tid).ok().and_then(|former| i32::try_from(former).ok());
        let found = former.and_then(|former| self.take(former));
        if let Some(stale) = self.take(tid) {
            self.release(stale);
        }
        let Some(mut task) = found else {
            // Not a request of ours; whatever it is, it must not stay stopped.
            let _ = trace::detach(tid, 0);
            return;
        };
        if let Some((segment, _)) = task.swapped.take() {
            self.report.swapped += 1;
            self.scratch.release(segment);
        }
        match self.place(tid, (task.mask, &task.due), Some(task.listener), None) {
            Ok(()) => {}
            Err(PlaceError::Gone(ending)) => self.ended.extend(ending.map(|ending| (tid, ending))),
            Err(reason) => self.kill(tid, reason),
        }
        self.reader.wipe();
    }

    fn kill(&mut self, process: i32, reason: PlaceError) {
        // SAFETY: kill takes two integers by value; the process is traced by us, so its number is
        // its own until we have waited for it.
        unsafe { libc::kill(process, libc::SIGKILL) };
        self.report.killed += 1;
        self.notices.push(Notice::Killed { process, reason });
    }

    /// Lets a stopped task go as it was; an interrupted request starts over.
    fn let_go(&mut self, task: Task, signal: i32) {
        let tid = task.tid;
        if let Ok(mut registers) = trace::registers(tid) {
            let swapped = task.swapped.as_ref().map(|(_, address)| *address);
            if swapped == Some(task.call.environment_of(&registers)) {
                task.call.set_environment(&mut registers, task.own);
            }
            if arch::restart(&mut registers) {
                self.report.interrupted += 1;
            }
            let _ = trace::set_registers(tid, &registers);
        }
        if let Some(mask) = task.mask {
            let _ = trace::set_signal_mask(tid, mask);
        }
        // A failure means that the task is gone.
        let _ = trace::detach(tid, signal);
        self.release(task);
    }

    pub(super) fn release(&mut self, task: Task) {
        if let Some((segment, _)) = task.swapped {
            self.scratch.release(segment);
        }
    }

    pub(super) fn take(&mut self, tid: i32) -> Option<Task> {
        let index = self.tasks.iter().position(|task| task.tid == tid)?;
        Some(self.tasks.swap_remove(index))
    }
}
