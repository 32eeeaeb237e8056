//! What stays while the app runs: memory, CPU, and whether root finds the secret in it.
//!
//! Sizes are taken before any scan, because reading a page makes it resident. The second scan comes
//! when everything has settled, the first as soon as the app runs; each has a start of its own.

use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::launch::Running;
use crate::memory::{Scan, Tree, Usage, environment_shows};
use crate::subject::{Rotation, Stage, Subject, Task, Transport, sitter};

/// Time in which a side has done what there is to do after the start.
const SETTLED: Duration = Duration::from_millis(1500);

/// One side, once.
#[derive(Debug)]
pub(crate) struct Resident {
    pub(crate) subject: Subject,
    /// The supervisor when the app has said its line.
    pub(crate) first: Usage,
    /// The supervisor later.
    pub(crate) steady: Usage,
    /// Scan of the supervisor at the first line.
    pub(crate) first_scan: Scan,
    /// Scan of the supervisor later.
    pub(crate) steady_scan: Scan,
    /// Scan of the app later.
    pub(crate) app_scan: Scan,
    /// Whether `/proc/PID/environ` of the app has the secret.
    pub(crate) environment_shows: bool,
    processes: usize,
}

impl Resident {
    /// The most copies that were found in the supervisor at any time.
    pub(crate) fn copies(&self) -> usize {
        self.first_scan.copies.max(self.steady_scan.copies)
    }

    /// For the results file.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "who": self.subject.name(),
            "supervisor_processes": self.processes,
            "at_first_line": self.first.to_json(),
            "steady": self.steady.to_json(),
            "scan_at_first_line": self.first_scan.to_json(),
            "scan_steady": self.steady_scan.to_json(),
            "scan_of_app": self.app_scan.to_json(),
            "environ_of_app_shows_it": self.environment_shows,
        })
    }
}

/// Looks at each side so many times, over TLS; at the bare app as the control of the scan.
pub(crate) fn run(
    stage: &Stage<'_>,
    values: &[String],
    rounds: usize,
) -> anyhow::Result<Vec<Resident>> {
    let mut seen = Vec::new();
    for _ in 0..rounds {
        for subject in [Subject::Wrapper, Subject::Bare, Subject::Agent] {
            seen.push(once(stage, subject, values).context(subject.name())?);
        }
    }
    Ok(seen)
}

fn once(stage: &Stage<'_>, subject: Subject, values: &[String]) -> anyhow::Result<Resident> {
    let secret = values.first().context("no secret")?.as_bytes();
    let supervisor = stage.supervisor(subject);

    let running = start(stage, subject, values)?;
    let tree = Tree::of(running.pid, supervisor)?;
    let first = Usage::of(&tree.supervisors)?;
    thread::sleep(SETTLED);
    let tree = Tree::of(running.pid, supervisor)?;
    let steady = Usage::of(&tree.supervisors)?;
    let steady_scan = Scan::of(&tree.supervisors, secret)?;
    let app_scan = Scan::of(&tree.apps, secret)?;
    let environment_shows = environment_shows(&tree.apps, secret)?;
    running.stop()?;

    let running = start(stage, subject, values)?;
    let early = Tree::of(running.pid, supervisor)?;
    let first_scan = Scan::of(&early.supervisors, secret)?;
    running.stop()?;
    let processes = tree.supervisors.len();
    Ok(Resident {
        subject,
        first,
        steady,
        first_scan,
        steady_scan,
        app_scan,
        environment_shows,
        processes,
    })
}

fn start(stage: &Stage<'_>, subject: Subject, values: &[String]) -> anyhow::Result<Running> {
    let app = sitter(values);
    let transport = Transport::Tls;
    let task = Task { subject, transport, rotation: Rotation::Off, app: &app, values };
    let mut running = Running::start(&mut stage.command(&task)?, stage.scratch)?;
    running.line()?;
    Ok(running)
}
