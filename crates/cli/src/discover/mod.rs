//! `discover`: which workloads get Kubernetes Secrets, and a plan of how each use could move.
//!
//! It reads pod templates alone. No Secret is asked for, neither its value nor its name list: what
//! a workload mounts says which Secrets there are.

mod plan;
mod uses;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;
use cloudtaser_k8s::install::{AGENT_NAMESPACE, NAMESPACE};

use crate::{
    cluster::{ApiError, Cluster, ClusterArgs},
    deploy::DeployError,
    ui,
};

use plan::Plan;

const AFTER: &str = "\
Examples:
  cloudtaser discover                           a table of who uses which Secret, and how
  cloudtaser discover -n shop --plan plan.yaml  a plan to read, change and keep

The plan has one entry per workload with the label, annotations and variables that replace each
use, and what has to be decided by a person. Nothing is changed on the cluster, and no Secret is
read: only pod templates are.

JSON: the plan.

Exit: 0 done, 64 usage, 69 cluster not reachable, 76 refused.";

/// Finds workloads that use Kubernetes Secrets, and plans their way out.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct DiscoverArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Look at this namespace alone; else at all but those of the system.
    #[arg(long, short, value_name = "NAME")]
    namespace: Option<String>,
    /// The KV engine where the values are to live.
    #[arg(long, value_name = "MOUNT", default_value = "secret")]
    mount: String,
    /// Write the plan to this file.
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Print the plan as JSON.
    #[arg(long)]
    json: bool,
}

/// Kinds that have a pod template, with the path to it.
const KINDS: &[(&str, &str, &str, &str)] = &[
    ("apps/v1", "deployments", "Deployment", "/spec/template"),
    ("apps/v1", "statefulsets", "StatefulSet", "/spec/template"),
    ("apps/v1", "daemonsets", "DaemonSet", "/spec/template"),
    ("batch/v1", "cronjobs", "CronJob", "/spec/jobTemplate/spec/template"),
    ("batch/v1", "jobs", "Job", "/spec/template"),
    ("v1", "pods", "Pod", ""),
];

/// The verb.
pub(crate) fn run(args: &DiscoverArgs) -> Result<ExitCode> {
    let cluster = Cluster::open(&args.cluster).map_err(DeployError::from)?;
    let progress = ui::Progress::start().lively();
    let plan = look(&cluster, args, &progress).map_err(DeployError::from)?;
    drop(progress);
    if let Some(path) = &args.plan {
        let text = plan.to_yaml().map_err(|error| DeployError::Yaml(error.to_string()))?;
        fs::write(path, text)
            .map_err(|source| DeployError::Write { path: path.display().to_string(), source })?;
    }
    if args.json {
        ui::line(&serde_json::to_string(&plan)?);
    } else {
        show(&plan);
        match &args.plan {
            None if plan.workloads.is_empty() => {}
            None => ui::note("--plan FILE writes what takes the place of each, and what to decide"),
            Some(path) => {
                let path = path.display();
                ui::note(&format!(
                    "the plan is in {path}: read it, decide what is `by_hand`, then\n  cloudtaser migrate \
                     --plan {path} --openbao https://HOST:PORT --token-file FILE"
                ));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn look(cluster: &Cluster, args: &DiscoverArgs, progress: &ui::Progress) -> Result<Plan, ApiError> {
    let mut plan = Plan::new(&args.mount);
    for (version, plural, kind, template) in KINDS {
        progress.say(&format!("looking at {plural}"));
        let root = if version.contains('/') { "apis" } else { "api" };
        let place = args.namespace.as_ref().map(|name| format!("/namespaces/{name}"));
        let path = format!("/{root}/{version}{}/{plural}", place.unwrap_or_default());
        for object in cluster.list(&path, "")? {
            let text = |at: &str| {
                object.pointer(at).and_then(serde_json::Value::as_str).unwrap_or_default()
            };
            let namespace = text("/metadata/namespace");
            let systems =
                namespace.starts_with("kube-") || [NAMESPACE, AGENT_NAMESPACE].contains(&namespace);
            // What somebody else made is changed where it comes from.
            let made = object.pointer("/metadata/ownerReferences/0").is_some();
            if made || (systems && args.namespace.is_none()) {
                continue;
            }
            let Some(template) = object.pointer(template) else { continue };
            plan.add(kind, namespace, text("/metadata/name"), template);
        }
    }
    Ok(plan)
}

/// Every use of a Secret on the cluster: namespace, Secret, who.
pub(crate) fn used_secrets(cluster: &Cluster) -> Result<Vec<(String, String, String)>, ApiError> {
    let mut used = Vec::new();
    for (version, plural, kind, template) in KINDS {
        let root = if version.contains('/') { "apis" } else { "api" };
        for object in cluster.list(&format!("/{root}/{version}/{plural}"), "")? {
            let text = |at: &str| {
                object.pointer(at).and_then(serde_json::Value::as_str).unwrap_or_default()
            };
            let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
            let Some(template) = object.pointer(template) else { continue };
            let secrets = uses::of(template).into_iter().map(|each| each.secret);
            let pulled = uses::pulled(template);
            used.extend(
                secrets.chain(pulled).map(|s| (namespace.to_owned(), s, format!("{kind} {name}"))),
            );
        }
    }
    // Those that no pod has, and that others use all the same.
    for (path, at, inner, kind) in [
        ("/apis/networking.k8s.io/v1/ingresses", "/spec/tls", "/secretName", "Ingress"),
        ("/api/v1/serviceaccounts", "/imagePullSecrets", "/name", "ServiceAccount"),
        ("/api/v1/serviceaccounts", "/secrets", "/name", "ServiceAccount"),
    ] {
        for object in cluster.list(path, "")? {
            let text = |value: &serde_json::Value, at: &str| {
                value.pointer(at).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
            };
            let all = object.pointer(at).and_then(serde_json::Value::as_array);
            let who = format!("{kind} {}", text(&object, "/metadata/name"));
            let namespace = text(&object, "/metadata/namespace");
            used.extend(
                all.into_iter().flatten().map(|e| (namespace.clone(), text(e, inner), who.clone())),
            );
        }
    }
    Ok(used)
}

fn show(plan: &Plan) {
    if plan.workloads.is_empty() {
        ui::line("no workload uses a Kubernetes Secret");
        return;
    }
    let mut table = ui::table_with(&["workload", "secret", "reaches the app as", "then"]);
    for workload in &plan.workloads {
        let name = format!("{} {}/{}", workload.kind, workload.namespace, workload.name);
        for (at, each) in workload.uses.iter().enumerate() {
            let name = if at == 0 { name.as_str() } else { "" };
            let then = each.by_hand.as_ref().map_or_else(|| each.becomes(), |_| "by hand".into());
            table.add_row([name, &each.secret(), &each.shown(), &then]);
        }
    }
    ui::line(&table.to_string());
    let uses = plan.workloads.iter().flat_map(|workload| &workload.uses);
    let by_hand = uses.clone().filter(|each| each.by_hand.is_some()).count();
    let counted = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    };
    let decisions = match by_hand {
        0 => "none needs a decision".to_owned(),
        1 => "1 needs a decision".to_owned(),
        count => format!("{count} need a decision"),
    };
    ui::line(&format!(
        "\n{}, {} of Secrets; {decisions}",
        counted(plan.workloads.len(), "workload"),
        counted(uses.count(), "use"),
    ));
}
