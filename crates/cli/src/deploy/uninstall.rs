//! `uninstall`: takes everything away that an installation, or a half of one, has put there.

use std::{
    collections::BTreeSet,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::Args;
use cloudtaser_core::names::kubernetes::{ENROLMENT_LEASE, INJECT, OPERATOR};
use serde_json::{Value, json};

use super::{
    DeployError,
    apply::{PAUSE, held_by},
    bridge,
    inventory::{self, Found, shown},
};
use crate::{
    cluster::{ApiError, Cluster, ClusterArgs, Force},
    ui,
};

const AFTER: &str = "\
The webhooks go first, so that no pod waits for an operator that is gone. Namespaces go where an
installation made them; one that was there before stays, without what was put into it.

What stays on a node until it boots: what the agent's programs hold in the kernel. They deny what
they denied, to whoever was guarded; no signal and no command ends that.

JSON: {\"context\", \"removed\", \"kept\"}.

Exit: 0 nothing is left, 64 usage, 69 cluster not reachable or something stays, 76 refused, also
while pods are opted in.";

/// Takes cloudtaser off a cluster.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct UninstallArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Also while pods are opted in.
    #[arg(long)]
    even_if_used: bool,
    /// How long to wait until all is gone.
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    wait: u64,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// The verb.
pub(crate) fn uninstall(args: &UninstallArgs) -> Result<ExitCode> {
    let cluster = Cluster::open(&args.cluster).map_err(DeployError::from)?;
    let enrolled = enrolled(&cluster)?;
    let (removed, kept) = remove(&cluster, args)?;
    if args.json {
        let result = json!({ "context": cluster.context, "removed": removed, "kept": kept });
        ui::line(&result.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    for name in &removed {
        ui::line(&format!("removed   {name}"));
    }
    for name in &kept {
        ui::line(&format!("kept      {name}, which was there before"));
    }
    if removed.is_empty() && kept.is_empty() {
        ui::line("there is no cloudtaser on this cluster");
    } else {
        ui::note("nodes keep what their agent pinned in the kernel until they boot");
        if let Some(key) = enrolled {
            ui::note(&format!(
                "the bridge still knows this cluster; beside OpenBao: cloudtaser bridge revoke --config \
                 bridge.toml {key}"
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The key by which a bridge knows this cluster.
fn enrolled(cluster: &Cluster) -> Result<Option<String>, DeployError> {
    let there = inventory::find(cluster)?;
    let Some(secret) = there.iter().find(|found| found.is_clusters_key()) else { return Ok(None) };
    // Only a word for the end: without the right to read it there is none.
    let said = bridge::read(cluster, secret.text("/metadata/namespace")).ok().flatten();
    Ok(said.and_then(|said| said.key).map(|key| ui::printable(&key)))
}

type Names = Vec<String>;

fn remove(cluster: &Cluster, args: &UninstallArgs) -> Result<(Names, Names), DeployError> {
    let there = inventory::find(cluster)?;
    if there.iter().any(Found::is_helms) {
        return Err(DeployError::Helm);
    }
    if !there.is_empty() && !args.even_if_used {
        refuse_if_used(cluster)?;
    }
    let progress = ui::Progress::start().lively();
    let patience = Duration::from_secs(args.wait);
    let (mut removed, mut kept) = (Vec::new(), Vec::new());
    let (hooks, rest): (Vec<_>, Vec<_>) =
        there.iter().partition(|found| found.kind.ends_with("WebhookConfiguration"));
    // SECURITY: not before the webhooks are gone may their operator go, or opted-in pods would be
    // refused by a dead one.
    for wave in [hooks, rest] {
        for found in &wave {
            progress.say(&found.shown());
            if !found.is_ours_to_remove() {
                // Applying nothing gives our labels back.
                let bare = json!({ "apiVersion": "v1", "kind": "Namespace",
                    "metadata": { "name": found.text("/metadata/name") } });
                cluster.apply(&bare, Force::Ask)?;
                kept.push(found.shown());
            } else if cluster.delete(&found.path)? {
                removed.push(found.shown());
            }
        }
        let leaving = wave.iter().filter(|found| found.is_ours_to_remove());
        gone(cluster, leaving.copied(), patience, &progress)?;
    }
    // What the operator made itself, where its namespace stays.
    for namespace in there.iter().filter(|found| found.kind == "Namespace") {
        let name = namespace.text("/metadata/name");
        if namespace.is_ours_to_remove() {
            continue;
        }
        for lease in [OPERATOR, ENROLMENT_LEASE] {
            let path = format!("/apis/coordination.k8s.io/v1/namespaces/{name}/leases/{lease}");
            if cluster.delete(&path)? {
                removed.push(format!("Lease {name}/{lease}"));
            }
        }
    }
    Ok((removed, kept))
}

fn gone<'a>(
    cluster: &Cluster,
    leaving: impl Iterator<Item = &'a Found>,
    patience: Duration,
    progress: &ui::Progress,
) -> Result<(), DeployError> {
    let start = Instant::now();
    for found in leaving {
        while let Some(mut still) = cluster.get(&found.path)? {
            let same = still.pointer("/metadata/uid") == found.json.pointer("/metadata/uid");
            if !same {
                break;
            }
            if let Some(still) = still.as_object_mut() {
                still.insert("kind".to_owned(), found.kind.into());
            }
            let what = format!("{}{}", shown(&still), held_by(&still));
            if start.elapsed() >= patience {
                return Err(DeployError::Stays { seconds: patience.as_secs(), what });
            }
            progress.say(&format!("waiting for {what}"));
            thread::sleep(PAUSE);
        }
    }
    Ok(())
}

fn refuse_if_used(cluster: &Cluster) -> Result<(), DeployError> {
    let pods = opted_in(cluster)?;
    let ended = |pod: &Value| {
        let phase = pod.pointer("/status/phase").and_then(Value::as_str);
        matches!(phase, Some("Failed" | "Succeeded"))
    };
    let used: Vec<_> = pods.iter().filter(|pod| !ended(pod)).collect();
    if used.is_empty() {
        return Ok(());
    }
    let namespaces: BTreeSet<_> = used
        .iter()
        .filter_map(|pod| pod.pointer("/metadata/namespace").and_then(Value::as_str))
        .collect();
    let namespaces = namespaces.into_iter().collect::<Vec<_>>().join(", ");
    Err(DeployError::InUse { pods: used.len(), namespaces })
}

/// Every pod with the label.
pub(super) fn opted_in(cluster: &Cluster) -> Result<Vec<Value>, ApiError> {
    let label = INJECT.replace('/', "%2F");
    cluster.list("/api/v1/pods", &format!("&labelSelector={label}%3Dtrue"))
}
