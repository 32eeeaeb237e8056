//! What is particular to x86-64: registers, system call numbers, the instruction to borrow.
//!
//! Every other module of the session speaks of calls and arguments. Porting means a twin of this
//! file (`svc #0`, `PTRACE_GETREGSET`, numbers without `open` and `stat`), nothing else.

use nix::errno::Errno;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the session knows x86-64 only");

/// The registers of a stopped task.
pub(super) type Registers = libc::user_regs_struct;

/// `AUDIT_ARCH_X86_64`, what seccomp calls 64-bit code (and x32, told apart by bit 30).
pub(super) const AUDIT_64: u32 = 0xc000_003e;
/// `AUDIT_ARCH_I386`.
pub(super) const AUDIT_32: u32 = 0x4000_0003;
/// `execve`, `execveat` of 64-bit code.
pub(super) const EXEC_64: [u32; 2] = [59, 322];
/// The same calls of the x32 ABI.
pub(super) const EXEC_X32: [u32; 2] = [0x4000_0000 | 520, 0x4000_0000 | 545];
/// The same calls of 32-bit code.
pub(super) const EXEC_32: [u32; 2] = [11, 358];

/// Calls of 64-bit code that name a file by its path.
pub(super) mod paths {
    pub(in crate::session) const ACCESS: u32 = 21;
    pub(in crate::session) const FACCESSAT: u32 = 269;
    pub(in crate::session) const FACCESSAT2: u32 = 439;
    pub(in crate::session) const LSTAT: u32 = 6;
    pub(in crate::session) const NEWFSTATAT: u32 = 262;
    pub(in crate::session) const OPEN: u32 = 2;
    pub(in crate::session) const OPENAT: u32 = 257;
    pub(in crate::session) const OPENAT2: u32 = 437;
    pub(in crate::session) const READLINK: u32 = 89;
    pub(in crate::session) const READLINKAT: u32 = 267;
    pub(in crate::session) const STAT: u32 = 4;
    pub(in crate::session) const STATX: u32 = 332;
    /// The most frequent ones first: the filter tries them in this order.
    pub(in crate::session) const ALL: [u32; 12] = [
        OPENAT, NEWFSTATAT, OPEN, STAT, STATX, LSTAT, ACCESS, READLINK, FACCESSAT, READLINKAT,
        OPENAT2, FACCESSAT2,
    ];
}

/// Size of the kernel's `struct stat`.
pub(super) const STAT_LEN: usize = 144;
/// Size of the kernel's `struct statx`.
pub(super) const STATX_LEN: usize = 256;

/// The bytes of `syscall`.
pub(super) const SYSCALL_INSTRUCTION: [u8; 2] = [0x0f, 0x05];

/// The first kernel-internal "restart me" result; four more follow it downwards (512 to 516).
pub(super) const ERESTARTSYS: i32 = -512;
/// The code segment of 64-bit user code.
const USER_CS_64: u64 = 0x33;

/// How many bytes a pointer has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Width {
    /// Four: 32-bit and x32 code.
    Four,
    /// Eight.
    Eight,
}

/// How a task asked for a new program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ExecCall {
    /// `execve`: the environment is the third argument.
    Execve,
    /// `execveat`: it is the fourth.
    Execveat,
}

impl ExecCall {
    /// Recognises a call, and whose pointers it takes; `None` for any other call.
    pub(super) fn of(audit_arch: u32, number: i32) -> Option<(Self, Width)> {
        let number = number.cast_unsigned();
        let families: &[([u32; 2], Width)] = match audit_arch {
            AUDIT_64 => &[(EXEC_64, Width::Eight), (EXEC_X32, Width::Four)],
            _ => &[(EXEC_32, Width::Four)],
        };
        families.iter().find_map(|([execve, execveat], width)| match number {
            number if number == *execve => Some((Self::Execve, *width)),
            number if number == *execveat => Some((Self::Execveat, *width)),
            _ => None,
        })
    }

    /// Which argument holds the environment.
    pub(super) const fn environment(self, arguments: &[u64; 6]) -> u64 {
        let [_, _, third, fourth, _, _] = *arguments;
        match self {
            Self::Execve => third,
            Self::Execveat => fourth,
        }
    }

