//! The sealed road: one command brings the cluster to its bridge, and pods get their secrets by it.

use std::{thread, time::Duration};

use anyhow::{Context as _, anyhow, bail, ensure};
use serde_json::{Value, json};

use super::{Said, done, operators};
use crate::{
    kubectl::until,
    pods::{self, PATIENCE},
    road::{self, Road},
    world::World,
};

const LEASE: [&str; 3] = ["lease", "cloudtaser-enrolment", "--namespace=cloudtaser-system"];
/// How often the operator asks whether it is still let in, and a while.
const KNOCK: Duration = Duration::from_secs(120);

/// A beacon and a bridge here, and a pod that finds the beacon.
pub(super) fn start(world: &mut World) -> anyhow::Result<Said> {
    let address = road::own_address(world)?;
    let road = Road::start(world, &address)?;
    let container = json!({
        "name": "app", "image": world.images.name("cloudtaser-e2e-subject"),
        "imagePullPolicy": world.images.policy, "command": [pods::SUBJECT, "dial", address],
    });
    let spec = json!({ "restartPolicy": "Never", "containers": [container] });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "dials" },
        "spec": spec });
    world.home.create(&pod)?;
    let phase = until("a pod to dial", PATIENCE, || {
        let phase = world.home.text(&["pod", "dials"], "/status/phase")?;
        Ok(matches!(phase.as_str(), "Succeeded" | "Failed").then_some(phase))
    })?;
    world.home.delete("pod", "dials")?;
    if phase == "Failed" {
        return Ok(Said::Skip(format!(
            "the cluster does not reach this machine at {address}: give --address HOST:PORT"
        )));
    }
    world.road = Some(road);
    done(address)
}

/// `install --invitation`, while somebody at the bridge compares the key and says yes.
pub(super) fn install(world: &mut World) -> anyhow::Result<Said> {
    let road = world.road.take().context("there is no road")?;
    let joined = join(world, &road);
    world.road = Some(road);
    joined
}

fn join(world: &mut World, road: &Road) -> anyhow::Result<Said> {
    let invitation = world.file("invitation", &road.bridge("invite", &["--name", road::NAME])?)?;
    let values = world.installation(&json!({}))?;
    let words = ["install", "--values", &values, "--invitation", &invitation, "--wait", "300"];
    let installed = thread::scope(|scope| {
        let installing = scope.spawn(|| world.answer(&words, 0));
        let approved = approve(world, road);
        let installed = installing.join().map_err(|_panic| anyhow!("install"))?;
        approved.and(installed)
    })?;
    let standing = installed.pointer("/bridge/standing").and_then(Value::as_str);
    ensure!(standing == Some("enrolled"), "{installed}");
    let keys = installed.pointer("/bridge/keys/standing").and_then(Value::as_str);
    ensure!(keys == Some("believed"), "{installed}");
    let invited = ["secret", "cloudtaser-invitation", "--namespace=cloudtaser-system"];
    ensure!(world.home.get(&invited).is_err(), "the invitation is still there");
    world.bridged = json!({ "enabled": true, "key": road.key });
    // Where names are not resolved, pods need the address of the broker's Service.
    let named = world.home.get(&["service", "kube-dns", "--namespace=kube-system"]).is_ok();
    if !named {
        let service = ["service", "cloudtaser-broker", "--namespace=cloudtaser-system"];
        let host = world.home.text(&service, "/spec/clusterIP")?;
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let broker = format!("{host}:7443");
        world.bridged = json!({ "enabled": true, "key": road.key, "broker": broker });
        let values = world.installation(&json!({}))?;
        world.answer(&["install", "--values", &values, "--wait", "300"], 0)?;
    }
    done(if named { "by the broker's name" } else { "no name service: by the broker's address" })
}

/// What people beside OpenBao do: they compare the cluster's key with what the operator says, and the
/// keys of its issuer with what the command line reads at the API server.
fn approve(world: &World, road: &Road) -> anyhow::Result<()> {
    let shown = until("the cluster to join", PATIENCE, || {
        let said = enrolment(world)?;
        let pending = said.get("standing").is_some_and(|standing| standing == "pending");
        Ok(said.get("key").and_then(Value::as_str).filter(|_| pending).map(str::to_owned))
    })?;
    let status = road.bridge("status", &["--json"])?;
    ensure!(status.contains(&shown), "the bridge knows another key than {shown}: {status}");
    let told = until("the keys of tokens to be told", PATIENCE, || {
        let told = world.cli(&["status"])?;
        let mut words = told.out.split_whitespace().chain(told.err.split_whitespace());
        let print = words.find(|word| *word == "--issuer-keys").and_then(|_| words.next());
        Ok(print.map(str::to_owned))
    })?;
    until("the keys to be shown to the bridge", KNOCK, || {
        Ok(road.bridge("status", &["--json"])?.contains(&told).then_some(()))
    })?;
    road.bridge("approve", &["--issuer-keys", &told, &shown]).map(drop)
}

