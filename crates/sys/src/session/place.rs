//! Gives a freshly started image its secrets.
//!
//! The image stands at the event of its exec, all its signals blocked. Its environment holds
//! placeholders (`NAME=`), or, where the slower road was taken, values that the kernel copied;
//! those are wiped first. Then a fresh secret file is handed over, mapped by the image itself, and
//! the environment's pointers are turned to it.
//!
//! Invariant: either every secret that was due is in place, or the caller learns that it is not
//! and kills the process. An image never runs with a placeholder for a value.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use zeroize::Zeroizing;

use super::arch;
use super::environment::{Due, read_text};
use super::images::Image;
use super::inject::{self, Early, Injector};
use super::listener::{Listener, Notification};
use super::remote::{self, PAGE, Peek, Reader, RemoteError};
use super::report::PlaceError;
use super::scratch::Scratch;
use super::slots::SlotSpace;
use super::stack::{StackError, StackView};
use super::trace::{self, Resume, Status, Wait};

/// How long to wait for the image's trapped call before looking whether it still lives.
const PATIENCE_MS: u16 = 20;
const ATTEMPTS: usize = 4;

/// How the image gets the descriptors.
#[derive(Clone, Copy, Debug)]
pub(super) enum Door<'a> {
    /// By a trapped call, answered on this listener.
    Listener(&'a Listener),
    /// It has the secret file already, under this number.
    Inherited(i32),
}

/// Whether processes of the same user may look into images with secrets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dumpable {
    /// As the kernel decides for the program.
    Keep,
    /// No: no core dump, no ptrace, no `/proc/PID/environ` for the same user.
    Off,
}

/// What placing works with.
pub(super) struct Tools<'a> {
    pub(super) reader: &'a mut Reader,
    pub(super) space: &'a mut SlotSpace,
    pub(super) scratch: &'a Scratch,
    /// Where secret strings are in every image.
    pub(super) base: u64,
    pub(super) vdso_offset: Option<u64>,
    pub(super) dumpable: Dumpable,
    /// Requests of other tasks that came while this one was waited for.
    pub(super) backlog: &'a mut Vec<Notification>,
}

/// An image to be given secrets.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    pub(super) tid: i32,
    /// What it blocked before the session blocked everything; `None` where it still does.
    pub(super) mask: Option<u64>,
    /// Where placeholders are.
    pub(super) due: &'a [Due],
    pub(super) door: Door<'a>,
    /// The secret file, where it was made before the exec.
    pub(super) image: Option<Image>,
}

/// How it went.
#[derive(Debug)]
pub(super) struct Placed {
    /// The image's pages; `None` where nothing was due.
    pub(super) image: Option<Image>,
    /// How many values the kernel had copied.
    pub(super) scrubbed: usize,
}

struct Found {
    /// Address of the pointer, offset of the string.
    entries: Vec<(u64, u64)>,
    /// Values on the stack.
    bare: Vec<(u64, Vec<u8>)>,
    vdso: Option<u64>,
}

