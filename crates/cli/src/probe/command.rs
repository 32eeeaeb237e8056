//! `cloudtaser probe`.

use std::{ops::ControlFlow, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{ArgGroup, Args};
use cloudtaser_core::exit::Code;

use super::{Activity, Destruction, Needle, Options, Target, as_uid, as_uid::Identity};
use crate::ui;

/// What a target that gave its secret is answered with.
const GIVEN: u8 = 1;

const AFTER: &str = "\
Examples:
  cloudtaser probe 4711 --canary-file /run/canary          every road, as you
  sudo cloudtaser probe 4711 --canary-file - --as-uid 1000 < canary
                                                           what another process of uid 1000 gets
  cloudtaser probe 4711 --canary-env DB_PASSWORD --json    for scripts
  cloudtaser probe 4711 --tree --no-active --needle-fd 3 3< canary

The canary is never taken from the command line, which every process on the machine can read.

Active roads stop the target for some milliseconds and run code in it. A debugger that called into
it may leave copies of the value behind; use --no-active on a process that matters.

Exit: 0 no road gave the canary, 1 at least one did, 64 usage, 69 the process is gone.

JSON: {schema, caller {uid, gid, capabilities}, found, processes [{pid, name, roads [{road,
adversary T1|T3, kind passive|active, access open|closed|absent|skipped, errno?, found, places
[{place, copies}], note}]}]}. Fields are added, never renamed.";

/// Attacks a running process: tries every road by which others could read its secrets.
#[derive(Args, Debug)]
#[command(after_help = AFTER, group = ArgGroup::new("canary").required(true))]
pub(crate) struct ProbeArgs {
    /// The process to attack.
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pid: i32,
    /// Read the canary, the value to look for, from a file; `-` is standard input.
    #[arg(long, value_name = "FILE", group = "canary")]
    canary_file: Option<PathBuf>,
    /// Take the canary from this variable of your own environment; debuggers ask for the same name.
    #[arg(long, value_name = "NAME", group = "canary")]
    canary_env: Option<String>,
    /// Read the canary from an open descriptor.
    #[arg(long, value_name = "N", group = "canary")]
    needle_fd: Option<u32>,
    /// The variable that a debugger makes the target look up.
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Probe all descendants too.
    #[arg(long)]
    tree: bool,
    /// Try the active roads (the default).
    #[arg(long, overrides_with = "no_active")]
    active: bool,
    /// Only read; run nothing inside the target.
    #[arg(long)]
    no_active: bool,
    /// Also kill the target to get a core file from the kernel.
    #[arg(long)]
    destructive: bool,
    /// Probe as this user, without capabilities. The group is the target's unless given.
    #[arg(long, value_name = "UID[:GID]")]
    as_uid: Option<Identity>,
}

/// Runs the verb.
pub(crate) fn run(args: &ProbeArgs) -> Result<ExitCode> {
    let needle = needle(args)?;
    let target = Target::new(args.pid);
    let options = Options {
        active: if args.no_active { Activity::PassiveOnly } else { Activity::Active },
        destruction: if args.destructive { Destruction::Allowed } else { Destruction::Forbidden },
        variable: args.env.as_deref().or(args.canary_env.as_deref()),
    };
    let report = match args.as_uid {
        Some(identity) => as_uid::probe(target, args.tree, &needle, options, identity)?,
        None => {
            let mut targets = vec![target];
            targets.extend(args.tree.then(|| target.descendants()).into_iter().flatten());
            let progress = ui::Progress::start();
            super::probe(&targets, &needle, options, |target, road| {
                progress.say(&format!("{}: {}", target.pid(), road.what()));
                ControlFlow::Continue(())
            })?
        }
    };
    if args.json {
        ui::line(&serde_json::to_string_pretty(&report)?);
    } else {
        ui::probe::show(&report);
    }
    Ok(if report.found { ExitCode::from(GIVEN) } else { ExitCode::from(Code::Ok.number()) })
}

fn needle(args: &ProbeArgs) -> Result<Needle, super::needle::NeedleError> {
    match (&args.canary_file, &args.canary_env, args.needle_fd) {
        (Some(path), _, _) => Needle::from_file(path),
        (_, Some(name), _) => Needle::from_env(name),
        // clap lets nobody through without one of the three.
        (_, _, fd) => Needle::from_fd(fd.unwrap_or(0)),
    }
}
