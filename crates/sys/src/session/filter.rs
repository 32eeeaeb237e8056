//! The seccomp program that makes a task wait for the supervisor when it asks for a new program.
//!
//! Only `execve` and `execveat` trap, in every ABI of the machine; all else is allowed, so that a
//! fork, a thread or a read costs nothing. Further calls are added by naming them in
//! [`Trapped::extra`]. The program is data and decides nothing by itself: the answer is the
//! supervisor's. While no supervisor lives, a trapped call fails with `ENOSYS`.

use super::arch::{AUDIT_32, AUDIT_64, EXEC_32, EXEC_64, EXEC_X32};

/// Where seccomp keeps the call's number and its ABI.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
/// `SECCOMP_RET_ERRNO | ENOSYS`: an ABI that this machine does not have.
const NO_SUCH_ABI: u32 = libc::SECCOMP_RET_ERRNO | 38;

/// The calls that wait for the supervisor.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trapped<'a> {
    /// 64-bit calls besides the two that start a program.
    pub(super) extra: &'a [u32],
}

impl Trapped<'_> {
    /// Builds the program.
    pub(super) fn program(self) -> Vec<libc::sock_filter> {
        let wide: Vec<u32> = EXEC_64.iter().chain(&EXEC_X32).chain(self.extra).copied().collect();
        let mut program = vec![load(OFFSET_ARCH)];
        section(&mut program, AUDIT_64, &wide);
        section(&mut program, AUDIT_32, &EXEC_32);
        program.push(give(NO_SUCH_ABI));
        program
    }
}

/// `if arch == abi { if number in calls { notify } allow }`, falling through for another ABI.
fn section(program: &mut Vec<libc::sock_filter>, abi: u32, calls: &[u32]) {
    let calls_len = u8::try_from(calls.len()).unwrap_or(u8::MAX - 3);
    program.push(jump(abi, 0, calls_len.saturating_add(3)));
    program.push(load(OFFSET_NUMBER));
    for (behind, call) in (0..calls_len).rev().zip(calls) {
        program.push(jump(*call, behind.saturating_add(1), 0));
    }
    program.push(give(ALLOW));
    program.push(give(NOTIFY));
}

const fn load(offset: u32) -> libc::sock_filter {
    libc::sock_filter { code: LOAD, jt: 0, jf: 0, k: offset }
}

const fn jump(value: u32, equal: u8, other: u8) -> libc::sock_filter {
    libc::sock_filter { code: EQUAL, jt: equal, jf: other, k: value }
}

const fn give(action: u32) -> libc::sock_filter {
    libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: action }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn verdict(extra: &[u32], arch: u32, number: u32) -> u32 {
        let program = Trapped { extra }.program();
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            match step.code {
                LOAD if step.k == OFFSET_ARCH => accumulator = arch,
                LOAD => accumulator = number,
                EQUAL if accumulator == step.k => at += usize::from(step.jt),
                EQUAL => at += usize::from(step.jf),
                _ => return step.k,
            }
        }
    }

    #[test]
    fn a_new_program_waits_in_every_abi() {
        for number in EXEC_64.iter().chain(&EXEC_X32) {
            assert_eq!(verdict(&[], AUDIT_64, *number), NOTIFY);
        }
        for number in EXEC_32 {
            assert_eq!(verdict(&[], AUDIT_32, number), NOTIFY);
        }
    }

    #[test]
    fn everything_else_passes() {
        for number in [0, 11, 56, 57, 58, 60, 257, 321, 323, 520, 545] {
            assert_eq!(verdict(&[], AUDIT_64, number), ALLOW);
        }
        for number in [59, 322, 0, 2] {
            assert_eq!(verdict(&[], AUDIT_32, number), ALLOW);
        }
        assert_eq!(verdict(&[], 0xc000_00b7, 221), NO_SUCH_ABI);
    }

    #[test]
    fn further_calls_can_be_made_to_wait() {
        assert_eq!(verdict(&[2, 257], AUDIT_64, 2), NOTIFY);
        assert_eq!(verdict(&[2, 257], AUDIT_64, 257), NOTIFY);
        assert_eq!(verdict(&[2, 257], AUDIT_64, 59), NOTIFY);
        assert_eq!(verdict(&[2, 257], AUDIT_64, 3), ALLOW);
        assert_eq!(verdict(&[2, 257], AUDIT_32, 2), ALLOW);
    }
}
