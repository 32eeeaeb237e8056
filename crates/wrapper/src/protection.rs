//! Which delivery this place allows for this program, and what the launch may claim with it.
//!
//! Pure: facts and target in, choice and level out. Each step down from the best has a reason in
//! the words of the platform; a mode that was asked for by name and cannot be had is an error, not
//! a step down.

use cloudtaser_core::{
    ProtectionLevel,
    level::{Attach, Environ, Facets, Memory, Release, Supervisor, Transport},
    plan::{Delivery as Asked, DeliveryMode, Dumpable},
};
use cloudtaser_sys::{
    facts::{Facts, Probe},
    session::Privileges,
    target::{Kind, Target},
};
use nix::errno::Errno;

use crate::guard::Guard;

#[cfg(test)]
mod tests;

/// Attaching to a process that is not dumpable needs a capability that restricted pods lack.
const NOT_BOTH: &str = "without CAP_SYS_PTRACE the programs that a non-dumpable app executes cannot be followed: \
     it is one or the other";

const FILES_ARE_ORDINARY: &str = "secret files: no file can be read from sealed memory, so the value \
     of a file lies in ordinary memory for as long as a process has that file open";

const NO_ELEVATION: &str = "the listener needs no_new_privs: setuid programs (sudo, ping) that the \
     app starts run without elevation";

const NESTED: &str = "the outer supervisor has the listener and must be able to read the programs \
     that a dumpable app executes";

/// What will be done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Choice {
    /// How values reach the app.
    pub(crate) mode: Mode,
    /// Whether the app is made non-dumpable.
    pub(crate) undumpable: bool,
    /// Whether it is given files.
    pub(crate) files: Files,
    /// Whether programs in the tree may still gain privileges.
    pub(crate) elevation: Elevation,
    /// Why it is not better.
    pub(crate) reasons: Vec<String>,
}

/// Whether programs in the app's tree may gain privileges by setuid or file capabilities.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Elevation {
    /// The kernel wants them given up for the listener.
    GivenUp,
    /// As before.
    Kept,
}

/// Whether a plan asks for secret files, which only exec-follow can deliver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Files {
    /// It does not.
    None,
    /// It does.
    Some,
}

/// How values reach the app.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Mode {
    /// An ordinary environment.
    Plain,
    /// Sealed pages in the first image.
    OneShot,
    /// Sealed pages in every image.
    Follow,
}

impl Choice {
    /// The same in the session's words.
    pub(crate) const fn privileges(&self) -> Privileges {
        match self.elevation {
            Elevation::GivenUp => Privileges::NoNew,
            Elevation::Kept => Privileges::Keep,
        }
    }
}

/// A mode that was asked for and cannot be had.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("delivery by {asked} was asked for and cannot be had here: {}", reasons.join("; "))]
pub(crate) struct Unavailable {
    asked: &'static str,
    reasons: Vec<String>,
}

/// Chooses the best delivery, or the one that was asked for.
///
/// # Errors
/// [`Unavailable`] where a mode was named that this place does not allow.
pub(crate) fn choose(
    asked: &Asked,
    facts: &Facts,
    target: Option<&Target>,
    files: Files,
) -> Result<Choice, Unavailable> {
    let mut reasons = Vec::new();
    let best = best(facts, target, &mut reasons);
    let (mode, named) = match asked.mode {
        DeliveryMode::Auto => (best, "auto"),
        DeliveryMode::Follow => (Mode::Follow, "exec-follow"),
        DeliveryMode::OneShot => (Mode::OneShot, "one-shot"),
        DeliveryMode::Plain => {
            reasons.push("the plan asks for an ordinary environment".to_owned());
            (Mode::Plain, "plain")
        }
    };
    if mode > best {
        return Err(Unavailable { asked: named, reasons });
    }
    let follows_undumpable = facts.tracing.seize_undumpable.works();
    let mode = match (asked.dumpable, mode) {
        (Dumpable::Off, Mode::Follow) if !follows_undumpable => {
            reasons.push(NOT_BOTH.to_owned());
            if asked.mode == DeliveryMode::Follow {
                return Err(Unavailable { asked: named, reasons });
            }
            Mode::OneShot
        }
        (_, mode) => mode,
    };
    // SECURITY: fail closed: an app that waits for a file must not start without it.
    if files == Files::Some && mode != Mode::Follow {
        return Err(Unavailable { asked: "secret files (which need exec-follow)", reasons });
    }
    if files == Files::Some {
        reasons.push(FILES_ARE_ORDINARY.to_owned());
    }
    let undumpable = match (asked.dumpable, mode) {
        // Nothing of ours is in a plainly started app that could ask for it.
        (_, Mode::Plain) => false,
        (Dumpable::Keep, _) => {
            reasons.push("the plan leaves the app dumpable".to_owned());
            false
        }
        (Dumpable::Auto, Mode::Follow) if !follows_undumpable => {
            reasons.push(NOT_BOTH.to_owned());
            false
        }
        // One-shot for want of a listener that somebody outside has, who will want to look.
        (Dumpable::Auto, Mode::OneShot) if !follows_undumpable && is_nested(facts) => {
            reasons.push(NESTED.to_owned());
            false
        }
        _ => true,
    };
    let elevation = match mode {
        Mode::Follow if facts.tracing.listener_needs_no_new_privileges => {
            if !facts.identity.no_new_privileges {
                reasons.push(NO_ELEVATION.to_owned());
            }
            Elevation::GivenUp
        }
        _ => Elevation::Kept,
    };
    Ok(Choice { mode, undumpable, files, elevation, reasons })
}

