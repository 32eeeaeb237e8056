//! Whether a signal would have the kernel write an app's memory to a core file.
//!
//! A guard refuses such signals from outside the app's tree. The supervisor is of the tree and
//! hands signals on, so whoever may signal the supervisor would have a way round.

use std::fs;

/// Those whose default is a core file.
const DUMPING: [i32; 10] = [
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGQUIT,
    libc::SIGSEGV,
    libc::SIGSYS,
    libc::SIGTRAP,
    libc::SIGXCPU,
    libc::SIGXFSZ,
];

/// What becomes of signals that would have the app dumped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CoreSignals {
    /// They are handed on as any other.
    Forward,
    /// The app is killed instead, which ends it as well and leaves nothing.
    Kill,
}

/// Whether this signal would end the process with a core file. What cannot be found out is yes.
pub(super) fn would_dump(process: i32, signal: i32) -> bool {
    if !DUMPING.contains(&signal) {
        return false;
    }
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return true };
    let mut statuses = threads.flatten().map(|thread| {
        // A thread that has ended in the meantime takes no signal.
        fs::read_to_string(thread.path().join("status")).unwrap_or_default()
    });
    statuses.any(|status| takes_by_default(&status, signal))
}

/// Whether a thread neither blocks nor catches nor ignores the signal.
///
/// What a traced thread blocks, we block for it, for as long as we place something in it.
fn takes_by_default(status: &str, signal: i32) -> bool {
    let bit = 1_u64.checked_shl(signal.unsigned_abs().saturating_sub(1)).unwrap_or(0);
    let field = |name: &str| {
        let mut lines = status.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let has = |name: &str| {
        let mask = field(name).and_then(|text| u64::from_str_radix(text, 16).ok());
        mask.is_some_and(|mask| mask & bit != 0)
    };
    if status.is_empty() {
        return false;
    }
    let blocks = has("SigBlk") && field("TracerPid") == Some("0");
    !blocks && !has("SigIgn") && !has("SigCgt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_is_blocked_caught_or_ignored_dumps_nothing() {
        let status = |blocked: u64, ignored: u64, caught: u64| {
            format!(
                "TracerPid:\t0\nSigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n"
            )
        };
        let quit = 1 << (libc::SIGQUIT - 1);
        assert!(takes_by_default(&status(0, 0, 0), libc::SIGQUIT));
        assert!(takes_by_default(&status(!quit, !quit, !quit), libc::SIGQUIT));
        for (blocked, ignored, caught) in [(quit, 0, 0), (0, quit, 0), (0, 0, quit)] {
            assert!(!takes_by_default(&status(blocked, ignored, caught), libc::SIGQUIT));
        }
        let placing = status(quit, 0, 0).replace("TracerPid:\t0", "TracerPid:\t7");
        assert!(takes_by_default(&placing, libc::SIGQUIT), "the mask is ours");
        assert!(takes_by_default("Name:\tSigBlk\n", libc::SIGQUIT), "what nobody says is yes");
    }

    #[test]
    fn of_a_process_that_does_nothing_about_signals_only_some_would_dump() {
        let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(sleeper.id()).unwrap();
        assert!(would_dump(pid, libc::SIGQUIT) && would_dump(pid, libc::SIGSEGV));
        assert!(!would_dump(pid, libc::SIGTERM) && !would_dump(pid, libc::SIGUSR1));
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(would_dump(pid, libc::SIGQUIT), "what is gone cannot be asked");
    }
}
