//! `status`: what is protected on a cluster, at which level, and why not.
//!
//! It reads what a user may read: pods, the two workloads, and, where that is allowed, the metrics
//! of agents and the first lines of a wrapper's log. What cannot be read is "not known", never good.
//! Reading order: [`look`], [`read`] (what is believed of it), [`page`] (the same for a browser).

use std::{collections::BTreeMap, fs, path::PathBuf, process::ExitCode};

use anyhow::Result;
use askama::Template as _;
use clap::Args;
use cloudtaser_core::{level::Facets, names::kubernetes::BROKER};
use cloudtaser_evidence::{date, log::Clock};
use cloudtaser_k8s::{
    enrolment::Enrolment,
    install::{AGENT, METRICS_PORT, OPERATOR, WEBHOOKS},
};
use serde::Serialize;
use serde_json::Value;

use super::{DeployError, bridge, inventory, uninstall::opted_in};
use crate::{
    cluster::{ApiError, Cluster, ClusterArgs},
    evidence::{Releases, releases_by_pod},
    ui,
};

mod page;
mod read;

use read::{Said, text};

const AFTER: &str = "\
Levels come from the wrapper's own first log line and the node agent's metrics, through the API
server: without the right to read pods/log or pods/proxy they are not known. A level is what a
program on that node said; whether to believe a node is another question (docs/threat-model.md).

Examples:
  cloudtaser status
  cloudtaser status --html posture.html
  cloudtaser status --html posture.html --evidence LOG --policy policy   with each pod's last release

The page has no script and loads nothing: open it, print it, mail it. It shows the moment at which
it was made.

JSON: {\"context\", \"server\", \"read\", \"version\", \"kubernetes\", \"operators\", \"agents\", \"bridge\",
\"webhooks\", \"nodes\", \"pods\", \"problems\"}.

Exit: 0 no problem, 1 problems, 64 usage, 69 cluster not reachable or no cloudtaser, 76 refused,
77 the evidence is refused.";

/// Says what is protected.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    /// Write the result as a page for a browser or a printer, instead of printing it.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Receipts of releases (a bundle, a tlog-proof, or the folder of a log), for when each pod was
    /// given secrets last.
    #[arg(long, value_name = "EVIDENCE", requires = "policy")]
    evidence: Option<PathBuf>,
    /// Whose receipts to believe (C2SP tlog-policy).
    #[arg(long, value_name = "FILE", requires = "evidence")]
    policy: Option<PathBuf>,
}

