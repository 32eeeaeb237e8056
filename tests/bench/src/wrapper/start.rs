//! From the start of a side to the first line of the app, and the CPU that it took to the end.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde_json::{Value, json};

use crate::launch;
use crate::stats::Samples;
use crate::subject::{Rotation, Stage, Subject, Task, Transport, teller};
use crate::ui;

/// A side that fails this often is not measured but broken.
const TOO_OFTEN: usize = 3;

/// One side in one setting, with what was seen.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) subject: Subject,
    pub(crate) transport: Transport,
    pub(crate) secrets: usize,
    /// Milliseconds to the first line.
    pub(crate) times: Samples,
    /// Milliseconds of CPU, user and system, of the side and the app together.
    pub(crate) cpu: Samples,
    failures: Vec<String>,
}

impl Case {
    /// Not measured yet.
    pub(crate) fn new(subject: Subject, transport: Transport, secrets: usize) -> Self {
        let (times, cpu) = Default::default();
        Self { subject, transport, secrets, times, cpu, failures: Vec::new() }
    }

    /// For the results file.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "who": self.subject.name(),
            "transport": self.transport.name(),
            "secrets": self.secrets,
            "first_line_ms": self.times.to_json(),
            "cpu_ms_with_app": self.cpu.to_json(),
            "failures": self.failures,
        })
    }

    fn once(&mut self, stage: &Stage<'_>, values: &[String]) -> anyhow::Result<()> {
        let values = values.get(..self.secrets).context("too few secrets")?;
        let app = teller(values);
        let (subject, transport) = (self.subject, self.transport);
        let task = Task { subject, transport, rotation: Rotation::Off, app: &app, values };
        let mut command = stage.command(&task)?;
        let before = cpu_of_ended()?;
        let (line, took) = launch::to_its_end(&mut command, stage.scratch)?;
        ensure!(Some(&line) == values.last(), "the app got another value");
        self.times.push(milliseconds(took));
        self.cpu.push(milliseconds(cpu_of_ended()?.saturating_sub(before)));
        Ok(())
    }
}

/// Runs the cases in turn; the agent in as many of the rounds as are asked for, spread over all.
pub(crate) fn run(
    stage: &Stage<'_>,
    values: &[String],
    cases: &mut [Case],
    rounds: usize,
    agent_rounds: usize,
) -> anyhow::Result<()> {
    for round in 0..rounds {
        let with_agent = round * agent_rounds % rounds < agent_rounds;
        for turn in 0..cases.len() {
            let at = (turn + round) % cases.len();
            let Some(case) = cases.get_mut(at) else { continue };
            if case.subject == Subject::Agent && !with_agent {
                continue;
            }
            if let Err(error) = case.once(stage, values) {
                ui::complain(&format!("{}: {error:#}", case.subject.name()));
                case.failures.push(format!("{error:#}"));
                if case.failures.len() >= TOO_OFTEN {
                    bail!("{} failed {TOO_OFTEN} times", case.subject.name());
                }
            }
        }
    }
    Ok(())
}

/// A duration as results have it.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// CPU of all processes that were waited for, with theirs.
fn cpu_of_ended() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage failed")?;
    let sum = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(sum)?))
}