impl Tools<'_> {
    /// Gives an image its secrets and lets it begin.
    pub(super) fn place(&mut self, arrival: Arrival<'_>) -> Result<Placed, PlaceError> {
        let tid = arrival.tid;
        let mask = match arrival.mask {
            Some(mask) => mask,
            None => trace::signal_mask(tid).map_err(gone)?,
        };
        trace::set_signal_mask(tid, inject::ALL_BUT_TRAP).map_err(gone)?;
        finish_exec(tid)?;
        let registers = trace::registers(tid).map_err(gone)?;
        if !arch::is_wide(&registers) {
            return Err(PlaceError::Narrow);
        }
        self.reader.turn_to(tid);
        let found = self.survey(registers.rsp, arrival.due)?;
        remote::write_all(tid, &found.bare).map_err(PlaceError::Unreachable)?;
        let instruction = self.instruction(tid, &registers, found.vdso)?;
        let mut injector = Injector::new(tid, registers, instruction);
        let scrubbed = found.bare.len();
        if found.entries.is_empty() {
            injector.finish(mask)?;
            return Ok(Placed { image: None, scrubbed });
        }
        let image = match arrival.image {
            Some(image) => self.map_inherited(&mut injector, image, arrival.door)?,
            None => self.map_fresh(&mut injector, tid, &found, arrival.door)?,
        };
        let pointers: Vec<(u64, Vec<u8>)> = found
            .entries
            .iter()
            .map(|(at, string)| (*at, self.base.saturating_add(*string).to_le_bytes().to_vec()))
            .collect();
        remote::write_all(tid, &pointers).map_err(PlaceError::Unreachable)?;
        if self.dumpable == Dumpable::Off {
            // Last: after it a tracer without privileges reaches no memory any more.
            let option = u64::try_from(libc::PR_SET_DUMPABLE).unwrap_or(0);
            injector.call("prctl", libc::SYS_prctl, [option, 0, 0, 0, 0, 0])?;
        }
        injector.finish(mask)?;
        Ok(Placed { image: Some(image), scrubbed })
    }

    /// Reads the new stack: where the placeholders are, and which values stand there bare.
    fn survey(&mut self, stack_pointer: u64, due: &[Due]) -> Result<Found, PlaceError> {
        let view = self.tables(stack_pointer)?;
        for pointer in &view.environment {
            self.reader.want(*pointer).map_err(unreachable)?;
        }
        self.reader.fetch().map_err(unreachable)?;
        let mut found = Found { entries: Vec::new(), bare: Vec::new(), vdso: view.vdso };
        let mut expected = due.iter().peekable();
        let mut text = Zeroizing::new(Vec::with_capacity(1024));
        for (index, pointer) in view.environment.iter().enumerate() {
            if !read_text(self.reader, *pointer, &mut text).map_err(unreachable)? {
                return Err(PlaceError::Unreachable(Errno::EFAULT));
            }
            let string = if let Some(due) = expected.next_if(|due| due.index == index) {
                let entry = self.space.at(due.string).ok_or(PlaceError::Forgotten)?;
                if entry.placeholder() != text.as_slice() {
                    return Err(PlaceError::Mismatch);
                }
                due.string
            } else if let Some(string) = self.space.classify(&text) {
                let entry = self.space.at(string).ok_or(PlaceError::Forgotten)?;
                let shown = entry.placeholder().len();
                let zeros = vec![0; text.len().saturating_sub(shown)];
                found.bare.push((pointer.saturating_add(shown as u64), zeros));
                string
            } else {
                continue;
            };
            let at = view.entry_address(index).ok_or(PlaceError::Mismatch)?;
            found.entries.push((at, string));
        }
        match expected.next() {
            Some(_) => Err(PlaceError::Mismatch),
            None => Ok(found),
        }
    }

    /// Reads pages of the new stack until its tables are complete.
    fn tables(&mut self, stack_pointer: u64) -> Result<StackView, PlaceError> {
        let mut bytes = Vec::with_capacity(2 * remote::PAGE_LEN);
        let mut at = stack_pointer;
        loop {
            // The strings lie right behind the tables, so the next page will be read anyway.
            self.reader.want(at).map_err(unreachable)?;
            self.reader.want((at | (PAGE - 1)).saturating_add(1)).map_err(unreachable)?;
            self.reader.fetch().map_err(unreachable)?;
            match self.reader.peek(at) {
                Peek::Bytes(page) => {
                    bytes.extend_from_slice(page);
                    at = at.saturating_add(page.len() as u64);
                }
                Peek::NotFetched | Peek::Unreadable => {
                    return Err(PlaceError::Unreachable(Errno::EFAULT));
                }
            }
            match StackView::parse(stack_pointer, &bytes) {
                Err(StackError::Truncated) => {}
                Err(error) => return Err(PlaceError::Stack(error)),
                Ok(view) => return Ok(view),
            }
        }
    }

    fn instruction(
        &mut self,
        tid: i32,
        registers: &arch::Registers,
        vdso: Option<u64>,
    ) -> Result<inject::Instruction, PlaceError> {
        let address = self.vdso_offset.zip(vdso).and_then(|(offset, at)| at.checked_add(offset));
        let mut bytes = [0; 2];
        if let Some(address) = address
            && self.reader.copy(address, &mut bytes).map_err(unreachable)?
            && bytes == arch::SYSCALL_INSTRUCTION
        {
            return Ok(inject::Instruction::Found(address));
        }
        let mut entry = [0; 8];
        if !self.reader.copy(registers.rip, &mut entry).map_err(unreachable)? {
            return Err(PlaceError::Unreachable(Errno::EFAULT));
        }
        inject::poke_instruction(tid, registers.rip, entry)
    }

    fn map_fresh(
        &mut self,
        injector: &mut Injector,
        tid: i32,
        found: &Found,
        door: Door<'_>,
    ) -> Result<Image, PlaceError> {
        let due = found.entries.iter().map(|(_, string)| *string);
        let (image, file) = Image::compose(tid, self.space, due)?;
        let Door::Listener(listener) = door else {
            return Err(PlaceError::Mismatch);
        };
        let files = [file.as_fd(), self.scratch.as_fd()];
        let (given, [secret, scratch]) = hand_over(injector, tid, listener, files, self.backlog)?;
        self.map_runs(injector, &image, secret)?;
        let read_only = libc::PROT_READ;
        map(injector, self.scratch.base(), self.scratch.len(), read_only, scratch, 0)?;
        close(injector, given)?;
        Ok(image)
    }

    fn map_inherited(
        &self,
        injector: &mut Injector,
        image: Image,
        door: Door<'_>,
    ) -> Result<Image, PlaceError> {
        let Door::Inherited(number) = door else {
            return Err(PlaceError::Mismatch);
        };
        let number = u64::try_from(number).or(Err(PlaceError::Mismatch))?;
        self.map_runs(injector, &image, number)?;
        close(injector, vec![number])?;
        Ok(image)
    }

    fn map_runs(
        &self,
        injector: &mut Injector,
        image: &Image,
        descriptor: u64,
    ) -> Result<(), PlaceError> {
        // Writable, since shells and everyone who calls strtok on getenv write into it.
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        image.runs().iter().try_for_each(|run| {
            let address = self.base.saturating_add(run.offset);
            map(injector, address, run.len, protection, descriptor, run.file_offset)
        })
    }
}

