//! A cluster: its version, clock and nodes, what the caller may, and who else is there.

use std::collections::{BTreeMap, BTreeSet};

use cloudtaser_k8s::install::{AGENT_NAMESPACE, NAMESPACE, Values, objects};
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::{Finding, State, calendar};
use crate::{
    cluster::{ApiError, Cluster, collection},
    deploy::seen_bridge,
};

/// The first minor version whose webhooks have conditions without a switch.
const LEAST_MINOR: u64 = 30;
/// Tokens and tickets stand a wrong clock for so long.
const SKEW_BAD: i64 = 30;
const SKEW_WEAK: i64 = 5;

/// Looks at everything. Fails only where the cluster cannot be asked at all.
pub(super) fn look(cluster: &Cluster) -> Result<Vec<Finding>, ApiError> {
    let mut findings = vec![version(cluster)?, clock(cluster)?];
    findings.push(rights(cluster)?);
    findings.extend(nodes(cluster)?);
    findings.extend(neighbours(cluster)?);
    findings.extend(admission(cluster)?);
    findings.extend(bridge(cluster)?);
    Ok(findings)
}

fn version(cluster: &Cluster) -> Result<Finding, ApiError> {
    let version = cluster.get("/version")?.unwrap_or_default();
    let text = |at: &str| version.pointer(at).and_then(Value::as_str).unwrap_or_default();
    // Some clouds write `30+`.
    let number = |at: &str| text(at).trim_end_matches('+').parse::<u64>().ok();
    let found = format!("Kubernetes {}", text("/gitVersion"));
    let fix = "upgrade to 1.30 or later: admission without matchConditions is not supported";
    Ok(match (number("/major"), number("/minor")) {
        (Some(1), Some(minor)) if minor < LEAST_MINOR => {
            Finding::new("version", State::Bad, found, fix)
        }
        (Some(_), Some(_)) => Finding::ok("version", found),
        _ => Finding::new("version", State::Unknown, found, fix),
    })
}

fn clock(cluster: &Cluster) -> Result<Finding, ApiError> {
    let here = clock_gettime(ClockId::CLOCK_REALTIME).map(|time| time.tv_sec()).unwrap_or_default();
    let Some(there) = cluster.date()?.as_deref().and_then(calendar::seconds) else {
        return Ok(Finding::new("clock", State::Unknown, "the API server tells no time", ""));
    };
    let off = here - there;
    let found = format!("{off:+} s here against the API server");
    let fix = "run NTP on both: tokens and tickets are good for minutes";
    let state = match off.abs() {
        SKEW_BAD.. => State::Bad,
        SKEW_WEAK.. => State::Weak,
        _ => State::Ok,
    };
    Ok(Finding::new("clock", state, found, fix))
}

/// What `install`, `status` and `uninstall` do, asked of the API server one by one.
fn rights(cluster: &Cluster) -> Result<Finding, ApiError> {
    let mut asked = BTreeSet::new();
    for object in objects(&Values::default(), NAMESPACE) {
        let place = object.namespace();
        let path = collection(object.api_version(), object.kind(), place).unwrap_or_default();
        let resource = path.rsplit('/').next().unwrap_or_default().to_owned();
        let group = object.api_version().split_once('/').map_or("", |(group, _)| group);
        for verb in ["create", "delete", "get", "list", "patch"] {
            asked.insert((group.to_owned(), resource.clone(), verb, place.to_owned()));
        }
    }
    asked.insert((String::new(), "pods".to_owned(), "list", String::new()));
    let path = collection("authorization.k8s.io/v1", "SelfSubjectAccessReview", "");
    let path = path.unwrap_or_default();
    let mut refused: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let count = asked.len();
    for (group, resource, verb, namespace) in asked {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "group": group, "resource": resource, "verb": verb, "namespace": namespace,
            } },
        });
        let answer = cluster.review(&path, &review)?;
        if answer.pointer("/status/allowed").and_then(Value::as_bool) != Some(true) {
            refused.entry(resource).or_default().push(verb);
        }
    }
    if refused.is_empty() {
        return Ok(Finding::ok("your rights", format!("all {count} that install and status need")));
    }
    let all: Vec<_> =
        refused.iter().map(|(name, verbs)| format!("{} {name}", verbs.join("/"))).collect();
    let fix = "have somebody with cluster-admin install, or grant these";
    Ok(Finding::new("your rights", State::Bad, format!("you may not: {}", all.join("; ")), fix))
}

fn nodes(cluster: &Cluster) -> Result<Vec<Finding>, ApiError> {
    let nodes = match cluster.list("/api/v1/nodes", "") {
        Ok(nodes) => nodes,
        Err(ApiError::Forbidden { .. }) => {
            let fix = "nodes are read with the right to list them";
            return Ok(vec![Finding::new("nodes", State::Unknown, "you may not list them", fix)]);
        }
        Err(error) => return Err(error),
    };
    Ok(nodes.iter().map(of_node).collect())
}

