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
        if let Some(path) = &args.plan {
            ui::note(&format!("the plan is in {}", path.display()));
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
    ui::line(&format!(
        "\n{} workloads, {} uses of Secrets; {by_hand} need a decision (--plan FILE says which)",
        plan.workloads.len(),
        uses.count()
    ));
}