    /// The environment that the call of a stopped task points at.
    pub(super) const fn environment_of(self, registers: &Registers) -> u64 {
        match self {
            Self::Execve => registers.rdx,
            Self::Execveat => registers.r10,
        }
    }

    /// Points the call of a stopped task at another environment.
    pub(super) const fn set_environment(self, registers: &mut Registers, address: u64) {
        match self {
            Self::Execve => registers.rdx = address,
            Self::Execveat => registers.r10 = address,
        }
    }
}

/// An argument of C's type `int`: the lower half of its register.
pub(super) const fn int(argument: u64) -> i32 {
    let [first, second, third, fourth, ..] = argument.to_le_bytes();
    i32::from_le_bytes([first, second, third, fourth])
}

/// What the kernel says of an open file, in its own layout.
pub(super) fn stat(file: i32) -> Result<[u8; STAT_LEN], Errno> {
    let mut facts = [0_u8; STAT_LEN];
    // SAFETY: the kernel writes one `struct stat`, which is as long as `facts`.
    let result = unsafe { libc::syscall(libc::SYS_fstat, file, facts.as_mut_ptr()) };
    Errno::result(result).map(|_| facts)
}

/// The same in the layout of `statx`, for the fields in `mask`.
pub(super) fn statx(file: i32, mask: u64) -> Result<[u8; STATX_LEN], Errno> {
    let mut facts = [0_u8; STATX_LEN];
    let (empty, flags, mask) = (c"".as_ptr(), libc::AT_EMPTY_PATH, int(mask));
    // SAFETY: the path is a literal; the kernel writes one `struct statx`, as long as `facts`.
    let result =
        unsafe { libc::syscall(libc::SYS_statx, file, empty, flags, mask, facts.as_mut_ptr()) };
    Errno::result(result).map(|_| facts)
}

/// Whether the task waits in an exec that the kernel will start again.
pub(super) fn is_interrupted_exec(registers: &Registers) -> bool {
    let number = u32::try_from(registers.orig_rax).unwrap_or(0);
    EXEC_64.contains(&number) && is_restart(registers)
}

/// Whether the result is one that never reaches a program.
pub(super) fn is_restart(registers: &Registers) -> bool {
    let value = i32::try_from(registers.rax.cast_signed());
    value.is_ok_and(|value| (ERESTARTSYS - 4..=ERESTARTSYS).contains(&value))
}

/// Makes an interrupted call start again, whatever a signal handler asked for, so that no program
/// sees an `EINTR` from `execve` that it would not see without us.
///
/// The kernel would do the same for `-ERESTARTNOINTR`, but only on its way through a signal.
pub(super) fn restart(registers: &mut Registers) -> bool {
    let is_due = is_restart(registers);
    if is_due {
        registers.rax = registers.orig_rax;
        registers.rip = registers.rip.wrapping_sub(SYSCALL_INSTRUCTION.len() as u64);
        registers.orig_rax = u64::MAX;
    }
    is_due
}

/// Whether the image runs 64-bit code.
pub(super) const fn is_wide(registers: &Registers) -> bool {
    registers.cs == USER_CS_64
}

/// Sets the registers up to make one call from the instruction at `instruction`.
pub(super) fn prepare_call(
    registers: &mut Registers,
    instruction: u64,
    number: libc::c_long,
    arguments: [u64; 6],
) {
    let [first, second, third, fourth, fifth, sixth] = arguments;
    registers.rip = instruction;
    registers.rax = number.cast_unsigned();
    // Minus one says "not in a call": the kernel must not restart anything when the task goes on.
    registers.orig_rax = u64::MAX;
    registers.rdi = first;
    registers.rsi = second;
    registers.rdx = third;
    registers.r10 = fourth;
    registers.r8 = fifth;
    registers.r9 = sixth;
}

/// Whether the task stands just behind the instruction at `instruction`.
pub(super) const fn has_made_call(registers: &Registers, instruction: u64) -> bool {
    registers.rip == instruction.wrapping_add(SYSCALL_INSTRUCTION.len() as u64)
}

/// The result of a call: a value, or an error number.
pub(super) fn call_result(registers: &Registers) -> Result<u64, i32> {
    let value = registers.rax.cast_signed();
    match i32::try_from(value) {
        Ok(error) if (-4095..0).contains(&error) => Err(-error),
        _ => Ok(registers.rax),
    }
}
