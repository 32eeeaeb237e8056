//! Pods of the suite, in the forms that people give them.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use cloudtaser_core::names::kubernetes as names;
use serde_json::{Value, json};

use crate::{
    fingerprint,
    kubectl::{Kubectl, until},
    world::World,
};

/// The right of the suite's OpenBao to have tokens reviewed.
pub(crate) const REVIEWER: &str = "cloudtaser-e2e-reviewer";
/// The app in its image.
pub(crate) const SUBJECT: &str = "/subject";
/// How long a pod may take to do what it is for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// What the restricted standard asks of a container.
pub(crate) fn restricted() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "runAsUser": 65532,
        "seccompProfile": { "type": "RuntimeDefault" },
    })
}

/// A container that runs the app with one secret, of `secret/data/e2e/NAME`.
pub(crate) fn container(world: &World, name: &str, words: &[&str]) -> Value {
    let command: Vec<&str> = [&[SUBJECT], words].concat();
    json!({
        "name": name,
        "image": world.images.name("cloudtaser-e2e-subject"),
        "imagePullPolicy": world.images.policy,
        "command": command,
        "env": [{ "name": "PASSWORD", "value": "vault:secret/data/e2e/app#password" }],
        "resources": { "requests": { "cpu": "5m", "memory": "8Mi" } },
    })
}

/// Metadata of a template that is opted in.
pub(crate) fn opted_in(app: &str) -> Value {
    json!({ "labels": { "app": app, names::INJECT: "true" } })
}

/// The specification of a pod with these containers.
pub(crate) fn spec(containers: &Value) -> Value {
    json!({ "terminationGracePeriodSeconds": 2, "containers": containers })
}

/// A pod that is opted in.
pub(crate) fn pod(name: &str, spec: Value) -> Value {
    let mut metadata = opted_in(name);
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("name".to_owned(), name.into());
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec })
}

/// A workload with a template of one container.
pub(crate) fn workload(kind: &str, name: &str, replicas: u32, template: Value) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": { "name": name }, "spec": {
        "replicas": replicas,
        "selector": { "matchLabels": { "app": name } },
        "template": { "metadata": opted_in(name), "spec": template },
    } })
}

/// The names of the pods of an app.
///
/// # Errors
/// As [`Kubectl::run`].
pub(crate) fn of_app(home: &Kubectl, app: &str) -> anyhow::Result<Vec<String>> {
    let list = home.get(&["pods", &format!("--selector=app={app}")])?;
    let items = list.pointer("/items").and_then(Value::as_array).cloned().unwrap_or_default();
    // One that is on its way out may be gone at the next look.
    let stays = |pod: &&Value| pod.pointer("/metadata/deletionTimestamp").is_none();
    let name = |pod: &Value| Some(pod.pointer("/metadata/name")?.as_str()?.to_owned());
    Ok(items.iter().filter(stays).filter_map(name).collect())
}

/// Waits until a container's app has said that it has this value.
///
/// # Errors
/// With what the pod shows of its trouble.
pub(crate) fn has(
    home: &Kubectl,
    pod: &str,
    container: &str,
    name: &str,
    value: &str,
) -> anyhow::Result<()> {
    let wanted = format!("subject {name}={}", fingerprint::of(value.as_bytes()));
    until(&format!("{pod}/{container} to have {name}"), PATIENCE, || {
        Ok(home.logs(pod, container)?.lines().any(|line| line == wanted).then_some(()))
    })
    .with_context(|| trouble(home, pod))
}

/// A pod's phases, reasons and last words, for whoever has to find out.
pub(crate) fn trouble(home: &Kubectl, pod: &str) -> String {
    let told = home.run(&["describe", "pod", pod]).unwrap_or_else(|error| format!("{error:#}"));
    let logs = home.run(&["logs", pod, "--all-containers", "--tail=8"]).unwrap_or_default();
    let events: Vec<_> = told.lines().skip_while(|line| !line.starts_with("Events:")).collect();
    let states = told.lines().filter(|line| {
        ["State:", "Reason:", "Exit Code:", "Message:"].iter().any(|w| line.trim().starts_with(w))
    });
    let states: Vec<_> = states.map(str::trim).collect();
    format!("{pod}: {}\n{}\n{logs}", states.join(", "), events.join("\n"))
}

/// Whether a pod was taken in hand, as its own members say.
///
/// # Errors
/// Where it was not, or not these containers.
pub(crate) fn is_wrapped(home: &Kubectl, pod: &str, containers: &str) -> anyhow::Result<()> {
    let object = home.get(&["pod", pod])?;
    let annotations = object.pointer("/metadata/annotations");
    let wrapped = annotations.and_then(|all| all.get(names::WRAPPED)).and_then(Value::as_str);
    ensure!(wrapped == Some(containers), "{pod} is wrapped in {wrapped:?}, not {containers}");
    let inits = object.pointer("/spec/initContainers/0/name").and_then(Value::as_str);
    ensure!(inits == Some(names::DELIVER), "{pod} starts with {inits:?}");
    Ok(())
}