/// By its kernel's version; what a node really gives is what its agent shows.
fn of_node(node: &Value) -> Finding {
    let text = |at: &str| node.pointer(at).and_then(Value::as_str).unwrap_or_default();
    let check = format!("node {}", text("/metadata/name"));
    let kernel = text("/status/nodeInfo/kernelVersion");
    let found = format!(
        "Linux {kernel}, {}, {}",
        text("/status/nodeInfo/osImage"),
        text("/status/nodeInfo/containerRuntimeVersion")
    );
    if text("/status/nodeInfo/operatingSystem") == "windows" {
        return Finding::new(&check, State::Weak, "Windows", "opt no pods in that run there");
    }
    let architecture = text("/status/nodeInfo/architecture");
    if !matches!(architecture, "" | "amd64") {
        let fix = "opt no pods in that run there: nodeSelector kubernetes.io/arch: amd64 keeps a pod \
                   from it";
        return Finding::new(
            &check,
            State::Weak,
            format!("{architecture}: the programs are for amd64"),
            fix,
        );
    }
    let (state, fix) = match release(kernel) {
        None => (State::Unknown, "its kernel's version cannot be read"),
        Some(version) if version < (5, 14) => {
            (State::Weak, "no sealed memory before Linux 5.14: use a newer node image")
        }
        Some(version) if version < (6, 5) => (
            State::Weak,
            "boot it with secretmem.enable=1, or use Linux 6.5: before, sealed memory is off \
             unless asked for",
        ),
        Some(_) => (State::Ok, ""),
    };
    Finding::new(&check, state, found, fix)
}

fn release(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.split_once('.')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((major.parse().ok()?, rest.get(..end)?.parse().ok()?))
}

/// Others on the nodes that load BPF programs while they run.
const LOADERS: &[(&str, &str)] =
    &[("cilium", "Cilium"), ("kubearmor", "KubeArmor"), ("tetragon", "Tetragon")];

fn neighbours(cluster: &Cluster) -> Result<Vec<Finding>, ApiError> {
    let all = match cluster.list("/apis/apps/v1/daemonsets", "") {
        Ok(all) => all,
        Err(ApiError::Forbidden { .. }) => {
            let found = "you may not list DaemonSets";
            return Ok(vec![Finding::new("neighbours", State::Unknown, found, "")]);
        }
        Err(error) => return Err(error),
    };
    let name = |object: &Value| {
        object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let mut findings = Vec::new();
    for (word, product) in LOADERS {
        let found: Vec<_> = all.iter().map(name).filter(|name| name.contains(word)).collect();
        if found.is_empty() {
            continue;
        }
        let fix = "it loads BPF programs at each policy and pod, which the agent refuses to files \
                   that are not listed: put --allow-loader=sha256:HEX:SIZE into agent.arguments, as \
                   `cloudtaser-agent loader FILE` prints it, or --leave-open=bpf, and levels then \
                   say so (docs/guide/operate.md)";
        let words = format!("{product} is there ({})", found.join(", "));
        findings.push(Finding::new("neighbours", State::Weak, words, fix));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("neighbours", "no KubeArmor, Tetragon or Cilium"));
    }
    Ok(findings)
}

/// Namespaces that are there already, with other labels than ours.
fn admission(cluster: &Cluster) -> Result<Vec<Finding>, ApiError> {
    let mut findings = Vec::new();
    for (name, wanted) in [(NAMESPACE, "restricted"), (AGENT_NAMESPACE, "privileged")] {
        let Some(there) = cluster.get(&format!("/api/v1/namespaces/{name}"))? else { continue };
        let labels = there.pointer("/metadata/labels");
        let level = labels.and_then(|l| l.get("pod-security.kubernetes.io/enforce"));
        let level = level.and_then(Value::as_str).unwrap_or("unset");
        let admits = level == wanted || wanted == "restricted";
        let state = if admits { State::Ok } else { State::Bad };
        let fix = "agents are not admitted there: `cloudtaser install --take-over` sets the label";
        let found = format!("namespace {name} enforces {level}");
        findings.push(Finding::new("pod security", state, found, fix));
    }
    Ok(findings)
}

/// How the cluster stands with its bridge, where it is to have one.
fn bridge(cluster: &Cluster) -> Result<Option<Finding>, ApiError> {
    let Some((found, wrong)) = seen_bridge(cluster, NAMESPACE)? else { return Ok(None) };
    Ok(Some(match wrong {
        None => Finding::ok("bridge", found),
        Some(fix) => Finding::new("bridge", State::Bad, found, &fix),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_told_apart_by_what_they_give() {
        let state = |kernel: &str| {
            of_node(&json!({ "status": { "nodeInfo": { "kernelVersion": kernel } } })).state
        };
        assert_eq!(state("5.10.0-1-cloud"), State::Weak);
        assert_eq!(state("6.1.0-56-cloud-amd64"), State::Weak);
        assert_eq!(state("6.5.0"), State::Ok);
        assert_eq!(state("6.12.117+deb12"), State::Ok);
        assert_eq!(state("custom"), State::Unknown);
        let info = json!({ "kernelVersion": "6.12.1", "architecture": "arm64" });
        let arm = of_node(&json!({ "status": { "nodeInfo": info } }));
        assert_eq!(arm.state, State::Weak);
    }
}
