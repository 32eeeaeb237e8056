//! `status`: what is protected on a cluster, at which level, and why not.
//!
//! It reads what a user may read: pods, the two workloads, and, where that is allowed, the metrics
//! of agents and the first lines of a wrapper's log. What cannot be read is "not known", never good.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::Result;
use clap::Args;
use cloudtaser_core::names::kubernetes as names;
use cloudtaser_k8s::install::{AGENT, METRICS_PORT, OPERATOR, WEBHOOKS};
use serde::Serialize;
use serde_json::Value;

use super::{DeployError, inventory, uninstall::opted_in};
use crate::{
    cluster::{ApiError, Cluster, ClusterArgs},
    ui,
};

const AFTER: &str = "\
Levels come from the wrapper's own first log line and the node agent's metrics, through the API
server: without the right to read pods/log or pods/proxy they are not known. A level is what a
program on that node said; whether to believe a node is another question (docs/threat-model.md).

JSON: {\"context\", \"operators\", \"webhooks\", \"nodes\", \"pods\", \"problems\"}.

Exit: 0 no problem, 1 problems, 64 usage, 69 cluster not reachable or no cloudtaser, 76 refused.";

/// Says what is protected.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// All that is to be told.
#[derive(Debug, Default, Serialize)]
struct Status {
    context: String,
    operators: Operators,
    /// Whether the API server knows the operator's certificate.
    webhooks: bool,
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    problems: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
struct Operators {
    ready: u64,
    wanted: u64,
    image: String,
}

/// One node, as its agent has it.
#[derive(Debug, Serialize)]
struct Node {
    name: String,
    /// `enforcing`, `degraded`, `off`, or `not known`.
    agent: String,
    tier: String,
}

/// One pod that is opted in.
#[derive(Debug, Serialize)]
struct Pod {
    namespace: String,
    name: String,
    node: String,
    phase: String,
    /// Containers that start under the wrapper.
    wrapped: Vec<String>,
    /// Per container, what the wrapper said of each adversary.
    levels: BTreeMap<String, BTreeMap<String, String>>,
    agent: String,
    problem: Option<String>,
}

/// The verb.
pub(crate) fn status(args: &StatusArgs) -> Result<ExitCode> {
    let cluster = Cluster::open(&args.cluster).map_err(DeployError::from)?;
    let progress = ui::Progress::start().lively();
    progress.say("asking the cluster");
    let status = look(&cluster)?;
    drop(progress);
    if args.json {
        ui::line(&serde_json::to_string(&status)?);
    } else {
        show(&status);
    }
    Ok(if status.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn look(cluster: &Cluster) -> Result<Status, DeployError> {
    let there = inventory::find(cluster)?;
    let find = |kind: &str, name: &str| {
        there.iter().find(|found| found.kind == kind && found.text("/metadata/name") == name)
    };
    let Some(operator) = find("Deployment", OPERATOR) else {
        return Err(DeployError::NotInstalled);
    };
    let mut status = Status { context: cluster.context.clone(), ..Status::default() };
    let number = |at: &str| operator.json.pointer(at).and_then(Value::as_u64).unwrap_or_default();
    status.operators = Operators {
        ready: number("/status/availableReplicas"),
        wanted: number("/spec/replicas"),
        image: operator.text("/spec/template/spec/containers/0/image").to_owned(),
    };
    let hooks = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
    status.webhooks = hooks.iter().all(|kind| {
        let bundle = find(kind, WEBHOOKS)
            .map(|hook| !hook.text("/webhooks/0/clientConfig/caBundle").is_empty());
        bundle == Some(true)
    });
    if status.operators.ready == 0 {
        status.problems.push("no operator is ready: opted-in pods cannot start".to_owned());
    }
    if !status.webhooks {
        let what = "the API server does not know the operator's certificate, or a webhook \
                    configuration is gone: `cloudtaser install` puts it back";
        status.problems.push(what.to_owned());
    }
    match find("DaemonSet", AGENT) {
        Some(agents) => status.nodes = nodes(cluster, agents.text("/metadata/namespace"))?,
        None => status.problems.push("no node agent is installed: root of a node reads".to_owned()),
    }
    for node in status.nodes.iter().filter(|node| node.agent != "enforcing") {
        status.problems.push(format!("node {}: the agent is {}", node.name, node.agent));
    }
    status.pods =
        opted_in(cluster)?.iter().map(|pod| of_pod(cluster, pod, &status.nodes)).collect();
    for pod in &status.pods {
        if let Some(problem) = &pod.problem {
            status.problems.push(format!("pod {}/{}: {problem}", pod.namespace, pod.name));
        }
    }
    Ok(status)
}

/// Every node, and what its agent says of itself.
fn nodes(cluster: &Cluster, namespace: &str) -> Result<Vec<Node>, ApiError> {
    let selector = format!("&labelSelector=app.kubernetes.io%2Fcomponent%3D{AGENT}");
    let agents = cluster.list(&format!("/api/v1/namespaces/{namespace}/pods"), &selector)?;
    let mut states = BTreeMap::new();
    for pod in &agents {
        let metrics = cluster.text(&format!(
            "/api/v1/namespaces/{namespace}/pods/{}:{METRICS_PORT}/proxy/metrics",
            text(pod, "/metadata/name")
        ));
        let state = metrics.as_deref().and_then(state_in).unwrap_or_else(|| {
            let ready = pod.pointer("/status/containerStatuses/0/ready");
            let up = ready.and_then(Value::as_bool) == Some(true);
            let state = if up { "not known" } else { "off" };
            (state.to_owned(), String::new())
        });
        states.insert(text(pod, "/spec/nodeName"), state);
    }
    // Who may not list nodes sees those that have an agent.
    let all = match cluster.list("/api/v1/nodes", "") {
        Ok(nodes) => nodes.iter().map(|node| text(node, "/metadata/name")).collect(),
        Err(ApiError::Forbidden { .. }) => states.keys().cloned().collect::<Vec<_>>(),
        Err(error) => return Err(error),
    };
    Ok(all
        .into_iter()
        .map(|name| {
            let missing = ("off".to_owned(), String::new());
            let (agent, tier) = states.get(&name).cloned().unwrap_or(missing);
            Node { name, agent, tier }
        })
        .collect())
}

/// SECURITY: as with logs, only words that are known are repeated.
const STATES: [&str; 3] = ["degraded", "enforcing", "off"];
const TIERS: [&str; 2] = ["fmod_ret", "lsm"];

/// The state that an agent's metrics have at 1, and its tier.
fn state_in(metrics: &str) -> Option<(String, String)> {
    let name = cloudtaser_core::names::agent_metrics::STATE;
    let line = metrics.lines().find(|line| line.starts_with(name) && line.ends_with(" 1"))?;
    let label = |key: &str| {
        let (_, rest) = line.split_once(&format!("{key}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let state = label("state").filter(|state| STATES.contains(&state.as_str()))?;
    let tier = label("tier").filter(|tier| TIERS.contains(&tier.as_str()));
    Some((state, tier.unwrap_or_default()))
}

fn of_pod(cluster: &Cluster, pod: &Value, nodes: &[Node]) -> Pod {
    let (namespace, name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
    let node = text(pod, "/spec/nodeName");
    let phase = text(pod, "/status/phase");
    let wrapped = wrapped(pod);
    let mut levels = BTreeMap::new();
    if phase == "Running" {
        for container in &wrapped {
            let log = cluster.text(&format!(
                "/api/v1/namespaces/{namespace}/pods/{name}/log?container={container}&limitBytes=16384"
            ));
            if let Some(level) = log.as_deref().and_then(level_in) {
                levels.insert(container.clone(), level);
            }
        }
    }
    let agent = nodes.iter().find(|each| each.name == node).map(|each| each.agent.clone());
    let agent = agent.unwrap_or_else(|| "not known".to_owned());
    let live = !matches!(phase.as_str(), "Failed" | "Succeeded");
    let problem = if wrapped.is_empty() && live {
        // Admission refuses such pods: this one came while it was not there, or around it.
        Some(
            "is opted in and not wrapped: it was made while no webhook was there; delete it, and \
              it comes back wrapped"
                .to_owned(),
        )
    } else {
        None
    };
    Pod { namespace, name, node, phase, wrapped, levels, agent, problem }
}

/// Containers whose command is the wrapper.
fn wrapped(pod: &Value) -> Vec<String> {
    let all = ["/spec/initContainers", "/spec/containers"].map(|at| pod.pointer(at));
    let all = all.into_iter().flatten().filter_map(Value::as_array).flatten();
    all.filter(|container| text(container, "/command/0") == names::WRAPPER_PATH)
        .map(|container| text(container, "/name"))
        .filter(|name| name != names::DELIVER)
        .collect()
}

/// SECURITY: nothing else of a log reaches a terminal or a report.
const ADVERSARIES: [&str; 6] = ["T1", "T2", "T3", "T4", "T5", "T6"];
const VERDICTS: [&str; 3] = ["closed", "open", "partial"];

/// Verdicts per adversary from the line that a wrapper writes before it starts its app.
///
/// SECURITY: what an app printed may look the same; the first line of the form counts, and the
/// wrapper wrote before the app was there.
fn level_in(log: &str) -> Option<BTreeMap<String, String>> {
    let line = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line.get("cloudtaser").is_some_and(|kind| kind == "protection-level"))?;
    let rows = line.pointer("/level/rows")?.as_array()?;
    let known = |row: &Value| {
        let (id, verdict) = (text(row, "/id"), text(row, "/verdict"));
        let fits = ADVERSARIES.contains(&id.as_str()) && VERDICTS.contains(&verdict.as_str());
        fits.then_some((id, verdict))
    };
    Some(rows.iter().filter_map(known).collect())
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn show(status: &Status) {
    let Operators { ready, wanted, image } = &status.operators;
    ui::line(&format!("operators  {ready} of {wanted} ready   {image}"));
    if !status.nodes.is_empty() {
        let mut table = ui::table_with(&["node", "agent", "tier"]);
        for node in &status.nodes {
            table.add_row([&node.name, &node.agent, &node.tier]);
        }
        ui::line(&format!("\n{table}"));
    }
    if status.pods.is_empty() {
        ui::line("\nno pod is opted in (label cloudtaser.io/inject: \"true\")");
    } else {
        let mut table = ui::table_with(&["pod", "phase", "wrapped", "level", "agent"]);
        for pod in &status.pods {
            table.add_row([
                format!("{}/{}", pod.namespace, pod.name),
                pod.phase.clone(),
                if pod.wrapped.is_empty() { "NO".to_owned() } else { pod.wrapped.join(", ") },
                in_words(pod),
                pod.agent.clone(),
            ]);
        }
        ui::line(&format!("\n{table}"));
    }
    ui::line("");
    for problem in &status.problems {
        ui::line(&ui::paint::bad(&format!("! {problem}")));
    }
    if status.problems.is_empty() {
        ui::line(&ui::paint::good("no problem found"));
    }
}

/// The weakest container's verdicts, as `T1 closed, T2 open`.
fn in_words(pod: &Pod) -> String {
    let Some((container, rows)) = pod.levels.iter().next() else { return "not known".to_owned() };
    let rows: Vec<_> = rows.iter().map(|(id, verdict)| format!("{id} {verdict}")).collect();
    let of = if pod.levels.len() > 1 { format!("{container}: ") } else { String::new() };
    format!("{of}{}", rows.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_state_is_the_one_that_stands_at_one() {
        let metrics = "# TYPE\ncloudtaser_agent_state{state=\"off\",tier=\"lsm\"} 0\n\
                       cloudtaser_agent_state{state=\"enforcing\",tier=\"lsm\"} 1\n";
        assert_eq!(state_in(metrics), Some(("enforcing".to_owned(), "lsm".to_owned())));
        assert_eq!(state_in("x 1\n"), None);
        assert_eq!(state_in("cloudtaser_agent_state{state=\"\u{1b}[2J\",tier=\"x\"} 1\n"), None);
    }

    #[test]
    fn the_level_is_the_first_line_of_that_form() {
        let log = "{\"level\":\"info\"}\nplain\n{\"cloudtaser\":\"protection-level\",\"level\":{\"rows\":\
                   [{\"id\":\"T1\",\"verdict\":\"closed\"}]}}\n{\"cloudtaser\":\"protection-level\",\
                   \"level\":{\"rows\":[]}}\n";
        assert_eq!(
            level_in(log).unwrap(),
            BTreeMap::from([("T1".to_owned(), "closed".to_owned())])
        );
    }

    #[test]
    fn only_a_command_that_is_the_wrapper_counts_as_wrapped() {
        let pod = json!({ "spec": {
            "initContainers": [{ "name": names::DELIVER, "command": [names::WRAPPER_PATH] }],
            "containers": [
                { "name": "a", "command": [names::WRAPPER_PATH, "run"] },
                { "name": "b", "command": ["/app"] },
            ],
        } });
        assert_eq!(wrapped(&pod), ["a"]);
    }
}
