//! One app, started one way, and every attack on it.

use std::{
    fs::{self, File},
    ops::ControlFlow,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{
    apps::{self, App, Mode, VARIABLE, Vault},
    interrupt::{Interrupted, Interrupts},
    outcome::{Attack, Attacker, Trial},
    scratch::{AppUser, Running, Scratch},
    user,
};
use crate::{
    probe::{
        self, Activity, Destruction, Needle, Options, ProbeError, Target,
        as_uid::{self, Identity},
    },
    ui,
};

/// Login, one read and the start of an interpreter take milliseconds; a loaded machine takes longer,
/// and an emulated one much longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Length of a SHA-256 in hex.
const DIGEST: usize = 64;

/// `comm` of the wrapper, which the kernel cuts at 15 bytes.
const WRAPPER_NAME: &str = "cloudtaser-wrap";

/// Who can attack here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Attackers {
    /// The caller, who is the apps' user.
    CallerOnly,
    /// The apps' user and root.
    UserAndRoot,
}

impl Attackers {
    /// Root can play both.
    pub(crate) fn here() -> Self {
        if nix::unistd::geteuid().is_root() { Self::UserAndRoot } else { Self::CallerOnly }
    }
}

/// What all trials share.
pub(crate) struct Stage<'a> {
    pub(crate) scratch: &'a Scratch,
    pub(crate) interrupts: &'a Interrupts,
    pub(crate) progress: &'a ui::Progress,
    pub(crate) user: AppUser,
    pub(crate) vault: Vault<'a>,
    pub(crate) canary: &'a str,
    pub(crate) proof: &'a str,
    pub(crate) needle: Needle,
    pub(crate) attackers: Attackers,
}

impl Stage<'_> {
    /// Starts the app, waits for its proof, attacks it, and ends it.
    pub(crate) fn perform(&self, app: &App, mode: Mode) -> Result<Trial> {
        let what = format!("{} {} cloudtaser", app.name, mode.as_str());
        self.progress.say(&format!("starting {what}"));
        let (out, err) = apps::output_paths(self.scratch, app, mode);
        let mut command = apps::command(app, mode, &self.vault, self.canary);
        command.stdout(File::create(&out)?).stderr(File::create(&err)?);
        user::as_user(&mut command, self.user);
        let mut running = Running::start(&mut command).with_context(|| what.clone())?;
        let digest = self.digest(&mut running, &out, &err).with_context(|| what.clone())?;
        self.settle(running.target(), app)?;
        let (supervisor, members) = cast(running.target(), mode);
        let attacks = self.attack(&members, &what, Activity::Active)?;
        let of_supervisor = match supervisor {
            Some(target) => self.attack(&[target], "its supervisor", Activity::PassiveOnly)?,
            None => Vec::new(),
        };
        Ok(Trial {
            app: app.name,
            what: app.what.clone(),
            copies: app.copies,
            mode,
            right_value: digest == self.proof,
            attacks,
            supervisor: of_supervisor,
            level: level(&err),
        })
    }

    /// The digest that the app prints.
    fn digest(&self, running: &mut Running, out: &Path, err: &Path) -> Result<String> {
        let digest = self.interrupts.wait(PATIENCE, || {
            let said = fs::read_to_string(out)?;
            let word = said.split_ascii_whitespace().next().unwrap_or_default();
            if word.len() == DIGEST && said.ends_with('\n') {
                return Ok(Some(word.to_owned()));
            }
            if let Some(status) = running.ended()? {
                bail!("ended at once ({status}): {}", last_line(err));
            }
            Ok(None)
        })?;
        digest
            .with_context(|| format!("no proof after {} s: {}", PATIENCE.as_secs(), last_line(err)))
    }

    /// Waits until the process that stays is the one that the app becomes.
    fn settle(&self, started: Target, app: &App) -> Result<()> {
        let Some(last) = app.becomes else { return Ok(()) };
        let settled = self.interrupts.wait(PATIENCE, || {
            let tree = std::iter::once(started).chain(started.descendants());
            let is_last = |target: Target| target.name().is_ok_and(|name| name == last);
            Ok(tree.into_iter().any(is_last).then_some(()))
        })?;
        settled.with_context(|| format!("{} did not become {last}", app.name))
    }

    /// Every attacker, the weaker one first.
    fn attack(&self, targets: &[Target], what: &str, active: Activity) -> Result<Vec<Attack>> {
        let options =
            Options { active, destruction: Destruction::Forbidden, variable: Some(VARIABLE) };
        let mut attacks = Vec::new();
        if self.attackers == Attackers::UserAndRoot {
            self.interrupts.check()?;
            self.progress.say(&format!("attacking {what} as uid {}", self.user.uid));
            let identity = Identity::new(self.user.uid, self.user.gid);
            let Some(&first) = targets.first() else { bail!("{what} has no process") };
            let report = as_uid::probe(first, false, &self.needle, options, identity)?;
            attacks.push(Attack { attacker: Attacker::SameUser, report });
        }
        let report = probe::probe(targets, &self.needle, options, |_target, road| {
            self.progress.say(&format!("attacking {what}: {}", road.what()));
            if self.interrupts.check().is_err() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        let report = report.map_err(|error| match error {
            ProbeError::Stopped => anyhow::Error::from(Interrupted),
            other => other.into(),
        })?;
        let attacker = match self.attackers {
            Attackers::CallerOnly => Attacker::SameUser,
            Attackers::UserAndRoot => Attacker::Root,
        };
        attacks.push(Attack { attacker, report });
        Ok(attacks)
    }
}

/// The supervisor, if there is one, and the app's own processes.
fn cast(started: Target, mode: Mode) -> (Option<Target>, Vec<Target>) {
    let of_app = |target: &Target| target.name().is_ok_and(|name| name != WRAPPER_NAME);
    let below = started.descendants().into_iter().filter(of_app);
    match mode {
        Mode::Without => (None, std::iter::once(started).chain(below).collect()),
        Mode::With => (Some(started), below.collect()),
    }
}

/// What the wrapper wrote about its protection level: the one line that is a JSON object.
fn level(err: &Path) -> Option<Value> {
    let said = fs::read_to_string(err).ok()?;
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.into_iter().find(|value| value.pointer("/level/facets").is_some())
}

fn last_line(err: &Path) -> String {
    let said = fs::read_to_string(err).unwrap_or_default();
    said.lines().last().unwrap_or("nothing was said").to_owned()
}
