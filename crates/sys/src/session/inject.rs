//! Makes a freshly started image execute single system calls on our behalf.
//!
//! The call is made from a `syscall` instruction that the image has anyway (in its vDSO), one
//! single step at a time, so no byte of its code changes; where there is no vDSO the entry point is
//! overwritten and restored. The image has one thread and has not run an instruction of its own, so
//! every step ends at once or with the death of the task: these are the only places where the
//! session sleeps on one task.
//!
//! Invariant: [`Injector::finish`] puts back registers and signal mask; signals that came between
//! are sent again, none is lost.

use nix::errno::Errno;

use super::arch::{self, Registers, SYSCALL_INSTRUCTION};
use super::remote::{PAGE, PAGE_LEN, Reader};
use super::report::PlaceError;
use super::trace::{self, Resume, Status, Wait};

/// A call whose wait was cut short is made again this often.
const ATTEMPTS: usize = 4;

/// All signals but the one that ends a single step.
pub(super) const ALL_BUT_TRAP: u64 = !(1 << (libc::SIGTRAP - 1));

/// Where the borrowed instruction is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Instruction {
    /// At this address, for good.
    Found(u64),
    /// Put there by us, in the place of this word.
    Poked {
        /// The address.
        address: u64,
        /// What was there.
        word: u64,
    },
}

impl Instruction {
    const fn address(self) -> u64 {
        match self {
            Self::Found(address) | Self::Poked { address, .. } => address,
        }
    }
}

/// How a call ended that was to wait for us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Early {
    /// Another filter, the app's own, answered it.
    Answered(Errno),
    /// A signal or a stop came before we took it: it must be made again.
    CutShort,
}

/// A stopped image that makes calls for us.
#[derive(Debug)]
pub(super) struct Injector {
    tid: i32,
    saved: Registers,
    instruction: Instruction,
    held: Vec<i32>,
}

impl Injector {
    /// Takes an image that stands at the end of its exec.
    pub(super) const fn new(tid: i32, saved: Registers, instruction: Instruction) -> Self {
        Self { tid, saved, instruction, held: Vec::new() }
    }

    /// Makes one call and waits for its result.
    pub(super) fn call(
        &mut self,
        name: &'static str,
        number: libc::c_long,
        arguments: [u64; 6],
    ) -> Result<u64, PlaceError> {
        for _ in 0..ATTEMPTS {
            self.start(number, arguments)?;
            if let Some(outcome) = self.result(name)? {
                return Ok(outcome);
            }
        }
        Err(PlaceError::Call { call: name, errno: Errno::EINTR })
    }

    /// Begins a call and comes back while it is under way.
    pub(super) fn start(
        &self,
        number: libc::c_long,
        arguments: [u64; 6],
    ) -> Result<(), PlaceError> {
        let mut registers = self.saved;
        arch::prepare_call(&mut registers, self.instruction.address(), number, arguments);
        trace::set_registers(self.tid, &registers).map_err(gone)?;
        trace::resume(self.tid, Resume::Step, 0).map_err(gone)
    }

    /// Waits for a call that was begun; `None` where it was cut short and must be made again.
    pub(super) fn result(&mut self, name: &'static str) -> Result<Option<u64>, PlaceError> {
        loop {
            let (_, status) = trace::wait(Wait::Until(self.tid)).ok_or(PlaceError::Gone(None))?;
            if let Some(registers) = self.after(status)? {
                if arch::is_restart(&registers) {
                    return Ok(None);
                }
                let failed =
                    |number| PlaceError::Call { call: name, errno: Errno::from_raw(number) };
                return arch::call_result(&registers).map(Some).map_err(failed);
            }
        }
    }

