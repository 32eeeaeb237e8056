//! The node agent: one privileged pod per node, with nothing of the API server's.
//!
//! Why it is privileged and not a list of capabilities, and why its program runs from the node and
//! not from its image, is in `docs/adr/0022-the-agent-in-a-pod.md`.

use cloudtaser_core::names;
use serde_json::{Value, json};

use super::contract::METRICS_PORT;
use super::namespaces::{labels, metadata, selector};
use super::source::Source;
use super::{AGENT, Object};

const FILE: &str = "agent.yaml";

/// The program in its image.
const PROGRAM: &str = "/cloudtaser-agent";
/// The wrapper beside it: the file that pods are given, so that the agent knows its digest.
const WRAPPER: &str = "/cloudtaser-wrapper";
/// What it keeps on the node.
const STATE: &str = "/var/lib/cloudtaser-agent";
/// Where the program is put on the node: what may take over from it is decided by its inode.
const PROGRAMS: &str = "/var/lib/cloudtaser-agent/programs";
/// The folder of its socket, on the node.
const SOCKET: &str = "/run/cloudtaser-agent";

/// DaemonSet, and what lets it have its priority.
pub(super) fn objects(source: &Source<'_>) -> Vec<Object> {
    let namespace = source.leaf("agent.namespace");
    let metadata = metadata(source, AGENT, &namespace);
    let quota = json!({
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": metadata,
        // Some clouds refuse system priorities where no quota speaks of them.
        "spec": {
            "hard": { "pods": "15k" },
            "scopeSelector": { "matchExpressions": [{
                "operator": "In",
                "scopeName": "PriorityClass",
                "values": ["system-node-critical", "system-cluster-critical"],
            }] },
        },
    });
    let daemons = json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata,
        "spec": {
            "revisionHistoryLimit": 3,
            "selector": { "matchLabels": selector(AGENT) },
            "template": {
                "metadata": { "labels": labels(source, Some(AGENT)) },
                "spec": pod(source),
            },
            "updateStrategy": {
                "type": "RollingUpdate",
                "rollingUpdate": { "maxUnavailable": "10%" },
            },
        },
    });
    [quota, daemons].map(|json| Object::new(FILE, json).when("agent.enabled")).into()
}

fn pod(source: &Source<'_>) -> Value {
    let on_node = |name: &str, path: &str, kind: &str| json!({ "name": name, "hostPath": { "path": path, "type": kind } });
    json!({
        // SECURITY: root of the node is who it guards against; a token here would be root's.
        "automountServiceAccountToken": false,
        "containers": [container(source)],
        // Numbers of processes mean the same to the kernel side and to the agent there alone.
        "hostPID": true,
        "imagePullSecrets": source.leaf("images.pullSecrets"),
        "nodeSelector": source.leaf("agent.nodeSelector"),
        "priorityClassName": source.leaf("agent.priorityClassName"),
        "serviceAccountName": AGENT,
        // Signals to it are refused, so there is nothing to wait for.
        "terminationGracePeriodSeconds": 1,
        "tolerations": source.leaf("agent.tolerations"),
        "volumes": [
            on_node("kernel", "/sys/kernel", "Directory"),
            on_node("socket", SOCKET, "DirectoryOrCreate"),
            on_node("state", STATE, "DirectoryOrCreate"),
        ],
    })
}

fn container(source: &Source<'_>) -> Value {
    let mount = |name: &str, path: &str| json!({ "name": name, "mountPath": path });
    let metrics = format!("--metrics=0.0.0.0:{METRICS_PORT}");
    let programs = format!("--folder={PROGRAMS}");
    let wrapper = format!("--wrapper={WRAPPER}");
    json!({
        "name": "agent",
        "image": source.leaf("images.agent"),
        "imagePullPolicy": source.leaf("images.pullPolicy"),
        "command": [PROGRAM],
        // kube-proxy and the network's own pods start beside it, and need their kernel modules.
        "args": ["from-node", programs, "--", "run", wrapper, metrics, "--preload=kubernetes"],
        "env": [{ "name": names::ENV_AGENT_ARGUMENTS, "value": source.quoted("agent.arguments") }],
        "ports": [{ "name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP" }],
        // Ready is one whose canary was attacked and whose state is not `OFF`. There is no liveness
        // probe: kubelet cannot end it, and what it attached outlives it.
        "readinessProbe": {
            "httpGet": { "path": "/metrics", "port": "metrics" },
            "periodSeconds": 10,
        },
        "resources": source.leaf("agent.resources"),
        "securityContext": {
            // SECURITY: the canary is attacked with all that root of the node has. A capability
            // less, and a road looks closed that is open.
            "privileged": true,
            "readOnlyRootFilesystem": true,
            "runAsUser": 0,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            // securityfs, tracefs and debugfs: which LSMs run, and roads that are to be attacked.
            mount("kernel", "/sys/kernel"),
            mount("socket", SOCKET),
            mount("state", STATE),
        ],
    })
}
