//! One start of one side, and where the clock stands: from before the process is made until the
//! reader at the other end of its stdout has the app's line.
//!
//! A started process is ended when its owner goes out of scope.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::subject::MARK;

/// Longest that an app may take to say its line: far above what either side needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Time between `TERM` and `KILL`.
const GRACE: Duration = Duration::from_secs(5);

/// Starts it, and waits until it has ended well; the app's first line, and how long that took.
pub(crate) fn to_its_end(
    command: &mut Command,
    scratch: &Path,
) -> anyhow::Result<(String, Duration)> {
    let mut running = Running::start(command, scratch)?;
    let started = running.started;
    let (line, at) = running.line()?;
    let status = running.finish()?;
    ensure!(status.success(), "it ended with {status}");
    Ok((line, at.duration_since(started)))
}

/// A side that was started.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdout: ChildStdout,
    buffer: Vec<u8>,
    /// Before the process was made.
    pub(crate) started: Instant,
    /// Its process.
    pub(crate) pid: Pid,
}

impl Running {
    /// Starts it in a process group of its own; what it complains about goes to a file.
    pub(crate) fn start(command: &mut Command, scratch: &Path) -> anyhow::Result<Self> {
        let complaints =
            OpenOptions::new().create(true).append(true).open(scratch.join("complaints.log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(complaints).process_group(0);
        let started = Instant::now();
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        let stdout = child.stdout.take().context("the child has no stdout")?;
        let pid = Pid::from_raw(i32::try_from(child.id()).context("a PID beyond its type")?);
        Ok(Self { child, stdout, buffer: Vec::new(), started, pid })
    }

    /// Waits for the next line of the app, without its mark, and tells when it was there.
    pub(crate) fn line(&mut self) -> anyhow::Result<(String, Instant)> {
        let end = Instant::now() + PATIENCE;
        loop {
            while let Some(line) = self.buffered() {
                if let Some(text) = line.strip_prefix(MARK) {
                    return Ok((text.to_owned(), Instant::now()));
                }
            }
            let mut waited = [PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)];
            let left = end.saturating_duration_since(Instant::now());
            if poll(&mut waited, PollTimeout::try_from(left)?)? == 0 {
                bail!("the app said nothing within {} s", PATIENCE.as_secs());
            }
            self.read()?;
        }
    }

    /// Reads what is there, once; for a caller that polls many.
    pub(crate) fn read(&mut self) -> anyhow::Result<()> {
        let mut chunk = [0; 4096];
        match self.stdout.read(&mut chunk) {
            Ok(0) => bail!("it ended before the app said anything (see its stderr)"),
            Ok(len) => self.buffer.extend_from_slice(chunk.get(..len).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot read its stdout"),
        }
        Ok(())
    }

    /// The next whole line that was read already.
    pub(crate) fn buffered(&mut self) -> Option<String> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// What to poll for the next line.
    pub(crate) fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)
    }

    /// Waits until it has ended by itself.
    pub(crate) fn finish(mut self) -> anyhow::Result<ExitStatus> {
        match self.wait_until(Instant::now() + PATIENCE)? {
            Some(status) => Ok(status),
            None => bail!("it does not end"),
        }
    }

    /// Asks it to end, and insists.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        kill(self.pid, Signal::SIGTERM).context("cannot ask it to end")?;
        if self.wait_until(Instant::now() + GRACE)?.is_none() {
            bail!("it does not end on SIGTERM");
        }
        Ok(())
    }

    fn wait_until(&mut self, end: Instant) -> anyhow::Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() > end {
                return Ok(None);
            }
            thread::sleep(Duration::from_micros(500));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A waited-for number may belong to somebody else by now.
        if let Ok(None) = self.child.try_wait() {
            let _gone = killpg(self.pid, Signal::SIGKILL);
            drop(self.child.wait());
        }
    }
}