    /// Looks, without sleeping, after a call that should be waiting in the kernel; says how it
    /// ended, where it did.
    pub(super) fn ended_early(&mut self) -> Result<Option<Early>, PlaceError> {
        let Some((_, status)) = trace::wait(Wait::Now(self.tid)) else {
            return Ok(None);
        };
        Ok(self.after(status)?.map(|registers| match arch::call_result(&registers) {
            _ if arch::is_restart(&registers) => Early::CutShort,
            Err(number) => Early::Answered(Errno::from_raw(number)),
            Ok(_) => Early::Answered(Errno::EPROTO),
        }))
    }

    /// The registers at the end of the call; before the end, lets the image go on.
    fn after(&mut self, status: Status) -> Result<Option<Registers>, PlaceError> {
        let mut deliver = 0;
        match status {
            Status::Exited(_) | Status::Killed(_) => return Err(PlaceError::Gone(status.ending())),
            Status::Signal(libc::SIGTRAP) => {
                let registers = trace::registers(self.tid).map_err(gone)?;
                if arch::has_made_call(&registers, self.instruction.address()) {
                    return Ok(Some(registers));
                }
                self.held.push(libc::SIGTRAP);
            }
            // It cannot be blocked, and must not be sent again later: a `SIGCONT` that came in between
            // would be undone. The kernel remembers the stop, and carries it out when we let go.
            Status::Signal(libc::SIGSTOP) => deliver = libc::SIGSTOP,
            Status::Signal(signal) => self.held.push(signal),
            Status::Exec | Status::Halt(_) | Status::Syscall | Status::Other => {}
        }
        trace::resume(self.tid, Resume::Step, deliver).map_err(gone)?;
        Ok(None)
    }

    /// Lets the image begin, as if nothing had happened.
    pub(super) fn finish(self, mask: u64) -> Result<(), PlaceError> {
        if let Instruction::Poked { address, word } = self.instruction {
            trace::poke(self.tid, address, word).map_err(gone)?;
        }
        let mut registers = self.saved;
        registers.orig_rax = u64::MAX;
        trace::set_registers(self.tid, &registers).map_err(gone)?;
        for signal in self.held {
            send_to_task(self.tid, signal);
        }
        trace::set_signal_mask(self.tid, mask).map_err(gone)?;
        trace::detach(self.tid, 0).map_err(gone)
    }
}

/// Puts a `syscall` at the entry point of an image without a vDSO; `entry` is what stands there.
pub(super) fn poke_instruction(
    tid: i32,
    address: u64,
    entry: [u8; 8],
) -> Result<Instruction, PlaceError> {
    let [_, _, third, fourth, fifth, sixth, seventh, eighth] = entry;
    let [first, second] = SYSCALL_INSTRUCTION;
    let poked = u64::from_le_bytes([first, second, third, fourth, fifth, sixth, seventh, eighth]);
    trace::poke(tid, address, poked).map_err(PlaceError::Unreachable)?;
    Ok(Instruction::Poked { address, word: u64::from_le_bytes(entry) })
}

/// How far from the vDSO's start there is a `syscall`, the same in every process of a kernel.
pub(super) fn vdso_instruction_offset() -> Option<u64> {
    // SAFETY: getauxval reads a table that the kernel gave this process.
    let start = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    let mut reader = Reader::default();
    // Read as another process's memory would be, so that an odd size ends in an error, not a fault.
    reader.turn_to(i32::try_from(std::process::id()).ok()?);
    let mut page = [0; PAGE_LEN];
    let mut offset = 0;
    while start != 0 && reader.copy(start.checked_add(offset)?, &mut page) == Ok(true) {
        if let Some(found) = page.windows(2).position(|window| window == SYSCALL_INSTRUCTION) {
            return offset.checked_add(u64::try_from(found).ok()?);
        }
        offset += PAGE;
    }
    None
}

fn send_to_task(tid: i32, signal: i32) {
    // SAFETY: tgkill takes three integers by value. The image has one thread, so its process and
    // its task have one number.
    unsafe { libc::syscall(libc::SYS_tgkill, tid, tid, signal) };
}

fn gone(_: Errno) -> PlaceError {
    PlaceError::Gone(None)
}