/// Whether somebody outside has the one listener that a process may have.
fn is_nested(facts: &Facts) -> bool {
    facts.tracing.listener == Probe::Refused(Errno::EBUSY)
}

/// What is measured beside the facts of the place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured<'a> {
    /// Whether the supervisor's whole heap is sealed memory.
    pub(crate) heap_sealed: bool,
    /// The way to OpenBao.
    pub(crate) transport: Transport,
    /// Who decides on each release.
    pub(crate) release: Release,
    /// What the node agent does.
    pub(crate) guard: &'a Guard,
}

/// What the launch may claim.
pub(crate) fn level(choice: &Choice, facts: &Facts, measured: Measured<'_>) -> ProtectionLevel {
    let Measured { heap_sealed, transport, release, guard } = measured;
    let yama = facts.kernel.yama_scope.known().copied().unwrap_or(0);
    let facets = Facets {
        memory: match (choice.mode, choice.files) {
            (Mode::Plain, _) => Memory::Plain,
            (_, Files::Some) => Memory::Transient,
            (_, Files::None) => Memory::Sealed,
        },
        environ: match choice.mode {
            Mode::Plain => Environ::Plain,
            Mode::OneShot => Environ::FirstImage,
            Mode::Follow => Environ::Hidden,
        },
        supervisor: if heap_sealed { Supervisor::Sealed } else { Supervisor::Wiped },
        attach: match (choice.undumpable, yama) {
            (true, _) => Attach::Refused,
            (false, 0) => Attach::Open,
            (false, _) => Attach::Ancestors,
        },
        transport,
        release,
        agent: guard.agent,
    };
    let mut reasons = choice.reasons.clone();
    if !heap_sealed {
        reasons.push(
            "the supervisor's heap does not fit the limit on locked memory (RLIMIT_MEMLOCK)"
                .to_owned(),
        );
    }
    reasons.extend(guard.reasons.iter().cloned());
    ProtectionLevel::from_facets(facets, reasons)
}

fn best(facts: &Facts, target: Option<&Target>, reasons: &mut Vec<String>) -> Mode {
    if let Some(why) = refusal(facts.secret_memory) {
        reasons.push(format!("no sealed memory: memfd_secret {why}"));
        return Mode::Plain;
    }
    if let Some(why) = refusal(facts.tracing.trace_me) {
        reasons.push(format!("values cannot be placed: ptrace {why}"));
        return Mode::Plain;
    }
    if let Some(target) = target
        && let Some(why) = unplaceable(facts, target)
    {
        reasons.push(why);
        return Mode::Plain;
    }
    if let Some(why) = refusal(facts.tracing.listener) {
        reasons.push(format!("later programs cannot be followed: the seccomp listener {why}"));
        return Mode::OneShot;
    }
    if let Some(why) = refusal(facts.tracing.seize) {
        reasons.push(format!("later programs cannot be followed: attaching {why}"));
        return Mode::OneShot;
    }
    Mode::Follow
}

/// Why values cannot be placed into this program.
fn unplaceable(facts: &Facts, target: &Target) -> Option<String> {
    let target = target.program();
    match &target.kind {
        Kind::Foreign(_) => {
            return Some("the program is for another architecture, or 32-bit".to_owned());
        }
        Kind::Unrecognised => {
            return Some("the program is neither ELF nor a script with #!".to_owned());
        }
        Kind::Native(_) | Kind::Script(_) | Kind::Unreadable => {}
    }
    let root = facts.tracing.seize_undumpable.works();
    if !root && !target.readable {
        return Some("the program is execute-only: its image cannot be written to".to_owned());
    }
    if !root && target.privileged && !facts.identity.no_new_privileges {
        return Some(
            "the program is setuid or has file capabilities: placed values would take them away"
                .to_owned(),
        );
    }
    None
}

/// Why a probe did not work, in words.
fn refusal(probe: Probe) -> Option<String> {
    probe.reason().map(|errno| format!("is refused ({errno})"))
}
