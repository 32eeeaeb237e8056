//! Makes the objects of a cluster those that are wanted.
//!
//! Each object is applied by the server, so that fields of others stay: the operator's `caBundle`
//! above all. A namespace that was there before is noted as such, and stays when we go.

use std::{
    thread,
    time::{Duration, Instant},
};

use cloudtaser_core::names::kubernetes::{CLUSTER_SECRET, INVITATION_SECRET};
use cloudtaser_k8s::install::{CREATED, Object};
use serde_json::Value;

use super::{
    DeployError,
    inventory::{self, shown, was_created},
};
use crate::{
    cluster::{ApiError, Cluster, Force, of_object},
    ui,
};

/// Between two looks at something that is on its way out.
pub(super) const PAUSE: Duration = Duration::from_millis(500);

/// What came of it, by name.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) created: Vec<String>,
    pub(super) changed: Vec<String>,
    pub(super) unchanged: Vec<String>,
    pub(super) removed: Vec<String>,
}

/// Applies all, and removes what an earlier installation had and this one has not.
pub(super) fn all(
    cluster: &Cluster,
    wanted: &[Object],
    force: Force,
    patience: Duration,
) -> Result<Changes, DeployError> {
    let progress = ui::Progress::start().lively();
    progress.say("looking at what is there");
    let before = inventory::find(cluster)?;
    if before.iter().any(inventory::Found::is_helms) {
        return Err(DeployError::Helm);
    }
    let mut changes = Changes::default();
    for object in wanted {
        let name = shown(&object.json);
        progress.say(&name);
        let path = of_object(&object.json).unwrap_or_default();
        let there = settled(cluster, &path, patience, &progress)?;
        let mut json = object.json.clone();
        if object.kind() == "Namespace" && there.as_ref().is_none_or(was_created) {
            note_creation(&mut json);
        }
        let applied = cluster.apply(&json, force).map_err(contested)?;
        let same = there.as_ref().map(|old| version(old) == version(&applied));
        match same {
            None => &mut changes.created,
            Some(false) => &mut changes.changed,
            Some(true) => &mut changes.unchanged,
        }
        .push(name);
    }
    let has_bridge = wanted.iter().any(|object| object.name() == CLUSTER_SECRET);
    let wanted: Vec<_> = wanted.iter().filter_map(|object| of_object(&object.json)).collect();
    // What somebody has brought for the operator is the operator's to take away.
    let brought =
        |old: &inventory::Found| old.text("/metadata/name") == INVITATION_SECRET && has_bridge;
    for old in before.iter().filter(|old| !wanted.contains(&old.path) && !brought(old)) {
        if old.is_ours_to_remove() && cluster.delete(&old.path)? {
            changes.removed.push(old.shown());
        }
    }
    Ok(changes)
}

/// What is at a path, when it is not on its way out any more.
fn settled(
    cluster: &Cluster,
    path: &str,
    patience: Duration,
    progress: &ui::Progress,
) -> Result<Option<Value>, DeployError> {
    let start = Instant::now();
    loop {
        let there = cluster.get(path)?;
        let leaves = there.as_ref().filter(|o| o.pointer("/metadata/deletionTimestamp").is_some());
        let Some(leaving) = leaves else { return Ok(there) };
        let why = format!("{} is being deleted{}", shown(leaving), held_by(leaving));
        if start.elapsed() >= patience {
            return Err(DeployError::Stays { seconds: patience.as_secs(), what: why });
        }
        progress.say(&why);
        thread::sleep(PAUSE);
    }
}

/// What holds an object that is on its way out.
pub(super) fn held_by(object: &Value) -> String {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let told = conditions.into_iter().flatten().find(|condition| {
        let text = |field: &str| condition.get(field).and_then(Value::as_str).unwrap_or_default();
        text("status") == "True" && text("type").starts_with("Namespace")
    });
    if let Some(message) = told.and_then(|told| told.get("message")).and_then(Value::as_str) {
        return format!(": {message}");
    }
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    let names: Vec<_> = finalizers.into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() { String::new() } else { format!(": held by {}", names.join(", ")) }
}

fn note_creation(namespace: &mut Value) {
    if let Some(metadata) = namespace.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.insert("annotations".to_owned(), serde_json::json!({ CREATED: "true" }));
    }
}

fn version(object: &Value) -> Option<&str> {
    object.pointer("/metadata/resourceVersion").and_then(Value::as_str)
}

/// A conflict is for a person to decide.
fn contested(error: ApiError) -> DeployError {
    match error {
        ApiError::Conflict { what, message } => {
            DeployError::Contested { message: format!("{what}: {message}") }
        }
        other => other.into(),
    }
}