/// How the cluster stands, as the operator says.
fn enrolment(world: &World) -> anyhow::Result<Value> {
    let annotation = "/metadata/annotations/cloudtaser.io~1enrolment";
    let text = world.home.text(&LEASE, annotation)?;
    serde_json::from_str(&text).context("no word on the Lease")
}

fn template(world: &World) -> Value {
    pods::spec(&json!([pods::container(world, "app", &["serve", "PASSWORD"])]))
}

fn by_bridge(mut workload: Value, at: &str) -> anyhow::Result<Value> {
    let metadata =
        workload.pointer_mut(at).and_then(Value::as_object_mut).context("no metadata")?;
    metadata.insert("annotations".to_owned(), json!({ "cloudtaser.io/server": "bridge" }));
    Ok(workload)
}

/// A pod has its secret, the bridge its line, and an auditor a receipt that verifies.
pub(super) fn pod(world: &mut World) -> anyhow::Result<Said> {
    let value = world.values.first().context("no value")?.clone();
    let pod = by_bridge(pods::pod("sealed", template(world)), "/metadata")?;
    world.home.create(&pod)?;
    pods::has(&world.home, "sealed", "app", "PASSWORD", &value)?;
    pods::is_wrapped(&world.home, "sealed", "app")?;
    let uid = world.home.text(&["pod", "sealed"], "/metadata/uid")?;
    let road = world.road.as_ref().context("there is no road")?;
    let lines = road.audited(&[("event", "read"), ("pod", &uid), ("decision", "released")])?;
    ensure!(lines == 1, "the bridge has {lines} releases of this pod");
    let shown =
        world.answer(&["evidence", "verify", &road.log(), "--policy", &road.log_policy()], 0)?;
    let status = world.answer(&["status"], 1)?;
    let standing = status.pointer("/bridge/standing").and_then(Value::as_str);
    ensure!(standing == Some("enrolled"), "status: {status}");
    ensure!(!shown.to_string().contains(&value), "the evidence has the value");
    world.home.delete("pod", "sealed")?;
    done("a value, a line, a receipt")
}

/// One of two operators dies while pods start by its broker.
pub(super) fn dies(world: &mut World) -> anyhow::Result<Said> {
    let value = world.values.first().context("no value")?.clone();
    let workload = pods::workload("Deployment", "sealed-web", 4, template(world));
    let workload = by_bridge(workload, "/spec/template/metadata")?;
    world.home.apply(&workload)?;
    let killed = operators::kill_one(world)?;
    world.home.run(&["rollout", "status", "deployment/sealed-web", "--timeout=240s"])?;
    let all = pods::of_app(&world.home, "sealed-web")?;
    for pod in &all {
        pods::has(&world.home, pod, "app", "PASSWORD", &value)?;
    }
    world.home.delete("deployment", "sealed-web")?;
    operators::ready(world)?;
    done(format!("{} pods, without {killed}", all.len()))
}

/// The cluster is put out: status says so, and no pod gets anything; then it gives its key up.
pub(super) fn revoked(world: &mut World) -> anyhow::Result<Said> {
    let road = world.road.as_ref().context("there is no road")?;
    let said = enrolment(world)?;
    let key = said.get("key").and_then(Value::as_str).context("no key")?;
    road.bridge("revoke", &[key])?;
    let why = until("status to say so", KNOCK, || {
        let status = world.answer(&["status"], 1)?;
        let refused = status.pointer("/bridge/standing").is_some_and(|is| is == "refused");
        Ok(status.pointer("/bridge/why").filter(|_| refused).map(Value::to_string))
    })?;
    let mut pod = by_bridge(pods::pod("late", template(world)), "/metadata")?;
    let annotations = pod.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    annotations.context("none")?.insert("cloudtaser.io/deadline".to_owned(), "3s".into());
    world.home.create(&pod)?;
    until("the pod to be told", PATIENCE, || {
        let log = world.home.logs("late", "app")?;
        Ok(log.contains("no certificate of the bridge").then_some(()))
    })
    .with_context(|| pods::trouble(&world.home, "late"))?;
    world.home.delete("pod", "late")?;
    done(why)
}

/// Whoever forgets the bridge is asked; whoever says so gives it up.
pub(super) fn left(world: &mut World) -> anyhow::Result<Said> {
    world.bridged = Value::Null;
    let values = world.installation(&json!({}))?;
    let ran = world.cli(&["install", "--values", &values])?;
    ensure!(ran.code == 76 && ran.err.contains("--bridge none"), "{}: {}", ran.code, ran.err);
    let words = ["install", "--values", &values, "--bridge", "none", "--wait", "300"];
    let answer = world.answer(&words, 0)?;
    let removed = answer.get("removed").map(Value::to_string).unwrap_or_default();
    if !removed.contains("cloudtaser-cluster") {
        bail!("the cluster's key is still there: {answer}");
    }
    world.road = None;
    done("")
}
