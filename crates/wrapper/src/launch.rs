//! From values to a started app: the one place that turns the wrapper's words into the session's.

use std::{
    ffi::CString,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
};

use cloudtaser_core::{
    exit::Code,
    level::Agent,
    names::FILE_ROOT,
    plan::{Rotation, RotationAction, Untraceable as Asked},
};
use cloudtaser_sys::{
    harden::placed_variables,
    session::{
        CoreSignals, Delivery, Dumpable, EnvEntry, FileId, FileTable, Launch, LaunchError, Secrets,
        Session, Signals, SlotId, SlotTable, Untraceable,
    },
};

use nix::sys::signal::Signal;

use crate::{
    failure::Failure,
    protection::Mode,
    resolve::{Delivered, Outcome, Place},
    run::Prepared,
};

/// More stack than a launch uses.
pub(crate) const STACK_BYTES: usize = 128 * 1024;

/// Running images that get new values in place; each costs two pages of locked memory.
const KEPT_IMAGES: usize = 64;

/// A started app.
pub(crate) struct Started {
    /// Its session.
    pub(crate) session: Session,
    /// What the session knows each value by.
    pub(crate) held: Vec<(Place, Held)>,
}

/// What a session knows a value by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Held {
    /// A file.
    File(FileId),
    /// A variable.
    Variable(SlotId),
}

/// Starts the app.
pub(crate) fn start(
    prepared: &Prepared,
    signals: Signals,
    outcome: &Outcome,
) -> Result<Started, Failure> {
    let mut table = SlotTable::new();
    let mut held = Vec::new();
    let mut env = Vec::new();
    // What an outer wrapper gave us in secret pages is its app's secret as much as ours are.
    let placed = placed_variables();
    for variable in &outcome.variables {
        let place = Place::Variable(variable.name.clone());
        let mut seal = |value: &[u8]| {
            let slot = table.add(&variable.name, value);
            slot.map_err(|error| Failure::start(&place.to_string(), error))
        };
        env.push(match &variable.value {
            Delivered::Plain(value)
                if placed.iter().any(|known| known.as_bytes() == variable.name) =>
            {
                EnvEntry::Sealed(seal(value)?)
            }
            Delivered::Plain(value) => EnvEntry::Plain(entry(&variable.name, value)?),
            Delivered::Sealed(secret) => {
                let slot = seal(secret.expose())?;
                held.push((place, Held::Variable(slot)));
                EnvEntry::Sealed(slot)
            }
        });
    }
    let mut files = FileTable::new(FILE_ROOT.as_bytes())
        .map_err(|error| Failure::start("its secret files", error))?;
    for (name, secret) in &outcome.files {
        let place = Place::File(name.clone());
        let file = files
            .add(name.as_bytes(), secret.expose())
            .map_err(|error| Failure::start(&place.to_string(), error))?;
        held.push((place, Held::File(file)));
    }
    let has_secrets =
        !files.is_empty() || env.iter().any(|entry| matches!(entry, EnvEntry::Sealed(_)));
    let argv = prepared.command.iter().map(|arg| text(arg.as_bytes().to_vec()));
    let launch = Launch {
        argv: argv.collect::<Result<_, _>>()?,
        program: text(prepared.target.path.clone().into_os_string().into_vec())?,
        env,
        delivery: match prepared.choice.mode {
            // Nothing to follow: execs cost nothing, and debuggers and other supervisors work.
            _ if !has_secrets => Delivery::Plain,
            Mode::Follow => Delivery::ExecFollow,
            Mode::OneShot => Delivery::OneShot,
            Mode::Plain => Delivery::Plain,
        },
        dumpable: if prepared.choice.undumpable { Dumpable::Off } else { Dumpable::Keep },
        untraceable: match prepared.plan.delivery.untraceable {
            Asked::Allow => Untraceable::Allow,
            Asked::Refuse => Untraceable::Refuse,
        },
        privileges: prepared.choice.privileges(),
        // SECURITY: the guard refuses these signals to the app; through us they would reach it.
        core_signals: match prepared.guard.agent {
            Agent::Off => CoreSignals::Forward,
            Agent::Degraded | Agent::Enforcing => CoreSignals::Kill,
        },
        kept_images: match prepared.plan.rotation.action {
            RotationAction::InPlace | RotationAction::Signal => KEPT_IMAGES,
            RotationAction::None | RotationAction::Restart => 0,
        },
    };
    let secrets = Secrets { variables: table, files };
    let session = Session::launch_with(launch, secrets, signals).map_err(failed)?;
    Ok(Started { session, held })
}

/// A launch that the session refused, with the code that container runtimes use.
pub(crate) fn failed(error: LaunchError) -> Failure {
    let code = match error.exit_code() {
        127 => Code::NotFound,
        126 => Code::NotExecutable,
        _ => Code::LaunchFailed,
    };
    Failure::Start {
        what: "the app cannot be started".to_owned(),
        code,
        source: Some(Box::new(error)),
    }
}

/// The signal that tells the app of new values: `HUP` unless the plan names another.
///
/// # Errors
/// [`Failure`] where the plan names none that exists.
pub(crate) fn rotation_signal(rotation: &Rotation) -> Result<Signal, Failure> {
    let Some(name) = &rotation.signal else { return Ok(Signal::SIGHUP) };
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    full.parse().map_err(|_unknown| Failure::Signal { name: name.chars().take(20).collect() })
}

fn entry(name: &[u8], value: &[u8]) -> Result<CString, Failure> {
    text([name, b"=", value].concat())
}

fn text(bytes: Vec<u8>) -> Result<CString, Failure> {
    CString::new(bytes).map_err(|_nul| Failure::Internal("a zero byte in an argument"))
}
