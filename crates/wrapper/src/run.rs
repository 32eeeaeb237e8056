//! One run, step by step: settle what is asked, see what the place allows, fetch, start, stay.

use std::{
    ffi::OsString,
    io::{Read as _, Write as _},
    os::unix::ffi::OsStringExt as _,
    path::Path,
    time::{Duration, Instant},
};

use cloudtaser_core::{
    ProtectionLevel,
    exit::Code,
    level::Transport,
    plan::{LaunchPlan, LogFormat, LogLevel},
};
use cloudtaser_sys::{facts::Facts, harden, heap, session::Signals, target::Target};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    args::{Purpose, Run},
    chain::Chain,
    connect,
    explain::explain,
    failure::Failure,
    fetch::{self, Fetched, fetch},
    guard::Guard,
    launch,
    log::Log,
    protection::{self, Choice, Files, Measured},
    resolve::{Delivered, Outcome, Resolved},
    settings::{self, CREDENTIALS, PlanDocument, Settings},
    supervise,
    variables::{Variables, Wanted},
};

/// How soon an agent that is awaited is asked again.
const AGAIN: Duration = Duration::from_millis(250);

/// Runs, and gives the exit code.
pub(crate) fn run(asked: Run) -> u8 {
    let mut log = Log::default();
    match try_run(asked, &mut log) {
        Ok(number) => number,
        Err(failure) => {
            log.error(&Chain(&failure).to_string(), &[("exit", failure.number().into())]);
            failure.number()
        }
    }
}

/// A run whose every question is answered but the values.
pub(crate) struct Prepared {
    /// What to start, with its arguments.
    pub(crate) command: Vec<OsString>,
    /// The program that the command's first word is.
    pub(crate) target: Target,
    /// How values reach it.
    pub(crate) choice: Choice,
    /// What the node agent did before anything was fetched.
    pub(crate) guard: Guard,
    /// The plan.
    pub(crate) plan: LaunchPlan,
    /// What tells the app of new values.
    pub(crate) tell: Signal,
    /// The log.
    pub(crate) log: Log,
}

fn try_run(asked: Run, log: &mut Log) -> Result<u8, Failure> {
    // SECURITY: before anything secret is in this process, so that no other of the same uid attaches.
    harden::forbid_dumps().map_err(Failure::system("prctl(PR_SET_DUMPABLE)"))?;
    let mut settings = settle(&asked)?;
    *log = Log::new(settings.plan.log.format, settings.plan.log.level);
    // SECURITY: before anything is fetched, and before anything is started that the app descends from.
    let mut guard = Guard::ask(&settings.plan);
    let variables = Variables::parse(std::mem::take(&mut settings.app), &settings.plan)?;
    for suspicion in &variables.suspicions {
        log.warn(suspicion, &[]);
    }
    let target = asked.command.first().map(|word| find(word, &variables)).transpose()?;
    let facts = Facts::probe();
    let files = if variables.files.is_empty() { Files::None } else { Files::Some };
    let choice = protection::choose(&settings.plan.delivery, &facts, target.as_ref(), files)?;
    let transport = connect::transport(&settings.plan.server);
    let release = connect::release(&settings.plan.server);
    let promised = |guard: &Guard| {
        let heap_sealed = heap::state().is_sealed();
        protection::level(&choice, &facts, Measured { heap_sealed, transport, release, guard })
    };
    if asked.purpose == Purpose::Explain {
        return explained(&promised(&guard), &guard, &settings.plan);
    }
    let Some(target) = target else {
        return Err(Failure::Internal("a launch without a command"));
    };
    let signals = Signals::block().map_err(Failure::system("signalfd"))?;
    let until = Instant::now() + fetch::within(&settings.plan);
    while guard.is_coming(&settings.plan) && Instant::now() < until {
        fetch::pause(&signals, AGAIN)?;
        guard = Guard::ask(&settings.plan);
    }
    let promised = promised(&guard);
    let (command, plan, log) = (asked.command, settings.plan.clone(), *log);
    let tell = launch::rotation_signal(&plan.rotation)?;
    let prepared = Prepared { command, target, choice, guard, plan, tell, log };
    demand(&promised, &prepared.plan)?;
    if !variables.need_openbao() {
        log.debug("no variable refers to OpenBao: the app gets its environment as it is");
        return supervise::without_secrets(prepared, signals, as_it_is(variables));
    }
    if let Some(delay) = prepared.plan.reads.delay {
        std::thread::sleep(delay.0);
    }
    let home = connect::home(&mut settings, &promised, &prepared.guard)?;
    drop(settings);
    let mut fetched = fetch(home, variables, &prepared.plan, &signals)?;
    if let Err(failure) = report(&prepared, &facts, transport, &mut fetched) {
        // A launch that fails leaves no token behind, as far as OpenBao can be reached.
        let _given_back = fetched.bao.give_back();
        return Err(failure);
    }
    supervise::with_secrets(prepared, signals, fetched)
}

