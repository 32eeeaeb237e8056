//! System calls run in a stopped target, for x86-64.
//!
//! They run from a `syscall` instruction that is there already: the one that the target is blocked
//! in, or one of its vDSO. Nothing is written but stack below the red zone, which is put back.

use std::fs;

use libc::user_regs_struct;
use nix::errno::Errno;
use nix::sys::ptrace;

use super::tracing::Attached;

/// The `syscall` instruction.
const INSTRUCTION: [u8; 2] = [0x0f, 0x05];

/// What the ABI lets a leaf function use below the stack pointer without moving it.
const RED_ZONE: u64 = 128;

/// Room for two vectors of address and length, each two words.
const VECTORS_BYTES: usize = 32;

/// Copied in one go; small, so that it fits below the stack pointer of any thread.
const PIECE_BYTES: usize = 1024;

const SCRATCH_BYTES: usize = VECTORS_BYTES + PIECE_BYTES;

const WORD: usize = 8;

/// A target made ready for calls; as it was when dropped.
pub(super) struct Injection<'a> {
    target: &'a mut Attached,
    saved: user_regs_struct,
    instruction: u64,
    scratch: usize,
    overwritten: Vec<[u8; WORD]>,
}

impl<'a> Injection<'a> {
    pub(super) fn begin(target: &'a mut Attached) -> Result<Self, Errno> {
        let saved = ptrace::getregs(target.pid())?;
        let instruction = find_instruction(target, &saved)?;
        let below = RED_ZONE.checked_add(SCRATCH_BYTES as u64).ok_or(Errno::EOVERFLOW)?;
        let scratch = saved.rsp.checked_sub(below).ok_or(Errno::EFAULT)? & !15;
        let scratch = usize::try_from(scratch).or(Err(Errno::EFAULT))?;
        let overwritten = (0..SCRATCH_BYTES)
            .step_by(WORD)
            .map(|offset| target.peek(scratch + offset))
            .collect::<Result<_, _>>()?;
        Ok(Self { target, saved, instruction, scratch, overwritten })
    }

    pub(super) fn read(&mut self, address: usize, len: usize) -> Result<Vec<u8>, Errno> {
        let own_pid = self.call(libc::SYS_getpid, [0; 5])?;
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let from = address.checked_add(bytes.len()).ok_or(Errno::EFAULT)?;
            let piece = PIECE_BYTES.min(len - bytes.len());
            let copied = self.copy_to_scratch(own_pid, from, piece)?;
            if copied == 0 {
                return Err(Errno::EFAULT);
            }
            self.collect(copied, &mut bytes)?;
        }
        Ok(bytes)
    }

    /// Has the target write to itself: reading its own page is not what the kernel restricts.
    fn copy_to_scratch(&mut self, own_pid: u64, from: usize, len: usize) -> Result<usize, Errno> {
        let buffer = self.scratch + VECTORS_BYTES;
        for (index, word) in [from, len, buffer, len].into_iter().enumerate() {
            self.target.poke(self.scratch + index * WORD, word.to_ne_bytes())?;
        }
        let (local, remote) = (self.scratch as u64, self.scratch as u64 + 16);
        let vectors = [own_pid, local, 1, remote, 1];
        match self.call(libc::SYS_process_vm_writev, vectors) {
            Ok(copied) => Ok(usize::try_from(copied).unwrap_or(0).min(len)),
            // A filter of the target's own may forbid that call; pipes are allowed everywhere.
            Err(Errno::EACCES | Errno::ENOSYS | Errno::EPERM) => {
                self.copy_through_pipe(from, buffer, len)
            }
            Err(other) => Err(other),
        }
    }

    fn copy_through_pipe(&mut self, from: usize, to: usize, len: usize) -> Result<usize, Errno> {
        let flags = u64::try_from(libc::O_NONBLOCK | libc::O_CLOEXEC).unwrap_or(0);
        self.call(libc::SYS_pipe2, [self.scratch as u64, flags, 0, 0, 0])?;
        let [a, b, c, d, e, f, g, h] = self.target.peek(self.scratch)?;
        let input = u64::from(u32::from_ne_bytes([a, b, c, d]));
        let output = u64::from(u32::from_ne_bytes([e, f, g, h]));
        let written = self.call(libc::SYS_write, [output, from as u64, len as u64, 0, 0]);
        let copied = written
            .and_then(|written| self.call(libc::SYS_read, [input, to as u64, written, 0, 0]));
        for end in [input, output] {
            self.call(libc::SYS_close, [end, 0, 0, 0, 0])?;
        }
        Ok(usize::try_from(copied?).unwrap_or(0).min(len))
    }

    fn collect(&self, len: usize, bytes: &mut Vec<u8>) -> Result<(), Errno> {
        let buffer = self.scratch + VECTORS_BYTES;
        for offset in (0..len).step_by(WORD) {
            let word = self.target.peek(buffer + offset)?;
            bytes.extend(word.iter().take(len - offset));
        }
        Ok(())
    }

    fn call(&mut self, number: libc::c_long, arguments: [u64; 5]) -> Result<u64, Errno> {
        let mut registers = self.saved;
        registers.rip = self.instruction;
        registers.rax = u64::try_from(number).or(Err(Errno::ENOSYS))?;
        // No call is under way, so there is none for the kernel to restart.
        registers.orig_rax = u64::MAX;
        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8] = arguments;
        registers.r9 = 0;
        ptrace::setregs(self.target.pid(), registers)?;
        self.target.run_to_call_stop()?;
        self.target.run_to_call_stop()?;
        let result = ptrace::getregs(self.target.pid())?.rax;
        // The last page of the address space holds error numbers.
        match i32::try_from(result.wrapping_neg()) {
            Ok(error @ 1..=4095) => Err(Errno::from_raw(error)),
            _ => Ok(result),
        }
    }
}

