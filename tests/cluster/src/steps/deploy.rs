//! The installation itself, from its first minute to its last.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::{Said, done};
use crate::{
    images,
    kubectl::{Kubectl, until},
    openbao::OpenBao,
    pods,
    world::{HOME, OPEN, PLACES, STRICT, World},
};

/// What every object of an installation carries.
const OURS: &str = "--selector=app.kubernetes.io/part-of=cloudtaser";
/// What its objects are called, labels or none.
const NAMES: [&str; 8] = [
    "cloudtaser-agent",
    "cloudtaser-broker",
    "cloudtaser-cluster",
    "cloudtaser-enrolment",
    "cloudtaser-invitation",
    "cloudtaser-node",
    "cloudtaser-operator",
    "cloudtaser-system",
];
const PATIENCE: Duration = Duration::from_secs(180);

/// Asks who the cluster is; leaves one alone that has a cloudtaser.
pub(super) fn cluster(world: &mut World) -> anyhow::Result<Said> {
    let nodes = world.home.get(&["nodes"])?;
    let nodes = items(&nodes);
    let text = |node: &Value, at: &str| {
        node.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let first = nodes.first().context("the cluster has no node")?;
    let kernel = text(first, "/status/nodeInfo/kernelVersion");
    let version = text(first, "/status/nodeInfo/kubeletVersion");
    let left = leftovers(&world.home)?;
    ensure!(left.is_empty(), "there is a cloudtaser already: {}", left.join(", "));
    for name in PLACES {
        let there = world.home.get(&["namespace", name]).is_ok();
        ensure!(!there, "namespace {name} is there already: an earlier run left it, take it away");
    }
    for (name, level) in [(HOME, "baseline"), (STRICT, "restricted"), (OPEN, "privileged")] {
        world.home.create(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": name, "labels": { "pod-security.kubernetes.io/enforce": level } } }))?;
    }
    for place in PLACES {
        let home = world.home.within(place);
        until("the account of the namespace", PATIENCE, || {
            Ok(home.get(&["serviceaccount", "default"]).is_ok().then_some(()))
        })?;
    }
    done(format!("{} nodes, {version}, Linux {kernel}", nodes.len()))
}

pub(super) fn images(world: &mut World) -> anyhow::Result<Said> {
    let road = world.options.road.clone().context("no road")?;
    let count = images::bring(&world.folder, &world.images, &road)?;
    done(format!("{count}, tag {}", world.images.tag))
}

pub(super) fn openbao(world: &mut World) -> anyhow::Result<Said> {
    let openbao = OpenBao::start(world)?;
    let note = openbao.address();
    world.openbao = Some(openbao);
    let value = world.value()?;
    world.openbao()?.put("e2e/app", &json!({ "password": value, "user": "app" }))?;
    done(note)
}

/// Nothing may be bad where everything is about to work.
pub(super) fn doctor(world: &mut World) -> anyhow::Result<Said> {
    let answer = world.answer(&["doctor"], 1)?;
    let findings = answer.pointer("/findings").or(Some(&answer)).and_then(Value::as_array);
    let findings = findings.context("no findings")?;
    let of = |state: &str| {
        let has = |finding: &&Value| finding.get("state").is_some_and(|is| is == state);
        findings.iter().filter(has).map(ToString::to_string).collect::<Vec<_>>()
    };
    let bad = of("bad");
    ensure!(bad.is_empty(), "{}", bad.join("\n"));
    done(format!("{} findings, {} of them weak", findings.len(), of("weak").len()))
}

pub(super) fn install(world: &mut World) -> anyhow::Result<Said> {
    let values = world.installation(&json!({}))?;
    world.is_installed = true;
    let answer = world.answer(&["install", "--values", &values, "--wait", "300"], 0)?;
    let number = |at: &str| answer.pointer(at).and_then(Value::as_u64).unwrap_or_default();
    ensure!(number("/ready/operators") == 2, "{answer}");
    ensure!(!names(&answer, "created").is_empty(), "{answer}");
    let agents = number("/ready/agents");
    let off = names(&answer, "ready/without_agent").join("; ");
    done(format!("2 operators, {agents} agents {off}"))
}

pub(super) fn again(world: &mut World) -> anyhow::Result<Said> {
    let values = world.installation(&json!({}))?;
    let answer = world.answer(&["install", "--values", &values], 0)?;
    for word in ["created", "changed", "removed"] {
        let names = names(&answer, word);
        ensure!(names.is_empty(), "{word}: {}", names.join(", "));
    }
    done(format!("{} objects", names(&answer, "unchanged").len()))
}

pub(super) fn uninstall_refused(world: &mut World) -> anyhow::Result<Said> {
    let ran = world.cli(&["uninstall"])?;
    ensure!(ran.code == 76, "it ended with {}\n{}{}", ran.code, ran.out, ran.err);
    ensure!(ran.err.contains(HOME), "it does not say whose pods: {}", ran.err);
    done(ran.err.lines().next().unwrap_or_default())
}

/// The workloads go, then cloudtaser; then nothing of it is there, and other pods start.
pub(super) fn uninstall(world: &mut World) -> anyhow::Result<Said> {
    for name in PLACES {
        let home = world.home.within(name);
        home.run(&["delete", "deployments,statefulsets,daemonsets,jobs,cronjobs", "--all"])?;
        home.run(&["delete", "pods", "--selector=cloudtaser.io/inject", "--timeout=120s"])?;
    }
    let answer = world.answer(&["uninstall"], 0)?;
    world.is_installed = false;
    let removed = names(&answer, "removed").len();
    let left = leftovers(&world.home)?;
    ensure!(left.is_empty(), "still there: {}", left.join(", "));
    let container = pods::container(world, "app", &["sleep"]);
    world.home.create(&pods::pod("after", pods::spec(&json!([container]))))?;
    world.home.delete("pod", "after")?;
    let ran = world.cli(&["uninstall"])?;
    ensure!(ran.code == 0 && ran.out.contains("no cloudtaser"), "{}{}", ran.out, ran.err);
    let ran = world.cli(&["status"])?;
    ensure!(ran.code == 69, "status ended with {}: {}", ran.code, ran.err);
    done(format!("{removed} objects removed"))
}

/// Whatever happened before.
pub(super) fn clean(world: &mut World) -> anyhow::Result<Said> {
    world.road = None;
    world.openbao = None;
    if world.is_installed {
        let ran = world.cli(&["uninstall", "--even-if-used"])?;
        ensure!(ran.code == 0, "{}", ran.err);
    }
    world.home.delete("clusterrolebinding", pods::REVIEWER)?;
    for name in PLACES {
        world.home.delete("namespace", name)?;
    }
    let left = leftovers(&world.home)?;
    ensure!(left.is_empty(), "still there: {}", left.join(", "));
    done("")
}

/// Everything on the cluster that carries our labels or our name, of whatever kind.
fn leftovers(kubectl: &Kubectl) -> anyhow::Result<Vec<String>> {
    let kinds = kinds(kubectl)?.join(",");
    let look = ["get", &kinds, "--all-namespaces", "--output=name"];
    let labelled = kubectl.run(&[&look[..], &[OURS]].concat())?;
    let all = kubectl.run(&look)?;
    // The suite's own namespaces begin with another word, and events are the API server's memory of
    // what was: it forgets them by itself.
    let ours = |name: &&str| {
        let (kind, bare) = name.split_once('/').unwrap_or(("", name));
        !kind.starts_with("event") && NAMES.iter().any(|start| bare.starts_with(start))
    };
    let mut left: Vec<String> =
        labelled.lines().chain(all.lines().filter(ours)).map(str::to_owned).collect();
    left.sort();
    left.dedup();
    Ok(left)
}

/// Every kind that can be listed.
pub(super) fn kinds(kubectl: &Kubectl) -> anyhow::Result<Vec<String>> {
    let text = kubectl.run(&["api-resources", "--verbs=list", "--output=name"])?;
    let kinds: Vec<String> = text.lines().map(str::to_owned).collect();
    if kinds.is_empty() {
        bail!("the API server has no kinds");
    }
    // What metrics servers answer is no object.
    Ok(kinds.into_iter().filter(|kind| !kind.contains("metrics.k8s.io")).collect())
}

pub(super) fn items(list: &Value) -> Vec<Value> {
    list.get("items").and_then(Value::as_array).cloned().unwrap_or_default()
}

fn names(answer: &Value, member: &str) -> Vec<String> {
    let list = answer.pointer(&format!("/{member}")).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
