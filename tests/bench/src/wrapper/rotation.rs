//! From a write that the server has acknowledged until the running app has the new value.
//!
//! The wrapper looks every 500 ms and writes in place; the agent looks every second, the shortest
//! that it takes, and starts the app again. The writes come at shifting phases of both polls.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::launch::Running;
use crate::stats::Samples;
use crate::subject::{Rotation, Stage, Subject, Task, Transport};
use crate::{app, random};

use super::start::milliseconds;

/// Between two writes, apart from the phase.
const PAUSE: Duration = Duration::from_millis(600);
/// Added to the pause once more each time, within a poll; divides no poll.
const PHASE_STEP_MS: u64 = 137;
/// The wrapper's poll.
const POLL_MS: u64 = 500;

/// One side.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) subject: Subject,
    /// Milliseconds from the acknowledged write until the app told the new value.
    pub(crate) times: Samples,
    /// How often the app was another process then.
    pub(crate) restarts: usize,
}

impl Seen {
    /// For the results file.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "who": self.subject.name(),
            "write_to_app_ms": self.times.to_json(),
            "restarts": self.restarts,
        })
    }
}

/// Rotates so many times on each side.
pub(crate) fn run(
    stage: &Stage<'_>,
    rotations: usize,
    agent_rotations: usize,
) -> anyhow::Result<Vec<Seen>> {
    let app = std::env::current_exe().context("cannot find the bench program")?;
    let sides = [(Subject::Wrapper, rotations), (Subject::Agent, agent_rotations)];
    let seen = sides.map(|(subject, times)| {
        rotate(stage, subject, &app, times).with_context(|| format!("rotation, {}", subject.name()))
    });
    seen.into_iter().collect()
}

fn rotate(
    stage: &Stage<'_>,
    subject: Subject,
    app: &Path,
    rotations: usize,
) -> anyhow::Result<Seen> {
    let app = app.to_str().context("the path of the bench is not UTF-8")?;
    let app = [app.to_owned(), app::VERB.to_owned()];
    let mut value = random::hex(20)?;
    stage.server.write(1, &value)?;
    let values = [value.clone()];
    let transport = Transport::Tls;
    let task = Task { subject, transport, rotation: Rotation::On, app: &app, values: &values };
    let mut running = Running::start(&mut stage.command(&task)?, stage.scratch)?;
    let mut process = told(&mut running, &value)?.0;
    let mut seen = Seen { subject, times: Samples::default(), restarts: 0 };
    for step in (0..).take(rotations) {
        thread::sleep(PAUSE + Duration::from_millis(step * PHASE_STEP_MS % POLL_MS));
        value = random::hex(20)?;
        stage.server.write(1, &value)?;
        let written = Instant::now();
        let (teller, at) = told(&mut running, &value)?;
        seen.times.push(milliseconds(at.saturating_duration_since(written)));
        seen.restarts += usize::from(teller != process);
        process = teller;
    }
    running.stop()?;
    Ok(seen)
}

/// Waits for the value; gives the process that told it, and when. A restarted app may tell the old
/// value once more, and a value that is being written may be seen half.
fn told(running: &mut Running, value: &str) -> anyhow::Result<(String, Instant)> {
    for _ in 0..10 {
        let (line, at) = running.line()?;
        let (process, text) = line.split_once(':').context("a line without a process")?;
        ensure!(text.len() == value.len(), "a value of another length");
        if text == value {
            return Ok((process.to_owned(), at));
        }
    }
    bail!("the app does not get the new value");
}
