//! What a pod has to know that logs in at a bridge: one login for a pod, and few restarts of it.
//!
//! How many the bridge allows is in its own configuration, in the EU, which nobody here reads; so the
//! setting is named, with the number that this pod needs.

use super::{
    Work, command,
    pod::{Container, Kind},
};

/// Restarts that a bridge allows unless it was told otherwise.
const RESTARTS: usize = 3;

/// What its author should know.
pub(super) fn by_bridge(work: &Work<'_>) -> Vec<String> {
    let (mut together, mut before) = (0_usize, 0_usize);
    for container in &work.wrapped {
        match stays(container) {
            true => together += 1,
            false => before += 1,
        }
    }
    let mut all = Vec::new();
    if together > 1 {
        all.push(format!(
            "{together} wrapped containers run at once, and a bridge gives a pod one login: set \
             logins_per_pod = {together} in [release] there, for all pods, or name one in \
             cloudtaser.io/containers; else the second is refused (replay)"
        ));
    }
    if before > RESTARTS {
        all.push(format!(
            "a bridge takes each of the {before} wrapped init containers for a restart: \
             restarts_per_pod in [release] there has to be {before} or more"
        ));
    }
    if work.wishes.probes && work.wrapped.iter().any(command::has_probes) {
        all.push(
            "each run of a wrapped probe is a restart to a bridge, and a pod has few \
             (restarts_per_pod in [release] there): take cloudtaser.io/probes off unless the probe \
             needs a secret"
                .to_owned(),
        );
    }
    all
}

/// Whether it runs beside others that are started after it.
fn stays(container: &Container<'_>) -> bool {
    let is_sidecar = container.json.get("restartPolicy").is_some_and(|word| word == "Always");
    container.kind == Kind::App || is_sidecar
}
