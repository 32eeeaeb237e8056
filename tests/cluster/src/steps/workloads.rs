//! Workloads of every kind get their secret.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{Said, done};
use crate::{
    kubectl::{Kubectl, until},
    pods::{self, PATIENCE, SUBJECT},
    world::{STRICT, World},
};

const SERVE: &[&str] = &["serve", "PASSWORD"];

/// The value that `secret/data/e2e/app` has.
fn password(world: &World) -> anyhow::Result<String> {
    let fields = world.openbao()?.fields("e2e/app")?;
    let value = fields.get("password").and_then(Value::as_str);
    Ok(value.context("no password was written")?.to_owned())
}

/// Waits for the pods of an app, and for each of them to say that it has the value.
fn all_have(world: &World, home: &Kubectl, app: &str, count: usize) -> anyhow::Result<()> {
    let names = until(&format!("{count} pods of {app}"), PATIENCE, || {
        let names = pods::of_app(home, app)?;
        Ok((names.len() == count).then_some(names))
    })
    .with_context(|| home.run(&["get", "events"]).unwrap_or_default())?;
    let value = password(world)?;
    for pod in &names {
        pods::has(home, pod, "app", "PASSWORD", &value)?;
        pods::is_wrapped(home, pod, "app")?;
    }
    Ok(())
}

pub(super) fn deployment(world: &mut World) -> anyhow::Result<Said> {
    let spec = pods::spec(&json!([pods::container(world, "app", SERVE)]));
    world.home.apply(&pods::workload("Deployment", "web", 2, spec))?;
    all_have(world, &world.home, "web", 2)?;
    world.home.run(&["rollout", "status", "deployment/web", "--timeout=120s"])?;
    done("2 pods")
}

pub(super) fn stateful(world: &mut World) -> anyhow::Result<Said> {
    let spec = pods::spec(&json!([pods::container(world, "app", SERVE)]));
    world.home.apply(&pods::workload("StatefulSet", "db", 2, spec))?;
    all_have(world, &world.home, "db", 2)?;
    done("db-0, db-1")
}

pub(super) fn daemon_set(world: &mut World) -> anyhow::Result<Said> {
    let spec = pods::spec(&json!([pods::container(world, "app", SERVE)]));
    let mut object = pods::workload("DaemonSet", "each", 1, spec);
    if let Some(spec) = object.pointer_mut("/spec").and_then(Value::as_object_mut) {
        spec.remove("replicas");
    }
    world.home.apply(&object)?;
    let wanted = until("the DaemonSet's nodes", PATIENCE, || {
        let object = world.home.get(&["daemonset", "each"])?;
        let count = object.pointer("/status/desiredNumberScheduled").and_then(Value::as_u64);
        Ok(count.filter(|count| *count > 0))
    })?;
    all_have(world, &world.home, "each", usize::try_from(wanted)?)?;
    done(format!("{wanted} pods"))
}

fn job_spec(world: &World) -> Value {
    let mut spec = pods::spec(&json!([pods::container(world, "app", &["once", "PASSWORD"])]));
    if let Some(spec) = spec.as_object_mut() {
        spec.insert("restartPolicy".to_owned(), "Never".into());
    }
    json!({ "backoffLimit": 0, "template": { "metadata": pods::opted_in("job"), "spec": spec } })
}

/// Ends by itself, well, and having had the value.
fn ends(world: &World, job: &str) -> anyhow::Result<()> {
    let pod = until("the Job's pod", PATIENCE, || {
        let list = world.home.get(&["pods", &format!("--selector=job-name={job}")])?;
        Ok(list.pointer("/items/0/metadata/name").and_then(Value::as_str).map(str::to_owned))
    })
    .with_context(|| world.home.run(&["describe", "job", job]).unwrap_or_default())?;
    pods::has(&world.home, &pod, "app", "PASSWORD", &password(world)?)?;
    let complete = format!("job/{job}");
    world.home.run(&["wait", "--for=condition=Complete", &complete, "--timeout=120s"])?;
    Ok(())
}

pub(super) fn job(world: &mut World) -> anyhow::Result<Said> {
    let job = json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "once" },
        "spec": job_spec(world) });
    world.home.apply(&job)?;
    ends(world, "once")?;
    done("it ended by itself")
}

pub(super) fn cron_job(world: &mut World) -> anyhow::Result<Said> {
    let cron = json!({ "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": "nightly" },
        "spec": { "schedule": "0 3 * * *", "jobTemplate": { "spec": job_spec(world) } } });
    world.home.apply(&cron)?;
    world.home.run(&["create", "job", "nightly-now", "--from=cronjob/nightly"])?;
    ends(world, "nightly-now")?;
    done("a run of it")
}

pub(super) fn sidecar(world: &mut World) -> anyhow::Result<Said> {
    let init = pods::container(world, "prepare", &["once", "PASSWORD"]);
    let mut sidecar = pods::container(world, "sidecar", SERVE);
    if let Some(sidecar) = sidecar.as_object_mut() {
        sidecar.insert("restartPolicy".to_owned(), "Always".into());
    }
    let mut spec = pods::spec(&json!([pods::container(world, "app", SERVE)]));
    if let Some(spec) = spec.as_object_mut() {
        spec.insert("initContainers".to_owned(), json!([init, sidecar]));
    }
    world.home.create(&pods::pod("family", spec))?;
    let value = password(world)?;
    for container in ["prepare", "sidecar", "app"] {
        pods::has(&world.home, "family", container, "PASSWORD", &value)?;
    }
    world.home.delete("pod", "family")?;
    done("three containers, each with its own login")
}

