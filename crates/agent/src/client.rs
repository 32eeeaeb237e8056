//! The verbs that ask a running agent: `status`, `protect`, `guard`.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::bail;
use cloudtaser_core::agent::{Answer, Question};
use cloudtaser_core::exit::Code;
use cloudtaser_core::level;

use crate::pins::Pins;
use crate::socket::ask;

/// What `status` ends with when some roads are open.
const DEGRADED: u8 = 1;

/// What `status` is asked.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Whom to guard.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct ProtectArgs {
    /// A running process. What it started before stays unguarded.
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pid: i32,
}

/// What to start.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct GuardArgs {
    /// Start the program even where some roads are open.
    #[arg(long)]
    degraded: bool,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Prints what the agent is worth.
pub(crate) fn status(args: StatusArgs, socket: &Path) -> anyhow::Result<u8> {
    let answer = match ask(socket, &Question::Status) {
        Ok(answer) => answer,
        Err(error) => {
            print(&format!("OFF({error:#}{})", pinned()))?;
            return Ok(Code::Unavailable.number());
        }
    };
    match answer.report {
        Some(report) if args.json => print(&serde_json::to_string_pretty(&report)?)?,
        _ => print(&answer.text)?,
    }
    Ok(match answer.state {
        level::Agent::Enforcing => Code::Ok.number(),
        level::Agent::Degraded => DEGRADED,
        level::Agent::Off => Code::Unavailable.number(),
    })
}

/// Has a running process guarded.
pub(crate) fn protect(args: ProtectArgs, socket: &Path) -> anyhow::Result<u8> {
    let answer = ask(socket, &Question::Protect { pid: args.pid })?;
    print(&answer.text)?;
    Ok(if answer.done { Code::Ok.number() } else { Code::Unavailable.number() })
}

/// Becomes a guarded program, or does not start it.
pub(crate) fn guard(args: &GuardArgs, socket: &Path) -> anyhow::Result<u8> {
    let Answer { done, state, text, .. } = ask(socket, &Question::Guard)?;
    let least = if args.degraded { level::Agent::Degraded } else { level::Agent::Enforcing };
    let enough = state >= least;
    if !done || !enough {
        bail!("not started: {text}");
    }
    let Some((program, arguments)) = args.command.split_first() else { bail!("no program") };
    // The mark is on this process and stays over the exec.
    Err(Command::new(program).args(arguments).exec().into())
}

/// What an agent that is gone left in the kernel, as far as this process may look.
fn pinned() -> String {
    match Pins::find().map_or(0, |pins| pins.count()) {
        0 => String::new(),
        count => format!("; {count} programs of an earlier agent are still pinned"),
    }
}

fn print(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}
