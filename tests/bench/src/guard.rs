//! Leaves nothing behind, however the bench ends.
//!
//! The program runs itself again and stays as the parent: it adopts every process that the bench
//! orphans, ends those that are left, and removes the scratch directory. So `^C`, a panic and even
//! `SIGKILL` of the inner process need no code of their own anywhere else. It does not know what a
//! bench starts.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::random;

/// First argument of the inner process.
pub(crate) const VERB: &str = "guarded";
/// Tells the inner process its scratch directory.
const SCRATCH: &str = "CLOUDTASER_BENCH_SCRATCH";
/// How often the guard looks whether the bench has ended.
const TICK: Duration = Duration::from_millis(20);
/// How long killed processes may take to go.
const FAREWELL: Duration = Duration::from_secs(5);
/// What a shell gives for a program that `^C` ended.
const INTERRUPTED: u8 = 130;

/// The outer process: runs the bench as a child and cleans up behind it.
pub(crate) fn run(arguments: &[String], limit: Duration) -> anyhow::Result<ExitCode> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
        signals.add(signal);
    }
    signals.thread_block().context("cannot block signals")?;
    let asked = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .context("signalfd failed")?;
    set_child_subreaper(true).context("cannot adopt orphans")?;
    let scratch = std::env::temp_dir().join(format!("cloudtaser-bench-{}", random::hex(8)?));
    DirBuilder::new().mode(0o700).create(&scratch).context("cannot make a scratch directory")?;
    let ended = watch(arguments, &scratch, &asked, limit);
    let swept = sweep();
    fs::remove_dir_all(&scratch).context("cannot remove the scratch directory")?;
    swept?;
    ended
}

/// The inner process: takes signals again and gets its scratch directory.
pub(crate) fn begin() -> anyhow::Result<PathBuf> {
    SigSet::empty().thread_set_mask().context("cannot take signals")?;
    let scratch = std::env::var_os(SCRATCH).context("the guard named no scratch directory")?;
    Ok(PathBuf::from(scratch))
}

fn watch(
    arguments: &[String],
    scratch: &Path,
    asked: &SignalFd,
    limit: Duration,
) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("cannot find the bench program")?;
    let mut bench = Command::new(program);
    bench.arg(VERB).args(arguments).env(SCRATCH, scratch);
    let mut bench = bench.spawn().context("cannot start the bench")?;
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = bench.try_wait().context("cannot wait for the bench")? {
            return Ok(code(status));
        }
        if asked.read_signal().context("cannot read signals")?.is_some() {
            finish(&mut bench)?;
            return Ok(ExitCode::from(INTERRUPTED));
        }
        if Instant::now() > end {
            finish(&mut bench)?;
            bail!("the bench took longer than {} s and was ended", limit.as_secs());
        }
        thread::sleep(TICK);
    }
}

fn finish(bench: &mut Child) -> anyhow::Result<()> {
    bench.kill().context("cannot end the bench")?;
    bench.wait().context("cannot wait for the bench")?;
    Ok(())
}

fn code(status: ExitStatus) -> ExitCode {
    match status.code().map(u8::try_from) {
        Some(Ok(code)) => ExitCode::from(code),
        // `^C` reaches the whole foreground group, so the inner process may be the first to go.
        _ => ExitCode::from(INTERRUPTED),
    }
}

/// Ends every process that the bench left, by number; those that they leave come next.
fn sweep() -> anyhow::Result<()> {
    let end = Instant::now() + FAREWELL;
    loop {
        let orphans = children(Pid::this())?;
        if orphans.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("{} processes of the bench do not end", orphans.len());
        }
        for orphan in orphans {
            // It may have gone by itself since it was listed; the wait below is what counts.
            let _gone = kill(orphan, Signal::SIGKILL);
            let _gone = waitpid(orphan, Some(WaitPidFlag::WNOHANG));
        }
        thread::sleep(TICK);
    }
}

/// The processes whose parent this is.
pub(crate) fn children(parent: Pid) -> anyhow::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that has gone meanwhile is nobody's child.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        // The name stands in brackets and may hold anything; state and parent follow it.
        let fields = stat.rsplit_once(") ").map(|(_, rest)| rest);
        let of = fields.and_then(|rest| rest.split(' ').nth(1)).and_then(|pid| pid.parse().ok());
        if of == Some(parent.as_raw()) {
            found.push(Pid::from_raw(pid));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_found_and_others_are_not() {
        let mut sleeper = Command::new("sleep").arg("20").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(sleeper.id()).unwrap());
        let mine = children(Pid::this()).unwrap();
        let its = children(pid).unwrap();
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(mine.contains(&pid));
        assert!(its.is_empty());
    }
}