pub(super) fn probes(world: &mut World) -> anyhow::Result<Said> {
    let mut app = pods::container(world, "app", SERVE);
    let probe = json!({ "exec": { "command": [SUBJECT, "probe", "PASSWORD"] },
        "periodSeconds": 1, "timeoutSeconds": 20, "failureThreshold": 30 });
    if let Some(app) = app.as_object_mut() {
        app.insert("startupProbe".to_owned(), probe);
    }
    let mut pod = pods::pod("probed", pods::spec(&json!([app])));
    if let Some(metadata) = pod.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.insert("annotations".to_owned(), json!({ "cloudtaser.io/probes": "true" }));
    }
    world.home.create(&pod)?;
    pods::has(&world.home, "probed", "app", "PASSWORD", &password(world)?)?;
    let ready = world.home.run(&["wait", "--for=condition=Ready", "pod/probed", "--timeout=120s"]);
    ready.with_context(|| pods::trouble(&world.home, "probed"))?;
    world.home.delete("pod", "probed")?;
    done("a startup probe that needs the value")
}

/// The shell's children get the value, over every `exec`.
pub(super) fn shell(world: &mut World) -> anyhow::Result<Said> {
    if !world.folder.join("cloudtaser-e2e-shell.oci.tar").exists() {
        return Ok(Said::Skip("no static busybox was there to make an image of".to_owned()));
    }
    let mut app = pods::container(world, "app", &[]);
    let script = "env true; (exec /subject once PASSWORD); exec /subject serve PASSWORD";
    if let Some(app) = app.as_object_mut() {
        app.insert("image".to_owned(), world.images.name("cloudtaser-e2e-shell").into());
        app.insert("command".to_owned(), json!(["/bin/sh", "-c", script]));
    }
    world.home.create(&pods::pod("script", pods::spec(&json!([app]))))?;
    pods::has(&world.home, "script", "app", "PASSWORD", &password(world)?)?;
    world.home.delete("pod", "script")?;
    done("sh -c, two programs")
}

pub(super) fn strict(world: &mut World) -> anyhow::Result<Said> {
    let home = world.home.within(STRICT);
    let mut app = pods::container(world, "app", SERVE);
    if let Some(app) = app.as_object_mut() {
        app.insert("securityContext".to_owned(), pods::restricted());
    }
    home.apply(&pods::workload("Deployment", "strict", 1, pods::spec(&json!([app]))))?;
    all_have(world, &home, "strict", 1)?;
    done("non-root, no capability, read-only root")
}

/// What does not stand in `env`: a ConfigMap, a file, all fields of a secret.
pub(super) fn others(world: &mut World) -> anyhow::Result<Said> {
    let [one, two] = [world.value()?, world.value()?];
    world.openbao()?.put("e2e/bulk", &json!({ "FIRST": one, "SECOND": two }))?;
    world
        .home
        .apply(&json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "app" },
        "data": { "FROM_MAP": "vault:secret/data/e2e/app#password" } }))?;
    let file = "/run/cloudtaser/token";
    let mut app =
        pods::container(world, "app", &["serve", "PASSWORD", "FROM_MAP", "FIRST", "SECOND", file]);
    if let Some(app) = app.as_object_mut() {
        app.insert("envFrom".to_owned(), json!([{ "configMapRef": { "name": "app" } }]));
    }
    let mut pod = pods::pod("others", pods::spec(&json!([app])));
    if let Some(metadata) = pod.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.insert(
            "annotations".to_owned(),
            json!({
                "cloudtaser.io/from": "secret/data/e2e/bulk",
                "cloudtaser.io/file.token": "vault:secret/data/e2e/bulk#SECOND",
            }),
        );
    }
    world.home.create(&pod)?;
    let value = password(world)?;
    for (name, value) in [
        ("PASSWORD", &value),
        ("FROM_MAP", &value),
        ("FIRST", &one),
        ("SECOND", &two),
        (file, &two),
    ] {
        pods::has(&world.home, "others", "app", name, value)?;
    }
    world.home.delete("pod", "others")?;
    done("")
}

/// The app sees a new value without a restart.
pub(super) fn rotation(world: &mut World) -> anyhow::Result<Said> {
    let [old, new] = [world.value()?, world.value()?];
    world.openbao()?.put("e2e/rotating", &json!({ "password": old }))?;
    let mut app = pods::container(world, "app", SERVE);
    if let Some(app) = app.as_object_mut() {
        let env =
            json!([{ "name": "PASSWORD", "value": "vault:secret/data/e2e/rotating#password" }]);
        app.insert("env".to_owned(), env);
    }
    let mut pod = pods::pod("rotating", pods::spec(&json!([app])));
    if let Some(metadata) = pod.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.insert(
            "annotations".to_owned(),
            json!({
                "cloudtaser.io/rotate-every": "1s", "cloudtaser.io/rotate-action": "in-place",
            }),
        );
    }
    world.home.create(&pod)?;
    pods::has(&world.home, "rotating", "app", "PASSWORD", &old)?;
    world.openbao()?.put("e2e/rotating", &json!({ "password": new }))?;
    pods::has(&world.home, "rotating", "app", "PASSWORD", &new)?;
    let pod = world.home.get(&["pod", "rotating"])?;
    let restarts = pod.pointer("/status/containerStatuses/0/restartCount").and_then(Value::as_u64);
    ensure!(restarts == Some(0), "it was started again: {restarts:?}");
    world.home.delete("pod", "rotating")?;
    done("in place, no restart")
}
