//! What is done, in order. A step says what it needs; where that did not pass, it is skipped.

mod admission;
mod deploy;
mod moving;
mod operators;
mod road;
mod seen;
mod workloads;

use std::time::Instant;

use crate::{table::Table, ui, world::World};

/// What a step ends with when nothing failed.
#[derive(Debug)]
pub(crate) enum Said {
    /// Done; a few words more.
    Done(String),
    /// It cannot be done here.
    Skip(String),
}

/// One step.
struct Step {
    name: &'static str,
    /// Steps that must have passed.
    needs: &'static [&'static str],
    work: fn(&mut World) -> anyhow::Result<Said>,
}

const CLUSTER: &str = "a cluster without a cloudtaser";
const IMAGES: &str = "images come to the nodes";
const OPENBAO: &str = "an OpenBao for the pods";
const INSTALL: &str = "install";
const APP: &str = "a Deployment";
const ROAD: &str = "a beacon and a bridge on this machine";
const JOINED: &str = "install with an invitation of the bridge";
const OUT: &str = "the bridge puts the cluster out";
const UPGRADE: &str = "upgrade under load";
const UNWRAPPED: &str = "a pod that runs unwrapped is named";

const STEPS: &[Step] = &[
    Step { name: CLUSTER, needs: &[], work: deploy::cluster },
    Step { name: IMAGES, needs: &[CLUSTER], work: deploy::images },
    Step { name: OPENBAO, needs: &[IMAGES], work: deploy::openbao },
    Step { name: "doctor", needs: &[CLUSTER], work: deploy::doctor },
    Step { name: INSTALL, needs: &[OPENBAO], work: deploy::install },
    Step { name: "install again changes nothing", needs: &[INSTALL], work: deploy::again },
    Step { name: APP, needs: &[INSTALL], work: workloads::deployment },
    Step { name: "a StatefulSet", needs: &[INSTALL], work: workloads::stateful },
    Step { name: "a Job", needs: &[INSTALL], work: workloads::job },
    Step { name: "a CronJob", needs: &[INSTALL], work: workloads::cron_job },
    Step { name: "a DaemonSet", needs: &[INSTALL], work: workloads::daemon_set },
    Step { name: "an init container and a sidecar", needs: &[INSTALL], work: workloads::sidecar },
    Step { name: "exec probes", needs: &[INSTALL], work: workloads::probes },
    Step { name: "a shell as entrypoint", needs: &[INSTALL], work: workloads::shell },
    Step { name: "a restricted namespace", needs: &[INSTALL], work: workloads::strict },
    Step { name: "files, ConfigMaps, bulk", needs: &[INSTALL], work: workloads::others },
    Step { name: "who did not ask is not touched", needs: &[INSTALL], work: admission::others },
    Step { name: "what cannot work is refused", needs: &[INSTALL], work: admission::refused },
    Step { name: "the agent's socket", needs: &[INSTALL], work: admission::agent },
    Step { name: "exec sees references", needs: &[APP], work: seen::by_exec },
    Step { name: "no object holds a value", needs: &[APP], work: seen::in_objects },
    Step { name: "status", needs: &[APP], work: seen::by_status },
    Step { name: "a new value reaches the app", needs: &[INSTALL], work: workloads::rotation },
    Step { name: "discover, migrate, delete", needs: &[INSTALL], work: moving::all },
    Step { name: "an operator dies in a rollout", needs: &[APP], work: operators::dies },
    Step { name: "no operator is there", needs: &[INSTALL], work: operators::away },
    Step { name: "certificates change", needs: &[INSTALL], work: operators::certificates },
    Step { name: ROAD, needs: &[INSTALL], work: road::start },
    Step { name: JOINED, needs: &[ROAD], work: road::install },
    Step { name: "a pod by the bridge", needs: &[JOINED], work: road::pod },
    Step {
        name: "an operator dies while pods start by the bridge",
        needs: &[JOINED],
        work: road::dies,
    },
    Step { name: OUT, needs: &[JOINED], work: road::revoked },
    Step { name: "the bridge is given up", needs: &[JOINED], work: road::left },
    Step { name: UPGRADE, needs: &[INSTALL], work: operators::upgrade },
    Step { name: UNWRAPPED, needs: &[UPGRADE], work: operators::unwrapped },
    Step { name: "uninstall waits for pods", needs: &[APP], work: deploy::uninstall_refused },
    Step { name: "uninstall leaves nothing", needs: &[INSTALL], work: deploy::uninstall },
];

/// What others stand on, and is done whatever `--only` says.
const ALWAYS: &[&str] = &[CLUSTER, IMAGES, OPENBAO, INSTALL, APP];

/// Does all, and takes everything away in the end.
pub(crate) fn run(world: &mut World, table: &mut Table) {
    for step in STEPS {
        let only = world.options.only.as_deref();
        if !ALWAYS.contains(&step.name) && only.is_some_and(|words| !step.name.contains(words)) {
            continue;
        }
        if let Some(missing) = step.needs.iter().find(|name| !table.has_passed(name)) {
            table.skipped(step.name, &format!("it needs `{missing}`"));
            continue;
        }
        one(step.name, world, table, step.work);
    }
    if world.options.keep {
        ui::say("everything stays where it is (--keep)");
    } else if table.has_passed(CLUSTER) {
        one("the cluster is as it was", world, table, deploy::clean);
    }
}

fn one(
    name: &str,
    world: &mut World,
    table: &mut Table,
    work: fn(&mut World) -> anyhow::Result<Said>,
) {
    let start = Instant::now();
    match work(world) {
        Ok(Said::Done(note)) => table.passed(name, start.elapsed(), &note),
        Ok(Said::Skip(why)) => table.skipped(name, &why),
        Err(error) => table.failed_after(name, start.elapsed(), &error),
    }
}

/// A step that went well.
fn done(note: impl Into<String>) -> anyhow::Result<Said> {
    Ok(Said::Done(note.into()))
}