/// Plan, environment and flags brought together; credentials wiped from where they came.
fn settle(asked: &Run) -> Result<Settings, Failure> {
    let environment = harden::take_environment(CREDENTIALS)
        .map_err(|error| Failure::start("its environment cannot be read", error))?;
    let environment =
        environment.into_iter().map(|(n, v)| (n.into_vec(), v.into_vec())).collect::<Vec<_>>();
    let document = match &asked.plan {
        Some(path) => Some(read_plan(path)?),
        None => named_plan(&environment)?,
    };
    let mut settings = settings::gather(environment, document)?;
    settings.plan.require.extend(&asked.require);
    settings.plan.files.extend(asked.files.iter().cloned());
    if let Some(json) = asked.json_log {
        settings.plan.log.format = if json { LogFormat::Json } else { LogFormat::Text };
    }
    if asked.quiet {
        settings.plan.log.level = settings.plan.log.level.max(LogLevel::Warn);
    }
    Ok(settings)
}

/// A plan in the environment itself wins: the webhook sets it, and a ConfigMap can add the other.
fn named_plan(environment: &settings::Environment) -> Result<Option<PlanDocument>, Failure> {
    let inline = cloudtaser_core::names::ENV_PLAN.as_bytes();
    if environment.iter().any(|(known, value)| known == inline && !value.is_empty()) {
        return Ok(None);
    }
    let name = cloudtaser_core::names::ENV_PLAN_FILE.as_bytes();
    let path = environment.iter().find(|(known, _)| known == name).map(|(_, path)| path.clone());
    path.map(|path| read_plan(&OsString::from_vec(path))).transpose()
}

fn read_plan(path: &OsString) -> Result<PlanDocument, Failure> {
    let origin = path.to_string_lossy().into_owned();
    let mut json = Vec::new();
    let read = if path == "-" {
        std::io::stdin().lock().read_to_end(&mut json).map(drop)
    } else {
        std::fs::read(path).map(|bytes| json = bytes)
    };
    match read {
        Ok(()) => Ok(PlanDocument { origin, json }),
        Err(source) => Err(Failure::PlanFile { path: origin, source }),
    }
}

/// Finds the program as `execvp` would, before anything is fetched for it.
fn find(word: &OsString, variables: &Variables) -> Result<Target, Failure> {
    let path = variables.each.iter().find(|variable| variable.name == b"PATH");
    let path = path.and_then(|variable| match &variable.wanted {
        Wanted::Plain(path) => Some(OsString::from_vec(path.clone())),
        Wanted::Fetched(_) => None,
    });
    Target::resolve(word, path.as_deref(), Path::new(".")).map_err(Failure::Target)
}

fn explained(level: &ProtectionLevel, guard: &Guard, plan: &LaunchPlan) -> Result<u8, Failure> {
    let text = match plan.log.format {
        LogFormat::Json => format!("{}\n", json!(level)),
        LogFormat::Text => explain(level, guard.said.as_deref()),
    };
    // A reader that has gone away wanted no more.
    drop(std::io::stdout().write_all(text.as_bytes()));
    demand(level, plan)?;
    Ok(Code::Ok.number())
}

fn demand(level: &ProtectionLevel, plan: &LaunchPlan) -> Result<(), Failure> {
    let unmet = level.unmet(&plan.require);
    if unmet.is_empty() {
        Ok(())
    } else {
        Err(Failure::Level { unmet, reasons: level.reasons.clone() })
    }
}

/// Tells the level that was reached, now that the heap has held everything, the connection stands
/// and the agent has been asked again, and checks the requirements against that.
fn report(
    prepared: &Prepared,
    facts: &Facts,
    transport: Transport,
    fetched: &mut Fetched,
) -> Result<(), Failure> {
    let transport = fetched.bao.transport(transport);
    let guard = prepared.guard.clone().or_weaker(Guard::ask(&prepared.plan));
    let measured = Measured {
        heap_sealed: heap::state().is_sealed(),
        transport,
        release: connect::release(&prepared.plan.server),
        guard: &guard,
    };
    let level = protection::level(&prepared.choice, facts, measured);
    for warning in &fetched.outcome.warnings {
        prepared.log.warn(warning, &[]);
    }
    if prepared.plan.log.level <= LogLevel::Info {
        prepared.log.document(&json!({ "cloudtaser": "protection-level", "level": level }));
        let receipts = fetched.bao.take_receipts();
        if !receipts.is_empty() {
            prepared.log.document(&json!({ "cloudtaser": "receipts", "receipts": receipts }));
        }
    }
    demand(&level, &prepared.plan)
}

fn as_it_is(variables: Variables) -> Outcome {
    let plain = variables.each.into_iter().filter_map(|variable| match variable.wanted {
        Wanted::Plain(value) => {
            Some(Resolved { name: variable.name, value: Delivered::Plain(value) })
        }
        Wanted::Fetched(_) => None,
    });
    Outcome { variables: plain.collect(), ..Outcome::default() }
}