/// All that is to be told.
#[derive(Debug, Default, Serialize)]
struct Status {
    context: String,
    server: String,
    /// When it was read (UTC).
    read: String,
    /// Of this program.
    version: &'static str,
    /// Version of the API server.
    kubernetes: String,
    operators: Operators,
    agents: Option<Agents>,
    /// How the cluster stands with its bridge, where it has one.
    bridge: Option<Enrolment>,
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

/// The node agents, as they should be.
#[derive(Debug, Default, Serialize)]
struct Agents {
    image: String,
}

/// One node, as its agent has it.
#[derive(Debug, Default, Serialize)]
struct Node {
    name: String,
    kernel: String,
    /// `enforcing`, `degraded`, `off`, or `not known`.
    agent: String,
    tier: String,
    /// Roads to a secret that the agent's last attack on its own canary found open.
    open_roads: Vec<String>,
    /// How long ago that attack was.
    canary_seconds: Option<u64>,
    /// Of the agent that runs there.
    image: String,
    /// Loaders of the node that an update replaced, and that the agent refuses.
    unlisted_loaders: u64,
}

/// One pod that is opted in.
#[derive(Debug, Serialize)]
struct Pod {
    namespace: String,
    name: String,
    uid: String,
    node: String,
    phase: String,
    /// Containers that start under the wrapper.
    wrapped: Vec<String>,
    /// Its other containers, which get no secrets.
    others: Vec<String>,
    /// The image that brought the wrapper.
    wrapper: String,
    /// Per container, what the wrapper said of each adversary.
    levels: BTreeMap<String, BTreeMap<String, String>>,
    /// Per container, what the wrapper measured.
    facets: BTreeMap<String, Facets>,
    agent: String,
    /// When it was given secrets last (UTC), where evidence was given and has it.
    last_release: Option<String>,
    problem: Option<String>,
}

/// The verb.
pub(crate) fn status(args: &StatusArgs) -> Result<ExitCode> {
    let releases = match (&args.evidence, &args.policy) {
        (Some(evidence), Some(policy)) => Some(releases_by_pod(evidence, policy)?),
        _ => None,
    };
    let cluster = Cluster::open(&args.cluster).map_err(DeployError::from)?;
    let progress = ui::Progress::start().lively();
    progress.say("asking the cluster");
    let status = look(&cluster, releases.as_ref())?;
    drop(progress);
    if let Some(path) = &args.html {
        let page = page::Page::new(&status, args.evidence.is_some()).render()?;
        let failed = |source| DeployError::Write { path: path.display().to_string(), source };
        fs::write(path, page).map_err(failed)?;
        let count = status.problems.len();
        ui::note(&format!("{count} problems, {} pods; in {}", status.pods.len(), path.display()));
    }
    if args.json {
        ui::line(&serde_json::to_string(&status)?);
    } else if args.html.is_none() {
        show(&status);
    }
    Ok(if status.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn look(cluster: &Cluster, releases: Option<&Releases>) -> Result<Status, DeployError> {
    let there = inventory::find(cluster)?;
    let find = |kind: &str, name: &str| {
        there.iter().find(|found| found.kind == kind && found.text("/metadata/name") == name)
    };
    let Some(operator) = find("Deployment", OPERATOR) else {
        return Err(DeployError::NotInstalled);
    };
    let image_in =
        |found: &inventory::Found| found.text("/spec/template/spec/containers/0/image").to_owned();
    let version = cluster.get("/version").ok().flatten().unwrap_or_default();
    let number = |at: &str| operator.json.pointer(at).and_then(Value::as_u64).unwrap_or_default();
    let mut status = Status {
        context: cluster.context.clone(),
        server: cluster.server.clone(),
        read: date::to_text(Clock::system().now_ms()),
        version: env!("CARGO_PKG_VERSION"),
        kubernetes: text(&version, "/gitVersion"),
        operators: Operators {
            ready: number("/status/availableReplicas"),
            wanted: number("/spec/replicas"),
            image: image_in(operator),
        },
        ..Status::default()
    };
    let hooks = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
    status.webhooks = hooks.iter().all(|kind| {
        let bundle = find(kind, WEBHOOKS)
            .map(|hook| !hook.text("/webhooks/0/clientConfig/caBundle").is_empty());
        bundle == Some(true)
    });
    if let Some(agents) = find("DaemonSet", AGENT) {
        status.agents = Some(Agents { image: image_in(agents) });
        status.nodes = nodes(cluster, agents.text("/metadata/namespace"))?;
    }
    if find("Service", BROKER).is_some() {
        status.bridge = match bridge::read(cluster, operator.text("/metadata/namespace")) {
            Err(ApiError::Forbidden { .. }) => None,
            said => said?,
        };
        if status.bridge.is_none() {
            let what = "how the cluster stands with its bridge is not known: no operator has said it, \
                        or you may not read its Lease";
            status.problems.push(what.to_owned());
        }
    }
    let pods = opted_in(cluster)?;
    status.pods = pods.iter().map(|pod| of_pod(cluster, pod, &status.nodes, releases)).collect();
    let said = status.bridge.as_ref().map(|said| bridge::words(said, cluster));
    let found = problems(&status, said.unwrap_or_default());
    status.problems.extend(found);
    Ok(status)
}

/// What is wrong, the cluster first.
fn problems(status: &Status, of_bridge: Vec<String>) -> Vec<String> {
    let mut problems = Vec::new();
    if status.operators.ready == 0 {
        problems.push("no operator is ready: opted-in pods cannot start".to_owned());
    }
    if !status.webhooks {
        let what = "the API server does not know the operator's certificate, or a webhook \
                    configuration is gone: `cloudtaser install` puts it back";
        problems.push(what.to_owned());
    }
    problems.extend(of_bridge);
    if status.agents.is_none() {
        problems.push("no node agent is installed: root of a node reads".to_owned());
    }
    for node in status.nodes.iter().filter(|node| node.agent != "enforcing") {
        let roads = match node.open_roads.as_slice() {
            [] => String::new(),
            roads => format!(", open: {}", roads.join(", ")),
        };
        // Where nothing was read, that is what is to be mended first.
        let why = if node.agent == "not known" {
            ": its metrics could not be read (`get` on pods/proxy in the agent's namespace), or it has \
             just started"
        } else {
            ""
        };
        problems.push(format!("node {}: the agent is {}{roads}{why}", node.name, node.agent));
    }
    for node in status.nodes.iter().filter(|node| node.unlisted_loaders > 0) {
        problems.push(format!(
            "node {}: an update replaced its runc or systemd, which the agent refuses as a loader of \
             BPF programs: no container starts there until it boots, or an operator's order lists \
             the new file (`cloudtaser-agent admit PATH`, on the node)",
            node.name
        ));
    }
    for pod in &status.pods {
        if let Some(problem) = &pod.problem {
            problems.push(format!("pod {}/{}: {problem}", pod.namespace, pod.name));
        }
    }
    problems
}

/// Every node, and what its agent says of itself.
fn nodes(cluster: &Cluster, namespace: &str) -> Result<Vec<Node>, ApiError> {
    let selector = format!("&labelSelector=app.kubernetes.io%2Fcomponent%3D{AGENT}");
    let agents = cluster.list(&format!("/api/v1/namespaces/{namespace}/pods"), &selector)?;
    let mut guarded = BTreeMap::new();
    for pod in &agents {
        let metrics = cluster.text(&format!(
            "/api/v1/namespaces/{namespace}/pods/{}:{METRICS_PORT}/proxy/metrics",
            text(pod, "/metadata/name")
        ));
        let said = metrics.as_deref().and_then(read::said_in).unwrap_or_else(|| {
            let ready = pod.pointer("/status/containerStatuses/0/ready");
            let up = ready.and_then(Value::as_bool) == Some(true);
            let state = if up { "not known" } else { "off" };
            Said { state: state.to_owned(), ..Said::default() }
        });
        let (node, image) = (text(pod, "/spec/nodeName"), text(pod, "/spec/containers/0/image"));
        guarded.insert(node, (said, image));
    }
    // Who may not list nodes sees those that have an agent.
    let all = match cluster.list("/api/v1/nodes", "") {
        Ok(nodes) => nodes
            .iter()
            .map(|node| {
                (text(node, "/metadata/name"), text(node, "/status/nodeInfo/kernelVersion"))
            })
            .collect(),
        Err(ApiError::Forbidden { .. }) => {
            guarded.keys().map(|name| (name.clone(), String::new())).collect::<Vec<_>>()
        }
        Err(error) => return Err(error),
    };
    Ok(all
        .into_iter()
        .map(|(name, kernel)| {
            let missing = || (Said { state: "off".to_owned(), ..Said::default() }, String::new());
            let (said, image) = guarded.remove(&name).unwrap_or_else(missing);
            let Said { state, tier, open_roads, canary_seconds, unlisted_loaders } = said;
            let agent = state;
            Node { name, kernel, agent, tier, open_roads, canary_seconds, image, unlisted_loaders }
        })
        .collect())
}

fn of_pod(cluster: &Cluster, pod: &Value, nodes: &[Node], releases: Option<&Releases>) -> Pod {
    let (namespace, name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
    let node = text(pod, "/spec/nodeName");
    let phase = text(pod, "/status/phase");
    let (wrapped, others) = read::containers(pod);
    let (mut levels, mut facets) = (BTreeMap::new(), BTreeMap::new());
    if phase == "Running" {
        for container in &wrapped {
            let log = cluster.text(&format!(
                "/api/v1/namespaces/{namespace}/pods/{name}/log?container={container}&limitBytes=16384"
            ));
            if let Some(level) = log.as_deref().and_then(read::level_in) {
                levels.insert(container.clone(), level.verdicts);
                level.facets.map(|measured| facets.insert(container.clone(), measured));
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
        read::keeps_ending(pod, &wrapped)
    };
    let uid = text(pod, "/metadata/uid");
    let last = releases.and_then(|releases| releases.get(&uid)).copied().map(date::to_text);
    let wrapper = read::wrapper_image(pod);
    Pod {
        namespace,
        name,
        uid,
        node,
        phase,
        wrapped,
        others,
        wrapper,
        levels,
        facets,
        agent,
        last_release: last,
        problem,
    }
}

fn show(status: &Status) {
    let Operators { ready, wanted, image } = &status.operators;
    ui::line(&format!("operators  {ready} of {wanted} ready   {image}"));
    if let Some(said) = &status.bridge {
        ui::line(&format!("bridge     {}", bridge::shown(said)));
    }
    if !status.nodes.is_empty() {
        let mut table = ui::table_with(&["node", "kernel", "agent", "tier"]);
        for node in &status.nodes {
            table.add_row([&node.name, &node.kernel, &node.agent, &node.tier]);
        }
        ui::line(&format!("\n{table}"));
    }
    if status.pods.is_empty() {
        ui::line("\nno pod is opted in (label cloudtaser.io/inject: \"true\")");
    } else {
        let mut table = ui::table_with(&["pod", "phase", "wrapped", "level", "guard"]);
        for pod in &status.pods {
            table.add_row([
                format!("{}/{}", pod.namespace, pod.name),
                pod.phase.clone(),
                if pod.wrapped.is_empty() { "NO".to_owned() } else { pod.wrapped.join(", ") },
                in_words(pod),
                guard(pod).to_owned(),
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

/// What the weakest container had of the node's agent when it started: an agent that enforces guards
/// those that ask for it.
fn guard(pod: &Pod) -> &'static str {
    let weakest = pod.facets.values().map(|facets| facets.agent).min();
    weakest.map_or("not known", |agent| agent.as_str())
}

/// The weakest container's verdicts, as `T1 closed, T2 open`.
fn in_words(pod: &Pod) -> String {
    let Some((container, rows)) = pod.levels.iter().next() else { return "not known".to_owned() };
    let rows: Vec<_> = rows.iter().map(|(id, verdict)| format!("{id} {verdict}")).collect();
    let of = if pod.levels.len() > 1 { format!("{container}: ") } else { String::new() };
    format!("{of}{}", rows.join(", "))
}
