//! Many starts at once, as when a node comes up: all are started as fast as one thread can, each is
//! timed from its own start, and all share the machine with the server that answers them.

use std::time::Instant;

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use crate::launch::{PATIENCE, Running};
use crate::stats::Samples;
use crate::subject::{MARK, Rotation, Stage, Subject, Task, Transport, teller};

use super::start::milliseconds;

/// One side, so many at once, over all rounds.
#[derive(Debug)]
pub(crate) struct Storm {
    pub(crate) subject: Subject,
    pub(crate) at_once: usize,
    /// Milliseconds of each to its first line.
    pub(crate) times: Samples,
    /// Milliseconds from the first start to the last line, of each round.
    pub(crate) whole: Samples,
    /// Starts without the right line or with another exit code than 0.
    pub(crate) failures: usize,
}

impl Storm {
    /// For the results file.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "who": self.subject.name(),
            "at_once": self.at_once,
            "first_line_ms": self.times.to_json(),
            "all_ms": self.whole.to_json(),
            "failures": self.failures,
        })
    }

    fn once(&mut self, stage: &Stage<'_>, values: &[String]) -> anyhow::Result<()> {
        let app = teller(values);
        let (subject, transport) = (self.subject, Transport::Tls);
        let task = Task { subject, transport, rotation: Rotation::Off, app: &app, values };
        let mut command = stage.command(&task)?;
        let mut waiting = Vec::new();
        for _ in 0..self.at_once {
            waiting.push(Running::start(&mut command, stage.scratch)?);
        }
        let begun = waiting.first().map(|running| running.started).context("none was started")?;
        let expected = format!("{MARK}{}", values.last().context("no secret")?);
        let end = Instant::now() + PATIENCE;
        let mut last = begun;
        let mut told = Vec::new();
        while !waiting.is_empty() && Instant::now() < end {
            let ready = ready(&waiting, end)?;
            let mut still = Vec::new();
            for (mut running, ready) in waiting.into_iter().zip(ready) {
                if !ready {
                    still.push(running);
                } else if running.read().is_err() {
                    self.failures += 1;
                } else if has_line(&mut running, &expected) {
                    last = Instant::now();
                    self.times.push(milliseconds(last.duration_since(running.started)));
                    told.push(running);
                } else {
                    still.push(running);
                }
            }
            waiting = still;
        }
        self.failures += waiting.len();
        self.whole.push(milliseconds(last.duration_since(begun)));
        for running in told {
            self.failures += usize::from(!running.finish().is_ok_and(|status| status.success()));
        }
        Ok(())
    }
}

/// Runs each number at once in each round. The agent takes 75 MB and two seconds for each start,
/// so it gets small numbers only.
pub(crate) fn run(
    stage: &Stage<'_>,
    values: &[String],
    rounds: usize,
) -> anyhow::Result<Vec<Storm>> {
    let numbers = [
        (Subject::Bare, 1),
        (Subject::Wrapper, 1),
        (Subject::Agent, 1),
        (Subject::Bare, 20),
        (Subject::Wrapper, 20),
        (Subject::Agent, 5),
        (Subject::Bare, 100),
        (Subject::Wrapper, 100),
    ];
    let mut storms: Vec<Storm> = numbers
        .into_iter()
        .map(|(subject, at_once)| {
            let (times, whole) = Default::default();
            Storm { subject, at_once, times, whole, failures: 0 }
        })
        .collect();
    for _ in 0..rounds {
        for storm in &mut storms {
            storm.once(stage, values)?;
        }
    }
    Ok(storms)
}

/// Which of them have something to read; waits until one has.
fn ready(waiting: &[Running], end: Instant) -> anyhow::Result<Vec<bool>> {
    let mut fds: Vec<PollFd<'_>> = waiting.iter().map(Running::poll_fd).collect();
    let left = end.saturating_duration_since(Instant::now());
    poll(&mut fds, PollTimeout::try_from(left)?).context("poll failed")?;
    let some = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| events != PollFlags::empty());
    Ok(fds.iter().map(some).collect())
}

fn has_line(running: &mut Running, expected: &str) -> bool {
    while let Some(line) = running.buffered() {
        if line == expected {
            return true;
        }
    }
    false
}