/// From the event to the end of the call, where registers are those of the new program.
fn finish_exec(tid: i32) -> Result<(), PlaceError> {
    let mut deliver = 0;
    loop {
        trace::resume(tid, Resume::Syscall, deliver).map_err(gone)?;
        let (_, status) = trace::wait(Wait::Until(tid)).ok_or(PlaceError::Gone(None))?;
        deliver = match status {
            Status::Syscall => return Ok(()),
            // The only one that reaches it here; kept by the kernel until we let go.
            Status::Signal(libc::SIGSTOP) => libc::SIGSTOP,
            _ => 0,
        };
        if let Some(ending) = status.ending() {
            return Err(PlaceError::Gone(Some(ending)));
        }
    }
}

fn map(
    injector: &mut Injector,
    address: u64,
    len: u64,
    protection: i32,
    descriptor: u64,
    file_offset: u64,
) -> Result<(), PlaceError> {
    let protection = u64::try_from(protection).unwrap_or(0);
    let flags = u64::try_from(libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE).unwrap_or(0);
    let arguments = [address, len, protection, flags, descriptor, file_offset];
    if injector.call("mmap", libc::SYS_mmap, arguments)? != address {
        return Err(PlaceError::Call { call: "mmap", errno: Errno::EEXIST });
    }
    Ok(())
}

/// Closes descriptors in the image, by one call where they are neighbours.
fn close(injector: &mut Injector, mut descriptors: Vec<u64>) -> Result<(), PlaceError> {
    descriptors.sort_unstable();
    if let [first, .., last] = descriptors.as_slice()
        && last - first + 1 == descriptors.len() as u64
        && injector.call("close_range", libc::SYS_close_range, [*first, *last, 0, 0, 0, 0]).is_ok()
    {
        return Ok(());
    }
    descriptors.iter().try_for_each(|number| {
        injector.call("close", libc::SYS_close, [*number, 0, 0, 0, 0, 0]).map(drop)
    })
}

/// Puts files into the image by the trapped call; says all numbers given, and the ones to use.
fn hand_over(
    injector: &mut Injector,
    tid: i32,
    listener: &Listener,
    files: [BorrowedFd<'_>; 2],
    backlog: &mut Vec<Notification>,
) -> Result<(Vec<u64>, [u64; 2]), PlaceError> {
    const CALL: &str = "receiving a descriptor";
    let mut given = Vec::with_capacity(2);
    for _ in 0..ATTEMPTS {
        injector.start(libc::SYS_execve, [0; 6])?;
        let id = match await_call(injector, tid, listener, backlog)? {
            Ok(id) => id,
            Err(Early::CutShort) => continue,
            Err(Early::Answered(errno)) => return Err(PlaceError::Call { call: CALL, errno }),
        };
        let [first, second] = files;
        let outcome = listener.give(id, first).and_then(|first| {
            given.push(first);
            let second = listener.give(id, second)?;
            given.push(second);
            listener.finish(id)?;
            Ok([first, second])
        });
        match outcome {
            Ok(numbers) => {
                if injector.result(CALL)?.is_some() {
                    return Ok((given, numbers));
                }
            }
            // The wait was cut short by a stop signal: the call is made again.
            Err(Errno::ENOENT) => {
                injector.result(CALL)?;
            }
            Err(errno) => return Err(PlaceError::Call { call: CALL, errno }),
        }
    }
    Err(PlaceError::Call { call: CALL, errno: Errno::EINTR })
}

/// Waits for the image's own trapped call, which may end without having come to us.
fn await_call(
    injector: &mut Injector,
    tid: i32,
    listener: &Listener,
    backlog: &mut Vec<Notification>,
) -> Result<Result<u64, Early>, PlaceError> {
    loop {
        let mut watched = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, PollTimeout::from(PATIENCE_MS)) {
            Ok(1..) => match listener.receive() {
                Some(call) if call.tid == tid => return Ok(Ok(call.id)),
                Some(other) => backlog.push(other),
                None => {}
            },
            Ok(_) | Err(_) => {
                if let Some(early) = injector.ended_early()? {
                    return Ok(Err(early));
                }
            }
        }
    }
}

fn gone(_: Errno) -> PlaceError {
    PlaceError::Gone(None)
}

fn unreachable(error: RemoteError) -> PlaceError {
    match error {
        RemoteError::TooLarge => PlaceError::Stack(StackError::Shape),
        RemoteError::Refused(Errno::ESRCH) => PlaceError::Gone(None),
        RemoteError::Refused(errno) => PlaceError::Unreachable(errno),
    }
}