impl Drop for Injection<'_> {
    fn drop(&mut self) {
        for (index, &word) in self.overwritten.iter().enumerate() {
            let _ = self.target.poke(self.scratch + index * WORD, word);
        }
        let _ = ptrace::setregs(self.target.pid(), resumed(self.saved));
    }
}

/// The registers with which the target goes on where it was.
///
/// The kernel restarts a call that was interrupted only on its way out of that call; we come back
/// from another one, so its arithmetic is done here.
fn resumed(saved: user_regs_struct) -> user_regs_struct {
    /// `ERESTARTSYS`, `ERESTARTNOINTR`, `ERESTARTNOHAND`.
    const RESTART: [u64; 3] = [512, 513, 514];
    /// `ERESTART_RESTARTBLOCK`: goes on for the rest of its time, which the kernel remembers.
    const RESTART_BLOCK: u64 = 516;
    let mut registers = saved;
    registers.orig_rax = u64::MAX;
    if saved.orig_rax == u64::MAX {
        return registers;
    }
    let error = saved.rax.wrapping_neg();
    if RESTART.contains(&error) {
        registers.rax = saved.orig_rax;
        registers.rip = saved.rip.wrapping_sub(2);
    } else if error == RESTART_BLOCK {
        registers.rax = u64::try_from(libc::SYS_restart_syscall).unwrap_or(u64::MAX);
        registers.rip = saved.rip.wrapping_sub(2);
    }
    registers
}

fn find_instruction(target: &Attached, registers: &user_regs_struct) -> Result<u64, Errno> {
    let before = registers.rip.wrapping_sub(2);
    let word = usize::try_from(before).or(Err(Errno::EFAULT)).and_then(|at| target.peek(at));
    if word.is_ok_and(|word| word.starts_with(&INSTRUCTION)) {
        return Ok(before);
    }
    let maps = fs::read_to_string(format!("/proc/{}/maps", target.pid())).or(Err(Errno::EACCES))?;
    let range = maps.lines().find(|line| line.ends_with("[vdso]")).ok_or(Errno::ENOSYS)?;
    let (from, to) =
        range.split_once(' ').and_then(|(range, _)| range.split_once('-')).ok_or(Errno::ENOSYS)?;
    let address = |text| usize::from_str_radix(text, 16).or(Err(Errno::ENOSYS));
    let (from, to) = (address(from)?, address(to)?);
    for at in (from..to).step_by(WORD) {
        let word = target.peek(at)?;
        if let Some(offset) = word.windows(2).position(|pair| pair == INSTRUCTION) {
            return Ok((at + offset) as u64);
        }
    }
    Err(Errno::ENOSYS)
}
