//! Operators come and go, and reviews are answered all the while, or refused for a reason.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, anyhow, bail, ensure};
use serde_json::{Value, json};

use super::{Said, done};
use crate::{
    kubectl::{Kubectl, until},
    pods::{self, PATIENCE},
    world::World,
};

const OPERATOR: &str = "deployment/cloudtaser-operator";
const COMPONENT: &str = "--selector=app.kubernetes.io/component=cloudtaser-operator";

fn place(world: &World) -> Kubectl {
    world.home.within("cloudtaser-system")
}

/// One of two is deleted while a workload is rolled out.
pub(super) fn dies(world: &mut World) -> anyhow::Result<Said> {
    world.home.run(&["rollout", "restart", "deployment/web"])?;
    let name = kill_one(world)?;
    world.home.run(&["rollout", "status", "deployment/web", "--timeout=180s"])?;
    for pod in pods::of_app(&world.home, "web")? {
        pods::is_wrapped(&world.home, &pod, "app")?;
    }
    ready(world)?;
    done(name)
}

/// Ends an operator without a word.
pub(super) fn kill_one(world: &World) -> anyhow::Result<String> {
    let list = place(world).get(&["pods", COMPONENT])?;
    let name = list.pointer("/items/0/metadata/name").and_then(Value::as_str);
    let name = name.context("no operator")?;
    place(world).run(&["delete", "pod", name, "--grace-period=0", "--force"])?;
    Ok(name.to_owned())
}

/// With all of them away opted-in pods are refused with the reason, and others start.
pub(super) fn away(world: &mut World) -> anyhow::Result<Said> {
    scale(world, 0)?;
    until("the operators to be gone", PATIENCE, || {
        let list = place(world).get(&["pods", COMPONENT])?;
        Ok(list.pointer("/items/0").is_none().then_some(()))
    })?;
    let seen = without(world);
    // As its owner would put it right: the number is kubectl's now, and is taken over.
    let values = world.installation(&json!({}))?;
    world.answer(&["install", "--values", &values, "--take-over", "--wait", "300"], 0)?;
    seen
}

fn without(world: &World) -> anyhow::Result<Said> {
    let spec = || pods::spec(&json!([pods::container(world, "app", &["sleep"])]));
    let refused = match world.home.create(&pods::pod("early", spec())) {
        Ok(_) => bail!("an opted-in pod was created while no operator was there"),
        Err(error) => format!("{error:#}"),
    };
    ensure!(refused.contains("failed calling webhook"), "{refused}");
    let mut plain = pods::pod("plain", spec());
    if let Some(metadata) = plain.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.insert("labels".to_owned(), json!({}));
    }
    world.home.create(&plain).context("a pod that did not ask")?;
    world.home.delete("pod", "plain")?;
    let status = world.answer(&["status"], 1)?;
    let problems = status.pointer("/problems").map(Value::to_string).unwrap_or_default();
    ensure!(problems.contains("no operator is ready"), "status does not say so: {problems}");
    done("opted-in pods are refused, others start")
}

/// Short-lived certificates: several changes, and not one pod refused.
pub(super) fn certificates(world: &mut World) -> anyhow::Result<Said> {
    let place = place(world);
    let set = json!([{ "op": "add", "path": "/spec/template/spec/containers/0/args",
        "value": ["--certificate-lifetime=30s"] }]);
    patch(&place, &set)?;
    rolled_out(&place)?;
    let changed = while_creating(world, || {
        until("certificates to change", PATIENCE, || {
            let list = place.get(&["pods", COMPONENT])?;
            let count = super::deploy::items(&list)
                .iter()
                .filter_map(|pod| pod.pointer("/metadata/name")?.as_str().map(str::to_owned))
                .map(|pod| rotations(&place, &pod))
                .sum::<anyhow::Result<u64>>()?;
            Ok((count >= 3).then_some(count))
        })
    });
    patch(&place, &json!([{ "op": "remove", "path": "/spec/template/spec/containers/0/args" }]))?;
    rolled_out(&place)?;
    let (changes, pods) = changed?;
    done(format!("{changes} changes, {pods} pods created meanwhile"))
}

fn rotations(place: &Kubectl, pod: &str) -> anyhow::Result<u64> {
    let path = format!("/api/v1/namespaces/{}/pods/{pod}:9402/proxy/metrics", place.namespace());
    let text = place.run(&["get", "--raw", &path])?;
    let name = "cloudtaser_operator_certificate_rotations_total ";
    let count = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    count.ok_or_else(|| anyhow!("{pod} has no count of rotations"))
}

