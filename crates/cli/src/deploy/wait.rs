//! Waits until what was applied does its work, and says what is wrong if it does not.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use cloudtaser_k8s::install::Object;
use serde_json::Value;

use super::{
    DeployError,
    trouble::{self, Trouble},
};
use crate::{
    cluster::{ApiError, Cluster, of_object},
    ui,
};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// Trouble that stays so long is not waited for any longer.
const HOPELESS: Duration = Duration::from_secs(20);

/// What is ready.
#[derive(Debug, Default)]
pub(super) struct Ready {
    pub(super) operators: u64,
    pub(super) agents: u64,
    /// Nodes whose kernel does not let an agent work, with its words.
    pub(super) off: Vec<String>,
}

/// What a look showed.
#[derive(Debug, Default)]
struct Look {
    ready: Ready,
    /// What is waited for, in a few words.
    waiting: Vec<String>,
    troubles: Vec<Trouble>,
}

/// Waits.
pub(super) fn ready(
    cluster: &Cluster,
    wanted: &[Object],
    patience: Duration,
) -> Result<Ready, DeployError> {
    let progress = ui::Progress::start().lively();
    let start = Instant::now();
    let mut hopeless: Option<(BTreeSet<String>, Instant)> = None;
    loop {
        let look = look(cluster, wanted)?;
        if look.waiting.is_empty() {
            return Ok(look.ready);
        }
        let now: BTreeSet<_> =
            look.troubles.iter().filter(|t| t.hopeless).map(|t| t.words.clone()).collect();
        hopeless = match hopeless {
            Some((before, since)) if before == now => Some((before, since)),
            _ => Some((now, Instant::now())),
        };
        let lost = hopeless
            .as_ref()
            .is_some_and(|(what, since)| !what.is_empty() && since.elapsed() >= HOPELESS);
        if lost || start.elapsed() >= patience {
            return Err(DeployError::NotReady {
                seconds: start.elapsed().as_secs(),
                problems: problems(&look),
            });
        }
        let trouble = look.troubles.first().and_then(|t| t.words.lines().next());
        progress.say(trouble.unwrap_or(&look.waiting.join(", ")));
        thread::sleep(PAUSE);
    }
}

fn problems(look: &Look) -> String {
    let told = look.troubles.iter().map(|trouble| trouble.words.as_str());
    let all: Vec<_> = look.waiting.iter().map(String::as_str).chain(told).collect();
    format!("  {}", all.join("\n  "))
}

fn look(cluster: &Cluster, wanted: &[Object]) -> Result<Look, ApiError> {
    let mut look = Look::default();
    for object in wanted {
        let path = of_object(&object.json).unwrap_or_default();
        let judge = match object.kind() {
            "Deployment" => Look::deployment,
            "DaemonSet" => Look::daemons,
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => Look::webhooks,
            _ => continue,
        };
        match cluster.get(&path)? {
            Some(there) => judge(&mut look, cluster, &there)?,
            None => look.waiting.push(format!("{} {} is gone", object.kind(), object.name())),
        }
    }
    Ok(look)
}

impl Look {
    fn deployment(&mut self, cluster: &Cluster, there: &Value) -> Result<(), ApiError> {
        let wanted = number(there, "/spec/replicas").max(1);
        let (new, ready) =
            (number(there, "/status/updatedReplicas"), number(there, "/status/availableReplicas"));
        let all = number(there, "/status/replicas");
        self.ready.operators = ready;
        if is_seen(there) && new >= wanted && ready >= wanted && all == new {
            return Ok(());
        }
        self.waiting.push(format!("operators: {} of {wanted} are ready", ready.min(new)));
        self.troubles.extend(trouble::of_program(cluster, there)?);
        Ok(())
    }

    fn daemons(&mut self, cluster: &Cluster, there: &Value) -> Result<(), ApiError> {
        let wanted = number(there, "/status/desiredNumberScheduled");
        let (new, ready) =
            (number(there, "/status/updatedNumberScheduled"), number(there, "/status/numberReady"));
        self.ready.agents = ready;
        if is_seen(there) && new >= wanted && ready >= wanted {
            return Ok(());
        }
        let mut troubles = trouble::of_program(cluster, there)?;
        // A node that cannot be guarded is told, and not waited for.
        self.ready.off = troubles.iter().filter_map(|trouble| trouble.off.clone()).collect();
        troubles.retain(|trouble| trouble.off.is_none());
        let off = u64::try_from(self.ready.off.len()).unwrap_or_default();
        if is_seen(there) && off > 0 && new >= wanted && ready + off >= wanted {
            return Ok(());
        }
        self.waiting.push(format!("node agents: {} of {wanted} are ready", ready.min(new)));
        self.troubles.extend(troubles);
        Ok(())
    }

    fn webhooks(&mut self, _cluster: &Cluster, there: &Value) -> Result<(), ApiError> {
        let all = there.get("webhooks").and_then(Value::as_array);
        let bundle = |hook: &Value| {
            let bundle = hook.pointer("/clientConfig/caBundle").and_then(Value::as_str);
            bundle.is_some_and(|bundle| !bundle.is_empty())
        };
        if !all.is_some_and(|all| all.iter().all(bundle)) {
            let kind = there.get("kind").and_then(Value::as_str).unwrap_or_default();
            self.waiting.push(format!(
                "{kind}: the operator has not written its certificate authority yet"
            ));
        }
        Ok(())
    }
}

/// Whether the status is about what was applied.
fn is_seen(there: &Value) -> bool {
    number(there, "/status/observedGeneration") >= number(there, "/metadata/generation")
}

fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}
