//! A node agent for the second half of the demo, where the kernel lets one work.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use cloudtaser_core::names;
use serde::Serialize;
use serde_json::Value;

use super::{interrupt::Interrupts, scratch::Scratch};

/// Loading and one attack take a second or two; an emulated machine takes minutes.
const PATIENCE: Duration = Duration::from_secs(240);
/// An agent that was told to end detaches its programs, which waits for their last callers.
const FAREWELL: Duration = Duration::from_secs(20);

/// What was known of an agent while the apps ran under the wrapper.
#[derive(Debug, Serialize)]
pub(crate) struct AgentState {
    /// Whether one guarded them.
    pub(crate) runs: bool,
    /// What it said of itself, or why there is none.
    pub(crate) state: String,
}

/// An agent of ours. It goes when it is dropped, and when this process ends in any way.
#[derive(Debug)]
pub(crate) struct Agent {
    /// The agent ends when nobody holds the other end of its standard input: it lets nobody
    /// signal it.
    input: Option<ChildStdin>,
    child: Child,
}

impl Agent {
    /// Starts one and waits for what it says of itself.
    pub(crate) fn start(
        program: Option<PathBuf>,
        wrapper: &Path,
        scratch: &Scratch,
        interrupts: &Interrupts,
    ) -> Result<(Option<Self>, AgentState)> {
        let none = |state: String| Ok((None, AgentState { runs: false, state }));
        let Some(program) = program else {
            return none("its program is not beside this one nor on the PATH".to_owned());
        };
        if Path::new(names::AGENT_SOCKET).exists() {
            // One that runs already is what the wrapper finds.
            return none("one is here already".to_owned());
        }
        let log = scratch.path("agent.log");
        let mut command = Command::new(&program);
        command.args(["run", "--while-stdin-open", "--wrapper"]).arg(wrapper);
        command.env_clear().current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null());
        command.stderr(File::create(&log)?);
        let what = || format!("cannot start {}", program.display());
        let mut child = command.spawn().with_context(what)?;
        let input = child.stdin.take();
        let mut agent = Self { input, child };
        let said = interrupts.wait(PATIENCE, || {
            let ended = agent.child.try_wait()?.is_some();
            let state = last_state(&log);
            Ok(if ended { Some(state.unwrap_or_else(|| "it ended".to_owned())) } else { state })
        })?;
        let state = said.unwrap_or_else(|| "it did not say what it is worth".to_owned());
        if agent.child.try_wait()?.is_some() {
            return none(state);
        }
        Ok((Some(agent), AgentState { runs: true, state }))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.input.take());
        let until = Instant::now() + FAREWELL;
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The last state in the agent's log, which is lines of JSON.
fn last_state(log: &Path) -> Option<String> {
    let said = fs::read_to_string(log).ok()?;
    let lines = said.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let state = |line: Value| {
        let word = |key| line.get(key).and_then(Value::as_str);
        word(if word("event") == Some("failed") { "why" } else { "state" }).map(str::to_owned)
    };
    lines.into_iter().find_map(state)
}