/// Other values: operators are replaced one by one, and not one pod is refused.
pub(super) fn upgrade(world: &mut World) -> anyhow::Result<Said> {
    let unvouched = json!({ "registry": { "hosts": ["registry.invalid"] } });
    let values = world.installation(&unvouched)?;
    let ran = world.cli(&["upgrade", "--values", &values])?;
    ensure!(ran.code == 64 && ran.err.contains("registry.ca"), "{}: {}", ran.code, ran.err);
    let registry = json!({ "hosts": ["registry.invalid"], "ca": world.openbao()?.authority() });
    let more = json!({ "operator": { "replicas": 3 }, "pods": { "watch": true },
        "registry": registry });
    let values = world.installation(&more)?;
    let (changed, pods) = while_creating(world, || {
        let answer = world.answer(&["upgrade", "--values", &values, "--wait", "300"], 0)?;
        let changed = answer.pointer("/changed").and_then(Value::as_array).map(Vec::len);
        changed.with_context(|| format!("no list of changes: {answer}"))
    })?;
    ensure!(changed > 0, "nothing changed");
    done(format!("{changed} objects changed, {pods} pods created meanwhile"))
}

/// A pod whose label came late is named by the watchdog and by `status`; nothing is done to it.
pub(super) fn unwrapped(world: &mut World) -> anyhow::Result<Said> {
    let mut pod =
        pods::pod("late", pods::spec(&json!([pods::container(world, "app", &["sleep"])])));
    if let Some(metadata) = pod.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.insert("labels".to_owned(), json!({}));
    }
    world.home.create(&pod)?;
    world.home.run(&["label", "pod", "late", "cloudtaser.io/inject=true"])?;
    let message = until("the event of a pod that runs unwrapped", PATIENCE, || {
        let events = world.home.get(&["events", "--field-selector=reason=RunsUnwrapped"])?;
        let first = events.pointer("/items/0");
        let about = first.and_then(|event| event.pointer("/involvedObject/name"));
        let message = first.and_then(|event| event.pointer("/message"));
        ensure!(about.is_none_or(|name| name == "late"), "{events}");
        Ok(message.and_then(Value::as_str).map(str::to_owned))
    })?;
    let status = world.answer(&["status"], 1)?;
    let problems = status.pointer("/problems").map(Value::to_string).unwrap_or_default();
    ensure!(problems.contains("late: is opted in and not wrapped"), "{problems}");
    world.home.delete("pod", "late")?;
    done(message.split(':').next().unwrap_or_default())
}

/// Does something while opted-in pods are created, one after the other, none of them refused.
fn while_creating<T>(
    world: &World,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, usize)> {
    let over = AtomicBool::new(false);
    let mut container = pods::container(world, "app", &["sleep"]);
    // Asked about, and never started: no node has this label.
    if let Some(container) = container.as_object_mut() {
        container.remove("resources");
    }
    let mut spec = pods::spec(&json!([container]));
    if let Some(spec) = spec.as_object_mut() {
        spec.insert("nodeSelector".to_owned(), json!({ "cloudtaser.invalid/none": "true" }));
    }
    let pod = pods::pod("load", spec);
    thread::scope(|scope| {
        let creating = scope.spawn(|| -> anyhow::Result<usize> {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                world.home.create(&pod).with_context(|| format!("after {count} pods"))?;
                world.home.run(&["delete", "pod", "load", "--grace-period=0", "--force"])?;
                count += 1;
            }
            Ok(count)
        });
        let worked = work();
        over.store(true, Ordering::Relaxed);
        let count = creating.join().map_err(|_panic| anyhow!("the creating thread broke"))??;
        ensure!(count > 0, "no pod was created meanwhile");
        Ok((worked?, count))
    })
}

fn patch(place: &Kubectl, patch: &Value) -> anyhow::Result<()> {
    let patch = format!("--patch={patch}");
    place.run(&["patch", OPERATOR, "--type=json", &patch]).map(drop)
}

fn scale(world: &World, replicas: u32) -> anyhow::Result<()> {
    place(world).run(&["scale", OPERATOR, &format!("--replicas={replicas}")]).map(drop)
}

fn rolled_out(place: &Kubectl) -> anyhow::Result<()> {
    place.run(&["rollout", "status", OPERATOR, "--timeout=180s"]).map(drop)
}

pub(super) fn ready(world: &World) -> anyhow::Result<()> {
    rolled_out(&place(world))
}
